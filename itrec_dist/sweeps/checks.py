"""The checks of a sweep before anything is started or written."""

from dataclasses import dataclass, replace

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import TEST, VALIDATION
from itrec_dist.errors import ConfigError
from itrec_dist.runs import trackers
from itrec_dist.sweeps import sampling
from itrec_dist.sweeps.config import Runs, SweepConfig, placed
from itrec_dist.sweeps.space import Assignment, Space
from itrec_dist.sweeps.tpe import load_optuna
from itrec_dist.training.config import check


@dataclass(frozen=True)
class Checked:
    """A sweep that has passed all checks."""

    sweep: SweepConfig
    runs: Runs
    space: Space
    data: Manifest
    count: int
    """Total number of trials."""
    assignments: list[Assignment] | None
    """Those of a grid or of random draws; None if they depend on the results of earlier trials."""


def checked(sweep: SweepConfig) -> Checked:
    """Check a sweep before anything is started or written.

    Raises:
        ConfigError: the space, the metric or the base conflict with each other or with the data.
        EnvironmentProblem: a package that the search needs is missing.
        ShardsError: the shards cannot be read.
    """
    runs = Runs(sweep)
    sweep = replace(sweep, shards=runs.base.shards, out=placed(sweep.out), metric=runs.metric)
    space = runs.space()
    data = check(runs.base, runs.base.cluster.num_workers)
    _check_models(runs, space)
    if not data.num_windows(VALIDATION):
        raise ConfigError(
            f"{sweep.shards} has no validation windows to compare trials on: window the data with "
            "validation_fraction"
        )
    if sweep.final.candidates and not data.num_windows(TEST):
        raise ConfigError(
            f"{sweep.shards} has no test windows to evaluate the finalists on: window the data "
            "with test_fraction, or set final.candidates=0"
        )
    if sweep.scheduler.name == "asha" and len(sweep.grids) == len(space.dimensions):
        raise ConfigError(
            "scheduler.name=asha compares trials that share their grid values, and the space has "
            "only grids: write choice for what is searched, or set scheduler.name=none"
        )
    if sweep.scheduler.name == "pbt":
        _check_exchanges(sweep, runs, space)
    if sweep.search.algorithm == "tpe":
        load_optuna()
    trackers.check_installed(sweep.trackers)
    assignments = sampling.planned(sweep, space)
    return Checked(sweep, runs, space, data, sampling.num_trials(sweep, space), assignments)


def _check_models(runs: Runs, space: Space) -> None:
    """Check that the models searched over are of one task."""
    base = runs.base.model
    for kind in space["model"].values if "model" in space.names else ():
        task = runs.build({"model": kind}, runs.base.folder, 0).model.task
        if task != base.task:
            raise ConfigError(
                f"space.model names {kind}, a model for the task {task}; the base's "
                f"{base.kind} is one for {base.task}: a sweep compares models of one task"
            )


def _check_exchanges(sweep: SweepConfig, runs: Runs, space: Space) -> None:
    """Check that a population can exchange something."""
    training, changeable = runs.base.training, runs.changeable
    if not changeable & set(space.names):
        raise ConfigError(
            "scheduler.name=pbt changes settings while trials train, and the space has none that "
            f"can change: search one of {', '.join(sorted(changeable))}"
        )
    for name in ("training.epochs", "training.patience"):
        if name in space.names or (name == "training.patience" and training.patience):
            raise ConfigError(
                f"scheduler.name=pbt compares trials at the same epochs, {name} ends some before "
                f"others: remove it from the {'space' if name in space.names else 'base'}"
            )
    if sweep.scheduler.interval >= training.epochs:
        raise ConfigError(
            f"scheduler.interval={sweep.scheduler.interval} leaves no exchange in training.epochs="
            f"{training.epochs}: lower it"
        )
    for dimension in space.dimensions:
        on = [other for other, _ in dimension.when if other in changeable]
        if on and dimension.name not in changeable:
            raise ConfigError(
                f"space.{dimension.name} depends on {on[0]}, which scheduler.name=pbt changes "
                "while trials train: remove its `when`"
            )
