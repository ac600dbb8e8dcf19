"""Experiment trackers: log runs, epoch by epoch, to a service.

    config.py         which ones
    mlflow.py         MLflow
    mlflow_model.py   a run in MLflow's model format
    wandb.py          Weights & Biases

They are told from the process that writes the log, worker 0 alone, and hear what it writes. No run
depends on a tracker: one that fails during a run is noted in that run's log, and the run goes on
without it. TensorBoard needs none of this, every run writes it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from itrec_dist.metrics.judgement import Judgement
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.trackers import mlflow, wandb
from itrec_dist.runs.trackers.config import TrackersConfig

Event = dict[str, Any]
Watch = Callable[[Event], None]


@dataclass(frozen=True)
class Tracked:
    """What a tracker gets to know about a run."""

    group: str
    """Of the runs that belong together, such as a sweep."""
    name: str
    settings: Mapping[str, Any]
    run: RunDirectory
    files: Path
    """Where a service may keep files on this machine."""
    keeps_model: bool = False
    """Whether the best checkpoint is handed over too, at the end."""
    recommends: bool = False
    """Whether its model recommends, so that a service that serves models can serve it."""


class Tracker(Protocol):
    """One run at one service."""

    id: str
    """The service's own name of the run, to continue it by."""

    def log(self, figures: dict[str, float], epoch: int) -> None:
        """Log the metrics of an epoch."""

    def keep(self, run: RunDirectory) -> None:
        """Hand over the best checkpoint of a complete run."""

    def end(self, *, is_complete: bool) -> None:
        """Close the run."""


def check_installed(config: TrackersConfig) -> None:
    """Check that the packages of all chosen trackers are installed.

    Raises:
        EnvironmentProblem: the package of a tracker is missing.
    """
    for module, _ in _asked_for(config):
        module.check_installed()


def prepare(config: TrackersConfig, group: str, files: Path) -> None:
    """Create what the runs of a group share at the services; `files` as in `Tracked`.

    Raises:
        EnvironmentProblem: a service cannot be reached or needs a login.
    """
    for module, place in _asked_for(config):
        module.prepare(place, group, files)


@contextlib.contextmanager
def following(
    config: TrackersConfig, tracked: Tracked, watcher: Watch | None = None
) -> Iterator[Watch]:
    """Track a run while the block trains it; yields a callback for the events of its log.

    What is noted in the log about a tracker that failed is told to `watcher` too.
    A run that is handed over as a model is one run of the service, however often it is resumed.
    """
    open_ones: list[Tracker] = []

    def each(act: Callable[[Tracker], None]) -> None:
        for tracker in list(open_ones):
            with _forgiven(tracked.run, watcher):
                act(tracker)
                continue
            open_ones.remove(tracker)

    def watch(event: Event) -> None:
        if event["event"] == "epoch":
            figures = figures_of(event)
            each(lambda tracker: tracker.log(figures, event["epoch"]))

    known: dict[str, str] = {}
    if tracked.keeps_model and tracked.run.trackers.is_file():
        with _forgiven(tracked.run, watcher):
            known = dict(tracked.run.read_json(tracked.run.trackers))
    for module, place in _asked_for(config):
        with _forgiven(tracked.run, watcher):
            name = module.__name__.rpartition(".")[2]
            tracker = module.begin(place, tracked, known.get(name))
            open_ones.append(tracker)
            if tracked.keeps_model:
                known[name] = tracker.id
                tracked.run.write_json(tracked.run.trackers, known)
    is_complete = False
    try:
        yield watch
        is_complete = True
        if tracked.run.is_complete:
            each(lambda tracker: tracker.log(*_judged(tracked.run)))
            if tracked.keeps_model:
                each(lambda tracker: tracker.keep(tracked.run))
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
def _forgiven(run: RunDirectory, watcher: Watch | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        message = f"a tracker failed, the run continues without it: {said}"
        if run.path.is_dir():
            run.append("note", message=message)
        if watcher is not None:
            watcher({"event": "note", "message": message})


def _asked_for(config: TrackersConfig) -> Iterator[tuple[Any, str]]:
    for module, place in ((mlflow, config.mlflow), (wandb, config.wandb)):
        if place is not None:
            yield module, place
