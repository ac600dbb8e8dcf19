"""Reads a sweep directory once, for the page and the tables.

The recommended finalist is the one with the best mean *validation* metric over its fresh seeds, so
that nothing is selected on the test split.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest
from itrec_dist.evaluation import per_window, statistics
from itrec_dist.evaluation.statistics import Comparison, Interval
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import FigureName
from itrec_dist.metrics.outcomes import Outcomes
from itrec_dist.models import MODELS
from itrec_dist.reports.published import ite as published_ite
from itrec_dist.reports.runs import number
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage.uri import Uri
from itrec_dist.sweeps import remote
from itrec_dist.sweeps.config import SweepConfig
from itrec_dist.sweeps.directory import SweepDirectory, Trial, ranked
from itrec_dist.sweeps.space import Dimension, Value
from itrec_dist.tasks import TASKS


@dataclass(frozen=True)
class Finalist:
    """A configuration that was retrained with fresh seeds."""

    trial: Trial
    runs: tuple[RunDirectory, ...]
    evaluations: tuple[dict[str, Any], ...]

    def values(self, split: str, metric: FigureName) -> list[float]:
        """A metric of every run that has it."""
        values = (value_of(e["splits"].get(split), metric) for e in self.evaluations)
        return [value for value in values if value is not None]

    def interval(self, split: str, metric: FigureName) -> Interval | None:
        """Mean and 95 % interval over seeds, None without values."""
        values = self.values(split, metric)
        return statistics.interval(values) if values else None

    @cached_property
    def windows(self) -> list[Outcomes]:
        """What every run found for each test window, of those that recorded it."""
        every = (per_window.read(run.path) for run in self.runs)
        return [one for one in every if one is not None]


@dataclass(frozen=True)
class Sweep:
    """Everything that a report uses of one sweep."""

    directory: SweepDirectory
    config: SweepConfig
    base: dict[str, Any]
    manifest: Manifest
    environment: dict[str, Any]
    dimensions: tuple[Dimension, ...]
    trials: tuple[Trial, ...]
    curves: dict[int, tuple[tuple[float, float], ...]]
    """Trial -> (epoch, the metric on validation), of its first seed."""
    finalists: tuple[Finalist, ...]
    """Best first, by validation over fresh seeds."""
    failed_finals: tuple[dict[str, Any], ...]
    seconds: float
    """Total wall time of all driver sessions."""
    workers: int

    @property
    def metric(self) -> FigureName:
        """The metric that the search optimised."""
        return self.config.figure

    @property
    def is_papers(self) -> bool:
        """Whether the paper's results are comparable with these."""
        return published_ite.applies(self.manifest)

    @cached_property
    def ranked(self) -> list[Trial]:
        """The complete trials, best first."""
        return ranked(self.config, list(self.trials))

    def having(self, *status: str) -> list[Trial]:
        """The trials with one of these statuses."""
        return [trial for trial in self.trials if trial.outcome.status in status]

    def setting(self, trial: Trial, name: str) -> Value:
        """A setting of a trial: its searched value, or else the base's."""
        if name in trial.assignment:
            return trial.assignment[name]
        value: Any = self.base
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, dict):
            value = value.get("kind")  # the value of a section, such as the loss
        return cast("Value", value)

    @cached_property
    def verdict(self) -> Comparison | None:
        """The comparison of the recommended finalist with the next, on the same test windows."""
        if len(self.finalists) < 2:
            return None
        first, second = self.finalists[:2]
        if not (first.windows and second.windows):
            return None
        ids, figure = first.windows[0].window_ids, self.paired_figure
        both = [*first.windows, *second.windows]
        if any(not np.array_equal(one.window_ids, ids) or not one.holds(figure) for one in both):
            return None
        sides = [[w.values(figure) for w in f.windows] for f in (first, second)]
        return statistics.paired(sides[0], sides[1], first.windows[0].user_ids)

    @property
    def paired_figure(self) -> FigureName:
        """The metric of the paired test: the searched one, or the main one of the task."""
        if self.finalists and self.finalists[0].windows[0].holds(self.metric):
            return self.metric
        task = MODELS[self.base["model"]["kind"]].task
        return TASKS[task].headline_of(self.manifest.samples)


def read(place: Uri | Path) -> Sweep:
    """Read a sweep directory; one at a URI is copied to this machine without its checkpoints.

    Raises:
        CheckpointError: it is not a sweep directory, or one of its files is damaged.
        EnvironmentProblem: the URI cannot be reached.
    """
    directory = remote.readable(place)
    config = directory.read_recipe()
    trials = tuple(directory.trials())
    sessions = directory.events("session")
    finalists = [_finalist(directory, trial) for trial in trials]
    chosen = [f for f in finalists if f is not None]
    chosen.sort(key=lambda f: _order(config, f))
    ended = {(e["trial"], e["seed"]): e for e in directory.events("final")}
    return Sweep(
        directory=directory,
        config=config,
        base=directory.read_base(),
        manifest=directory.read_manifest(),
        environment=directory.read_environment(),
        dimensions=directory.read_space(config).dimensions,
        trials=trials,
        curves={trial.number: _curve(directory, trial, config.figure) for trial in trials},
        finalists=tuple(chosen),
        failed_finals=tuple(e for e in ended.values() if e["status"] != "complete"),
        seconds=sum(number(s.get("seconds")) or 0.0 for s in sessions),
        workers=int(sessions[-1]["workers"]) if sessions else 0,
    )


def value_of(judgement: dict[str, Any] | None, metric: FigureName) -> float | None:
    """A metric of a judgement in its JSON form, None if it is missing."""
    return None if judgement is None else Judgement.from_json(judgement).value(metric)


def _finalist(directory: SweepDirectory, trial: Trial) -> Finalist | None:
    runs = directory.finals(trial.number)
    if not runs:
        return None
    return Finalist(trial, tuple(runs), tuple(run.read_json(run.evaluation) for run in runs))


def _order(config: SweepConfig, finalist: Finalist) -> tuple[float, int]:
    values = finalist.values(schema.VALIDATION, config.figure)
    mean = sum(values) / len(values) if values else -float("inf")
    return -config.score(mean), finalist.trial.number


def _curve(
    directory: SweepDirectory, trial: Trial, metric: FigureName
) -> tuple[tuple[float, float], ...]:
    epochs: dict[float, float] = {}
    for event in directory.log_of(trial.number).events("epoch"):
        value = value_of(event.get("validation"), metric)
        if value is not None:
            epochs[float(event["epoch"])] = value
    return tuple(sorted(epochs.items()))
