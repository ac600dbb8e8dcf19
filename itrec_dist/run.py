"""One training run: the whole configuration, its checks across sections, its directory.

Only this file sees the whole configuration; every component is handed its own section.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from itrec_dist import config, manifest, tasks
from itrec_dist.batches import FeedConfig
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.errors import ConfigError, OutputError
from itrec_dist.loop import TrainingConfig
from itrec_dist.losses import LossName
from itrec_dist.manifest import Manifest
from itrec_dist.models import MODELS
from itrec_dist.models.ite import ITEConfig
from itrec_dist.models.model import ModelConfig
from itrec_dist.optim import OptimizerConfig
from itrec_dist.run_directory import RunDirectory
from itrec_dist.schema import TRAIN, VALIDATION


@dataclass(frozen=True)
class EvaluationConfig:
    """How the model is judged."""

    batch_size: int = 1024
    """Windows per batch over all workers together."""
    train_sample: int = 5000
    """Training windows judged beside the validation split each epoch; 0 for none."""
    judge_test: bool = True
    """Whether the best epoch is judged on the test split too; a search keeps away from it."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.train_sample < 0:
            raise ValueError(
                "evaluation.batch_size must be at least 1 and evaluation.train_sample at least 0"
            )


@dataclass(frozen=True)
class ClusterConfig:
    """Workers and what each of them takes; with --local there is one worker and no Ray."""

    num_workers: int = 1
    """Ray Train workers."""
    use_gpu: bool | None = None
    """Whether each worker takes a GPU; null takes GPUs if the cluster has any."""
    cpus_per_worker: float = 1.0
    """Logical CPUs that each worker reserves in Ray."""
    threads: int | None = None
    """CPU threads of a worker; null divides a node's cores among its workers."""

    def __post_init__(self) -> None:
        if self.num_workers < 1 or self.cpus_per_worker <= 0:
            raise ValueError(
                "cluster.num_workers must be at least 1 and cluster.cpus_per_worker above 0"
            )
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"cluster.threads={self.threads} must be at least 1, or null")


@dataclass(frozen=True)
class RunConfig:
    """A training run."""

    shards: Path
    """Folder that `itrec window` wrote."""
    out: Path
    """Run directory to write."""
    name: str = ""
    """Name in logs and reports; empty makes one from model, loss and side information."""
    seed: int = 0
    """Seed of the initial weights, the dropout and the order of windows."""
    loss: LossName = "bce"
    """bce: all targets as labels; ce: the next item alone; softmax: all targets, one softmax;
    mse: squared error of predicted ratings."""
    model: ModelConfig = field(default_factory=ITEConfig, metadata={config.KINDS: MODELS})
    """The model, of the kind that `model.kind` names; the kind says what it is trained for."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimiser."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """The course of training."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """The arithmetic."""
    feed: FeedConfig = field(default_factory=FeedConfig)
    """The way of the data."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """The judgement."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """The workers."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must be at least 0")

    @property
    def label(self) -> str:
        """The name, or one made from what distinguishes the arms of a study."""
        return self.name or self.model.label(self.loss)


def check(run: RunConfig, num_workers: int) -> Manifest:
    """Refuse what cannot work before anything is started; returns the data's manifest.

    Raises:
        ConfigError: sections that do not fit each other, or the data.
        ShardsError: the shards cannot be read.
    """
    data = manifest.read(run.shards)
    parts = num_workers * run.engine.accumulate
    if run.training.batch_size % parts:
        raise ConfigError(
            f"training.batch_size={run.training.batch_size} cannot be shared equally by "
            f"{num_workers} workers with engine.accumulate={run.engine.accumulate}: choose a "
            f"multiple of {parts}"
        )
    if run.evaluation.batch_size % num_workers:
        raise ConfigError(
            f"evaluation.batch_size={run.evaluation.batch_size} cannot be shared equally by "
            f"{num_workers} workers: choose a multiple of {num_workers}"
        )
    if not data.num_windows(TRAIN):
        raise ConfigError(f"{run.shards} has no training windows: window the data again")
    num_files = sum(1 for file in data.splits[TRAIN] if file.rows)
    if run.feed.cache == "none" and num_files < num_workers:
        raise ConfigError(
            f"{num_files} training files cannot be dealt to {num_workers} workers without a cache: "
            "window the data with a larger num_shards, or set feed.cache=host"
        )
    if run.training.patience is not None and not data.num_windows(VALIDATION):
        raise ConfigError(
            f"training.patience={run.training.patience} needs validation windows, {run.shards} has "
            "none: set validation_fraction when windowing, or training.patience=null"
        )
    _check_task(run)
    run.model.check(data)
    return data


def _check_task(run: RunConfig) -> None:
    """Refuse a loss or a monitor that is not of the model's task."""
    task, kind = tasks.find(run.model.task), run.model.kind
    for name, given, valid in (
        ("loss", run.loss, task.losses),
        ("training.monitor", run.training.monitor, task.monitors),
    ):
        if given not in valid:
            raise ConfigError(
                f"{name}={given} does not fit model.kind={kind}; valid: {', '.join(valid)}"
            )


def prepare(run: RunConfig, data: Manifest, environment: dict[str, Any]) -> RunDirectory:
    """Write what stands in a run directory before the first step.

    Raises:
        OutputError: the place cannot be written.
    """
    directory = RunDirectory(run.out)
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {run.out}: {error.strerror}") from error
    directory.config.write_text(config.to_yaml(run), encoding="utf-8")
    directory.write_json(directory.manifest, data.to_json())
    directory.write_json(directory.environment, environment)
    return directory
