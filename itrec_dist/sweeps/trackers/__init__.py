"""Experiment trackers: log every run of a sweep, epoch by epoch, to a service.

    mlflow.py   MLflow
    wandb.py    Weights & Biases

Both use Ray's own integrations, from the process that trains. Tune's callbacks would see only a
score, and Ray's callback for Weights & Biases starts two processes per trial; here the searched
settings and all metrics are logged. A sweep never depends on a tracker: one that fails during a run
is noted in that run's log. TensorBoard needs none of this, every run writes it.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from itrec_dist.metrics.judgement import Judgement
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.sweeps.config import SweepConfig, TrackersConfig
from itrec_dist.sweeps.space import Assignment
from itrec_dist.sweeps.trackers import mlflow, wandb

Event = dict[str, Any]
Watch = Callable[[Event], None]


@dataclass(frozen=True)
class Tracked:
    """What a tracker gets to know about a run."""

    sweep: str
    name: str
    settings: Assignment
    run: RunDirectory


class Tracker(Protocol):
    """One run at one service."""

    def log(self, figures: dict[str, float], epoch: int) -> None:
        """Log the metrics of an epoch."""

    def end(self, *, is_complete: bool) -> None:
        """Close the run."""


def check_installed(sweep: SweepConfig) -> None:
    """Check that the packages of all chosen trackers are installed.

    Raises:
        EnvironmentProblem: the package of a tracker is missing.
    """
    for module, _ in _asked_for(sweep.trackers):
        module.check_installed()


def prepare(sweep: SweepConfig) -> None:
    """Create what all runs share at the services.

    Raises:
        EnvironmentProblem: a service cannot be reached or needs a login.
    """
    for module, place in _asked_for(sweep.trackers):
        module.prepare(place, sweep.out.name)


@contextlib.contextmanager
def following(config: TrackersConfig, tracked: Tracked) -> Iterator[Watch]:
    """Track a run while the block trains it; yields a callback for the events of its log."""
    open_ones: list[Tracker] = []

    def each(act: Callable[[Tracker], None]) -> None:
        for tracker in list(open_ones):
            with _forgiven(tracked.run):
                act(tracker)
                continue
            open_ones.remove(tracker)

    def watch(event: Event) -> None:
        if event["event"] == "epoch":
            figures = figures_of(event)
            each(lambda tracker: tracker.log(figures, event["epoch"]))

    for module, place in _asked_for(config):
        with _forgiven(tracked.run):
            open_ones.append(module.begin(place, tracked))
    is_complete = False
    try:
        yield watch
        is_complete = True
        if tracked.run.is_complete:
            each(lambda tracker: tracker.log(*_judged(tracked.run)))
    finally:
        each(lambda tracker: tracker.end(is_complete=is_complete))


def figures_of(event: Event) -> dict[str, float]:
    """The metrics of an epoch, under names that every service accepts."""
    figures = {"loss": event["loss"], "windows_per_second": event["windows_per_second"]}
    for split in ("train", "validation"):
        figures |= _flat(split, event.get(split))
    return _named(figures)


def _judged(run: RunDirectory) -> tuple[dict[str, float], int]:
    """The metrics of the best epoch of a complete run."""
    content = run.read_json(run.evaluation)
    figures: dict[str, Any] = {}
    for split, judgement in content["splits"].items():
        figures |= _flat(f"best/{split}", judgement)
    return _named(figures), content["epoch"]


def _flat(prefix: str, judgement: dict[str, Any] | None) -> dict[str, float]:
    if judgement is None:
        return {}
    return {f"{prefix}/{n}": value for n, value in Judgement.from_json(judgement).figures()}


def _named(figures: dict[str, Any]) -> dict[str, float]:
    """Rename for MLflow, which does not accept `@` in a name; drop missing values."""
    return {n.replace("@", "_at_"): float(v) for n, v in figures.items() if v is not None}


@contextlib.contextmanager
def _forgiven(run: RunDirectory) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if run.path.is_dir():
            run.append("note", message=f"a tracker failed, the run continues without it: {said}")


def _asked_for(config: TrackersConfig) -> Iterator[tuple[Any, str]]:
    for module, place in ((mlflow, config.mlflow), (wandb, config.wandb)):
        if place is not None:
            yield module, place
