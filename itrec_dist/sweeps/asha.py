"""Successive halving within each combination of grid values.

A grid is searched to be compared. If all its trials were ranked together, the weaker combinations
would be stopped at the first rung, and a table over the grid would compare fully trained trials
with barely trained ones. So each combination has its own rungs (Tune's), and trains its best trials
to the end. Without a grid there is one combination, and this is plain successive halving.
"""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from itrec_dist.config import as_text
from itrec_dist.sweeps.space import Assignment

EPOCH, SCORE, JOB = "epoch", "score", "job"
"""Keys in Tune's results and configurations: the epoch, the score, and an actor's job."""

EndedTrial = tuple[Assignment, list[float]]
"""A trial of an earlier driver session, with its score after each epoch."""


class Halving(FIFOScheduler):
    """Delegates to a separate asynchronous successive halving per grid combination."""

    def __init__(
        self, grids: Sequence[str], grace: int, reduction: int, history: Sequence[EndedTrial]
    ) -> None:
        """Start with the trials of earlier driver sessions.

        Args:
            grids: the settings that trials must share to be compared.
            grace: no trial is stopped within this many epochs.
            reduction: one trial of so many is kept at each rung.
            history: trials that have ended.
        """
        FIFOScheduler.__init__(self)
        self._grids, self._grace, self._reduction = tuple(grids), grace, reduction
        self._rungs: dict[tuple[str, ...], AsyncHyperBandScheduler] = {}
        nobody: Any = None
        for number, (assignment, scores) in enumerate(history):
            trial: Any = SimpleNamespace(trial_id=f"earlier-{number}")
            rungs = self._of(assignment)
            rungs.on_trial_add(nobody, trial)
            for epoch, score in enumerate(scores, 1):
                rungs.on_trial_result(nobody, trial, {EPOCH: epoch, SCORE: score})

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Add a trial to the rungs of its combination."""
        self._with(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Tune's decision whether the trial continues."""
        decision: str = self._with(trial).on_trial_result(tune_controller, trial, result)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Record the trial's last result."""
        self._with(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Remove the trial from its rungs."""
        self._with(trial).on_trial_remove(tune_controller, trial)

    def _with(self, trial: Any) -> TrialScheduler:
        return self._of(json.loads(trial.config[JOB])["assignment"])

    def _of(self, assignment: Assignment) -> AsyncHyperBandScheduler:
        key = tuple(as_text(assignment[name]) for name in self._grids if name in assignment)
        if key not in self._rungs:
            self._rungs[key] = AsyncHyperBandScheduler(
                time_attr=EPOCH, metric=SCORE, mode="max", max_t=10**9,
                grace_period=self._grace, reduction_factor=self._reduction,
                stop_last_trials=False,
            )  # fmt: skip
        return self._rungs[key]
