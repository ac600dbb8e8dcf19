"""The settings of a sweep, and the run configurations that follow from them.

`SweepConfig` is the recipe of `itrec sweep`. `Runs` turns assignments of the space into run
configurations; the base recipe is read once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from itrec_dist import config, metrics
from itrec_dist.config import shipped_files
from itrec_dist.config.fields import CHANGEABLE, FREE, marked
from itrec_dist.config.setter import Setter
from itrec_dist.errors import ConfigError
from itrec_dist.metrics.metric import FigureName
from itrec_dist.runs.trackers.config import TrackersConfig
from itrec_dist.storage import cache
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri, parse_place, refuse_credentials
from itrec_dist.sweeps.space import Assignment, Space, parse
from itrec_dist.tasks import TASKS
from itrec_dist.training.config import RunConfig

FIRST_FRESH_SEED = 1000
"""Seeds of the finals start here, those of trials at 0, so that no finalist reuses a seed."""

Algorithm = Literal["grid", "random", "tpe"]
Cost = Literal["seconds", "windows_per_second", "num_parameters"]


@dataclass(frozen=True)
class SearchConfig:
    """Search: how the next trial is chosen."""

    algorithm: Algorithm = "random"
    """grid: every combination; random: random draws; tpe: Optuna's tree-structured Parzen
    estimator."""
    seed: int = 0
    """Seed of the draws: the same space and seed give the same trials."""
    against: Cost | None = None
    """A cost to trade off against the metric (tpe only): the search then looks for the Pareto
    front of both; null optimises the metric only."""
    startup: int = 10
    """Random trials before tpe starts to model."""

    def __post_init__(self) -> None:
        if self.seed < 0 or self.startup < 1:
            raise ValueError("search.seed must be at least 0 and search.startup at least 1")
        if self.against is not None and self.algorithm != "tpe":
            raise ValueError(
                f"search.against={self.against} needs search.algorithm=tpe, "
                f"{self.algorithm} ignores results: the report shows the front anyway"
            )


@dataclass(frozen=True)
class SchedulerConfig:
    """Scheduler: which trials are stopped early."""

    name: Literal["none", "asha", "pbt"] = "none"
    """none; asha: successive halving after epochs grace, grace x reduction, ... (Li et al., A
    System for Massively Parallel Hyperparameter Tuning, 2020), within each combination of grid
    values, so that every combination trains its best to the end; pbt: population-based training,
    in which the worst trials copy weights and settings of the best and perturb them."""
    grace: int = 1
    """asha: no trial is stopped within this many epochs."""
    reduction: int = 3
    """asha: one trial of so many is kept at each rung; pbt: one of so many, the worst, copies from
    one of as many of the best."""
    interval: int = 1
    """pbt: epochs between exchanges."""

    def __post_init__(self) -> None:
        if self.grace < 1 or self.reduction < 2 or self.interval < 1:
            raise ValueError(
                "scheduler.grace and scheduler.interval must be at least 1, and "
                "scheduler.reduction at least 2"
            )


@dataclass(frozen=True)
class FinalConfig:
    """Final evaluation on test, which no trial sees."""

    candidates: int = 2
    """Best configurations of the search to retrain; 0 for no finals."""
    seeds: int = 3
    """Fresh seeds for each of them."""

    def __post_init__(self) -> None:
        if self.candidates < 0 or self.seeds < 1:
            raise ValueError("final.candidates must be at least 0 and final.seeds at least 1")


@dataclass(frozen=True)
class ResourcesConfig:
    """Resources per trial, and the number of concurrent trials."""

    cpus: float = 1.0
    """Logical CPUs per trial, and its number of threads."""
    gpus: float | None = None
    """GPUs per trial, fractions allowed; null derives them from the model's size, 0 uses the
    CPU."""
    concurrent: int | None = None
    """Concurrent trials; null runs as many as fit on the cores or GPUs."""

    def __post_init__(self) -> None:
        if self.cpus <= 0 or (self.gpus is not None and self.gpus < 0):
            raise ValueError("resources.cpus must be above 0 and resources.gpus at least 0")
        if self.concurrent is not None and self.concurrent < 1:
            raise ValueError(f"resources.concurrent={self.concurrent} must be at least 1, or null")


@dataclass(frozen=True)
class SweepConfig:
    """Sweep: data, output, base recipe, search space and metric."""

    out: Uri | Path = field(metadata=FREE)
    """Sweep directory to write, which every machine of the cluster must see: a path of shared
    storage, or a URI such as s3://bucket/sweeps/x."""
    base: str = field(metadata=FREE)
    """Recipe of `itrec train` for all settings that are not searched: a path or URI, or the name
    of a shipped recipe."""
    space: dict[str, Any]
    """Dotted setting -> dimension: grid or choice (a list), uniform, loguniform or integer (two
    ends), with step, log and when."""
    shards: Uri | Path | None = field(default=None, metadata=FREE)
    """Folder that `itrec window` wrote; at a URI, each machine fetches it once. null takes the
    base's."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """Dotted setting -> value that overrides the base in every trial."""
    metric: str = ""
    """Validation metric that the search optimises and that selects each run's best epoch; empty
    takes the main metric of the base's task."""
    trials: int | None = field(default=None, metadata=FREE)
    """Number of configurations; null runs every one of a grid."""
    seeds: int = 1
    """Runs per trial, with the seeds 0, 1, 2 ...; the search sees their mean."""
    retries: int = field(default=1, metadata=FREE)
    """How often a failed trial is retried; one with invalid settings is not. What the machine
    failed is tried again on resuming."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Search"""
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    """Scheduler"""
    final: FinalConfig = field(default_factory=FinalConfig, metadata=FREE)
    """Final evaluation on test"""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig, metadata=FREE)
    """Resources per trial"""
    trackers: TrackersConfig = field(default_factory=TrackersConfig, metadata=FREE)
    """Experiment trackers"""

    def __post_init__(self) -> None:
        for name, place in (("shards", self.shards), ("out", self.out), ("base", self.base)):
            if "://" in str(place):
                refuse_credentials(str(place), name)
        if self.seeds < 1 or self.retries < 0:
            raise ValueError("seeds must be at least 1 and retries at least 0")
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"trials={self.trials} must be at least 1, or null")
        if self.seeds >= FIRST_FRESH_SEED:
            raise ValueError(f"seeds={self.seeds} must be below {FIRST_FRESH_SEED}")
        if self.scheduler.name == "asha" and self.search.against is not None:
            raise ValueError(
                f"search.against={self.search.against} compares the cost of whole runs, "
                "scheduler.name=asha leaves most of them unfinished: set scheduler.name=none"
            )
        if self.scheduler.name == "pbt":
            self._check_population()
        if self.trials is None and self.search.algorithm != "grid":
            raise ValueError(f"search.algorithm={self.search.algorithm} needs trials: say how many")
        if self.scheduler.name != "none" and self.seeds > 1:
            raise ValueError(
                f"scheduler.name={self.scheduler.name} compares single runs by their epochs, but "
                f"a trial has seeds={self.seeds} runs: set seeds=1, the finals have several"
            )

    def _check_population(self) -> None:
        algorithm, reduction = self.search.algorithm, self.scheduler.reduction
        if algorithm != "random":
            raise ValueError(
                f"scheduler.name=pbt starts with trials drawn at random, search.algorithm="
                f"{algorithm} does not draw: set it to random"
            )
        if self.grids:
            raise ValueError(
                f"scheduler.name=pbt lets a trial continue from another, which rules out a table "
                f"over {self.grids[0]}: write choice in place of grid"
            )
        if self.trials is not None and self.trials < reduction:
            raise ValueError(
                f"trials={self.trials} are too few for scheduler.name=pbt with scheduler.reduction="
                f"{reduction}, where one of {reduction} copies another: give at least {reduction}"
            )

    @property
    def grids(self) -> tuple[str, ...]:
        """The settings with a grid: each of their values gets equally many trials."""
        return tuple(n for n, d in self.space.items() if isinstance(d, Mapping) and "grid" in d)

    @property
    def lower_is_better(self) -> bool:
        """Whether lower values of the metric are better."""
        return metrics.lower_is_better(self.figure)

    @property
    def figure(self) -> FigureName:
        """The metric, parsed."""
        return FigureName.parse(self.metric)

    def score(self, value: float) -> float:
        """The metric's value with its sign set so that higher is better."""
        return -value if self.lower_is_better else value


class Runs:
    """The run configurations of a sweep."""

    def __init__(self, sweep: SweepConfig) -> None:
        """Read the base.

        Raises:
            ConfigError: it cannot be read, a fixed setting is invalid, its task does not have the
                metric, or neither it nor the sweep names shards.
        """
        self._sweep = sweep
        own = {"out": placed(sweep.out)}
        if sweep.shards is not None:
            own["shards"] = sweep.shards
        given = [f"{name}={config.as_text(value)}" for name, value in sweep.fixed.items()]
        given += [f"{name}={place}" for name, place in own.items()]
        base = config.load(RunConfig, _recipe(sweep.base), given, prog="itrec sweep")
        self._is_grouped = base.cluster.num_workers > 1
        task = TASKS[base.model.task]
        self.metric = sweep.metric or str(task.headline_of(base.model.samples))
        valid = metrics.monitors(task.groups, base.evaluation.choice)
        why = f"is no figure of model.kind={base.model.kind}"
        if refusal := metrics.refusal("metric", self.metric, valid, why):
            raise ConfigError(refusal)
        training = replace(base.training, monitor=self.metric)
        cluster = base.cluster
        if not self._is_grouped:
            cluster = replace(cluster, threads=max(1, int(sweep.resources.cpus)))
        base = replace(base, shards=placed(base.shards), training=training, cluster=cluster)
        self._setter = Setter(_own(base, sweep.out, 0, judge_test=False), "itrec sweep")

    @property
    def base(self) -> RunConfig:
        """The run configuration that trials are derived from."""
        return self._setter.base

    @property
    def changeable(self) -> set[str]:
        """The settings that a population may change while its trials train."""
        return marked(self.base, CHANGEABLE)

    @property
    def is_grouped(self) -> bool:
        """Whether each run is trained by its own group of workers instead of in one process."""
        return self._is_grouped

    def space(self) -> Space:
        """The search space over the base's settings.

        Raises:
            ConfigError: see `space.parse`; or a setting is both searched and fixed.
        """
        space = parse(self._sweep.space, self._setter)
        both = [name for name in space.names if name in self._sweep.fixed]
        if both:
            raise ConfigError(f"{both[0]} is in space and in fixed: remove it from one")
        return space

    def build(
        self, assignment: Assignment, out: Uri | Path, seed: int, *, judge_test: bool = False
    ) -> RunConfig:
        """The run configuration of an assignment, with the directory `out`.

        Raises:
            ConfigError: its settings conflict with each other.
        """
        run = self._setter.set(assignment)
        return _own(run, out, seed, judge_test=judge_test)


def _own(run: RunConfig, out: Uri | Path, seed: int, *, judge_test: bool) -> RunConfig:
    evaluation = replace(run.evaluation, judge_test=judge_test)
    # The sweep's own trackers follow its runs.
    return replace(
        run, out=placed(out), seed=seed, evaluation=evaluation, trackers=TrackersConfig()
    )


def placed(place: Uri | Path) -> Uri | Path:
    """The location of shards or outputs, valid in every process: a URI or an absolute path."""
    return place if isinstance(place, Uri) else place.absolute()


def _recipe(base: str) -> Path:
    path = parse_place(base)
    if isinstance(path, Uri):
        copy = cache.cache("recipes", path)
        if Store(path).size("") is None:
            raise ConfigError(f"base: there is no recipe {path}: give the path or URI of one")
        Store(path).download("", copy)
        return copy
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    try:
        return shipped_files.recipe(base)
    except ConfigError as error:
        raise ConfigError(f"base: {error}; or give the path of a recipe") from error
