"""Successive halving within each combination of grid values.

A grid is there to be compared: were all its trials ranked together, the poorer combinations would
be stopped at the first rung, and a table over the grid would compare trials that were trained with
others that were not. So each combination has rungs of its own, Tune's, and keeps its best to the
end. Without a grid there is one combination, and this is plain successive halving.
"""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from itrec_dist.config import as_text
from itrec_dist.sweep.space import Assignment

EPOCH, SCORE, JOB = "epoch", "score", "job"
"""Names in Tune's results and configurations: when, how good, and what an actor is asked to do."""

Past = tuple[Assignment, list[float]]
"""A trial of an earlier life, with its score after each epoch."""


class Halving(FIFOScheduler):
    """Asks Tune's asynchronous successive halving of the trial's own combination."""

    def __init__(
        self, grids: Sequence[str], grace: int, reduction: int, history: Sequence[Past]
    ) -> None:
        """Begin with what is known of earlier lives.

        Args:
            grids: the settings that trials have to share to be compared.
            grace: epochs that no trial is stopped in.
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
        """See `TrialScheduler`, as all of these."""
        self._with(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        said: str = self._with(trial).on_trial_result(tune_controller, trial, result)
        return said

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Remember how far it came."""
        self._with(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget it."""
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
