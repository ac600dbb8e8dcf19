"""The configuration of a training run, and the checks across its sections.

Only this file sees the whole configuration; every component gets its own section.
"""

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from itrec_dist import config, metrics
from itrec_dist.config.fields import FREE
from itrec_dist.data import manifest
from itrec_dist.data.feeds import FeedConfig
from itrec_dist.data.history_buffers import own_part, refuse_small_buffer
from itrec_dist.data.history_feeds import HistoryShare, bucket_bounds
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import TRAIN, VALIDATION, Seen
from itrec_dist.data.shards import fetch
from itrec_dist.engines import kind_of
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.errors import ConfigError, OutputError
from itrec_dist.losses import LOSSES
from itrec_dist.losses.config import LossConfig
from itrec_dist.metrics.metric import CUTOFFS, MetricChoice
from itrec_dist.models import MODELS
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.ite import ITEConfig
from itrec_dist.models.seen import refuse_without_history
from itrec_dist.runs.checkpoints.writer import CheckpointConfig
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.trackers.config import TrackersConfig
from itrec_dist.storage import cache
from itrec_dist.storage.uri import Uri, refuse_credentials
from itrec_dist.tasks import TASKS
from itrec_dist.training import sharded_items
from itrec_dist.training.loop import TrainingConfig


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation of the model during and after training."""

    batch_size: int = field(default=1024, metadata=FREE)
    """Windows per batch over all workers together."""
    train_sample: int = 5000
    """Training windows evaluated after each epoch besides the validation split; 0 for none."""
    cutoffs: tuple[int, ...] = CUTOFFS
    """Lengths of the ranked list at which rankings are evaluated: the k of precision@k."""
    metrics: tuple[str, ...] = ()
    """Additional metrics, as module:Class; those of itrec-dist and of installed packages are always
    computed."""
    seen: Seen | None = None
    """What the masked ranking leaves out: all items before the targets (history), those that the
    model is shown (input), or none, where users repeat themselves; null is history for histories
    and input for windows, which hold no more. `itrec recommend` does the same, but leaves out a
    user's history if null."""
    judge_test: bool = True
    """Whether the best epoch is evaluated on the test split too; the trials of a sweep are not."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.train_sample < 0:
            raise ValueError(
                "evaluation.batch_size must be at least 1 and evaluation.train_sample at least 0"
            )
        try:
            choice = self.choice
        except ValueError as error:
            raise ValueError(f"evaluation.{error}") from error
        try:
            metrics.load(choice.more)
        except (ValueError, ConfigError) as error:
            raise ValueError(f"evaluation.metrics: {error}") from error

    @property
    def choice(self) -> MetricChoice:
        """The cut-offs and additional metrics to compute."""
        return MetricChoice(tuple(self.cutoffs), tuple(self.metrics), self.seen)


@dataclass(frozen=True)
class ClusterConfig:
    """Number of workers, and the resources of each."""

    num_workers: int = 1
    """Ray Train workers; with `min_workers`, the maximum. Without Ray there is one worker, or those
    that torchrun started."""
    min_workers: int | None = None
    """Fewest workers to continue with when the cluster has no room for `num_workers`; null always
    uses `num_workers`. When the number changes, all workers restart from the last checkpoint."""
    max_failures: int = 3
    """How often a run restarts from its last checkpoint after workers failed or were lost. Lost
    machines are normal, but a fault that recurs every time should cost minutes only. A node that
    announces its end (a preemption) does not count."""
    wait_seconds: float = 600.0
    """How long to wait for nodes of an existing cluster, at the start and after a loss."""
    use_gpu: bool | None = None
    """Whether each worker uses a GPU; null uses GPUs if there are any."""
    cpus_per_worker: float = 1.0
    """Logical CPUs that each worker reserves in Ray."""
    threads: int | None = None
    """CPU threads per worker; null divides a node's cores among its workers."""

    def __post_init__(self) -> None:
        if self.num_workers < 1 or self.cpus_per_worker <= 0:
            raise ValueError(
                "cluster.num_workers must be at least 1 and cluster.cpus_per_worker above 0"
            )
        if self.min_workers is not None and not 1 <= self.min_workers <= self.num_workers:
            raise ValueError(
                f"cluster.min_workers={self.min_workers} must be from 1 to cluster.num_workers="
                f"{self.num_workers}, or null"
            )
        if self.max_failures < 0 or self.wait_seconds < 0:
            raise ValueError("cluster.max_failures and cluster.wait_seconds must be at least 0")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"cluster.threads={self.threads} must be at least 1, or null")


@dataclass(frozen=True)
class RunConfig:
    """Run: data, output, seed and task."""

    shards: Uri | Path = field(metadata=FREE)
    """Folder that `itrec window` wrote; at a URI, each machine fetches it once."""
    out: Uri | Path = field(metadata=FREE)
    """Run directory to write; for a URI such as s3://bucket/runs/x, checkpoints are uploaded."""
    name: str = field(default="", metadata=FREE)
    """Name in logs and reports; empty derives one from model, loss and side information."""
    seed: int = 0
    """Seed of the initial weights, the dropout and the order of windows."""
    loss: LossConfig = field(default=None, metadata={config.KINDS: LOSSES})  # type: ignore[assignment]
    """Loss; null takes the default of the model's task."""
    model: ModelConfig = field(default_factory=ITEConfig, metadata={config.KINDS: MODELS})
    """Model, which determines the task."""
    item_vectors: Path | None = None
    """Run with an item embedding, such as item2vec's, to initialise this model's embedding from;
    null initialises it at random."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimizer"""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Training"""
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig, metadata=FREE)
    """Checkpoints"""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """Engine: precision and parallelism"""
    feed: FeedConfig = field(default_factory=FeedConfig)
    """Data loading"""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Evaluation"""
    cluster: ClusterConfig = field(default_factory=ClusterConfig, metadata=FREE)
    """Cluster"""
    trackers: TrackersConfig = field(default_factory=TrackersConfig, metadata=FREE)
    """Experiment trackers"""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must be at least 0")
        for name, place in (("shards", self.shards), ("out", self.out)):
            if isinstance(place, Uri):
                refuse_credentials(place, name)
        following = self.following({"model": type(self.model)})
        if self.loss is None:
            object.__setattr__(self, "loss", LOSSES[following["loss.kind"]]())
        if self.training.monitor in (None, following["training.monitor"]):
            own = TASKS[self.model.task].headline_of(self.model.samples)
            headline = own.nearest(self.evaluation.cutoffs)
            training = replace(self.training, monitor=str(headline))
            object.__setattr__(self, "training", training)

    @classmethod
    def following(cls, chosen: Mapping[str, type[Any]]) -> dict[str, Any]:
        """The defaults that depend on the model: the loss and the monitored metric."""
        model = chosen["model"]
        task = TASKS[model.task]
        headline = task.headline_of(model.samples)
        loss = model.default_loss or task.losses[0]
        return {"loss.kind": loss, "training.monitor": str(headline)}

    @property
    def folder(self) -> Path:
        """The run directory on this machine: `out`, or the local folder that is mirrored there."""
        return cache.cache("runs", self.out) if isinstance(self.out, Uri) else self.out

    @property
    def label(self) -> str:
        """The name, or one derived from model, loss and side information."""
        return self.name or self.model.label(self.loss.kind)


def check(run: RunConfig, num_workers: int) -> Manifest:
    """Check that a run can work, before anything is started; returns the data's manifest.

    `num_workers` is the maximum; `cluster.min_workers` may allow fewer.

    Raises:
        ConfigError: sections conflict with each other or with the data.
        ShardsError: the shards cannot be read.
        EnvironmentProblem: the engine needs a package that is missing.
    """
    if run.feed.cache == "none":
        data = fetch.manifest_of(run.shards)
    else:
        data = manifest.read(fetch.local(run.shards))
    least = run.cluster.min_workers
    sizes = range(num_workers if least is None else min(least, num_workers), num_workers + 1)
    for workers in sizes:
        kind_of(run.engine, workers).check_settings(run.engine, run.optimizer, workers)
    _check_shares(run, sizes)
    if not data.num_windows(TRAIN):
        raise ConfigError(f"{run.shards} has no training windows: window the data again")
    num_files = sum(1 for file in data.splits[TRAIN] if file.rows)
    if run.feed.cache == "none" and num_files < num_workers:
        raise ConfigError(
            f"{num_files} training files cannot be split among {num_workers} workers without a "
            "cache: window the data with a larger num_shards, or set feed.cache=host"
        )
    if run.training.patience is not None and not data.num_windows(VALIDATION):
        raise ConfigError(
            f"training.patience={run.training.patience} needs validation windows, {run.shards} has "
            "none: set validation_fraction when windowing, or training.patience=null"
        )
    _check_samples(run, data)
    if data.samples == "histories" and run.feed.cache == "none":
        share = own_part(
            HistoryShare(run.training.batch_size, run.training.batch_tokens, world_size=sizes[0])
        )
        bounds = bucket_bounds(data.input_length, None)
        refuse_small_buffer(run.feed.shuffle_events, share, bounds)
    _check_task(run)
    _check_sparse(run, num_workers)
    sharded_items.check(run)
    run.model.check(data)
    return data


def _check_samples(run: RunConfig, data: Manifest) -> None:
    """Refuse settings that are of the other kind of samples."""
    training = run.training
    if data.samples == "windows" and training.batch_tokens is not None:
        raise ConfigError(
            f"training.batch_tokens={training.batch_tokens} is for histories, {run.shards} has "
            "windows of one length: set training.batch_size, or window with --samples histories"
        )
    if TASKS[run.model.task].ranks:
        refuse_without_history(run.evaluation.seen, data.samples, "evaluation.seen")
    if data.samples == "windows" and (training.next_targets, training.next_within) != (1, None):
        raise ConfigError(
            "training.next_targets and training.next_within are for histories, the windows of "
            f"{run.shards} have {data.target_length} targets each: window with --samples histories"
        )
    if training.next_within is not None and data.has_order_alone:
        raise ConfigError(
            f"training.next_within={training.next_within} is a time, and the events of "
            f"{run.shards} have an order alone: leave it out, or set training.next_targets"
        )
    if training.next_targets > 1 and not run.model.learns_ahead:
        raise ConfigError(
            f"training.next_targets={training.next_targets} and model.kind={run.model.kind}, which "
            "learns from hidden events and not from those that follow: set it to 1"
        )
    if training.next_targets > 1 and run.loss.kind == "ce":
        raise ConfigError(
            f"training.next_targets={training.next_targets} does not work with loss=ce, which "
            "learns from the next item alone: give --loss softmax or bce"
        )


def _check_task(run: RunConfig) -> None:
    """Check that the loss and the monitored metric belong to the model's task."""
    task, kind = TASKS[run.model.task], run.model.kind
    if not task.accepts(run.loss):
        raise ConfigError(
            f"loss={run.loss.kind} does not fit model.kind={kind}; valid: {', '.join(task.losses)}"
        )
    valid = metrics.monitors(task.groups, run.evaluation.choice)
    why = f"does not fit model.kind={kind}"
    if refusal := metrics.refusal("training.monitor", str(run.training.monitor), valid, why):
        raise ConfigError(refusal)


def _check_sparse(run: RunConfig, num_workers: int) -> None:
    """Check that nothing in a step needs dense gradients if the model has sparse ones."""
    if not run.model.sparse_gradients:
        return
    optimizer = run.optimizer
    for name, given, allowed, is_fit in (
        ("optimizer.name", optimizer.name, "sgd or adagrad", optimizer.name in ("sgd", "adagrad")),
        ("optimizer.beta1", optimizer.beta1, "0 with sgd",
         optimizer.name != "sgd" or optimizer.beta1 == 0),
        ("optimizer.clip_norm", optimizer.clip_norm, "null", optimizer.clip_norm is None),
        ("cluster.num_workers", num_workers, "1", num_workers == 1),
    ):  # fmt: skip
        if not is_fit:
            raise ConfigError(
                f"model.sparse_gradients=true does not work with {name}={given}: give {allowed}, "
                "or model.sparse_gradients=false"
            )


def check_device(run: RunConfig, *, has_gpu: bool) -> None:
    """Check what depends on the devices, which `check` does not know.

    Raises:
        ConfigError: a setting needs a GPU.
    """
    if run.engine.compile == "cuda_graphs" and not has_gpu:
        raise ConfigError(
            "engine.compile=cuda_graphs needs a GPU, and training would run on the CPU: set "
            "engine.compile to default or none"
        )


def _check_shares(run: RunConfig, sizes: range) -> None:
    """Check that every possible number of workers can share a batch equally."""
    accumulate = run.engine.accumulate
    # Batches by positions have any number of rows and are filled up.
    rows = 0 if run.training.batch_tokens else run.training.batch_size
    for name, size, factor, besides in (
        ("training", rows, accumulate, f" with engine.accumulate={accumulate}"),
        ("evaluation", run.evaluation.batch_size, 1, ""),
    ):
        wrong = [workers for workers in sizes if size % (workers * factor)]
        if wrong:
            listed = ", ".join(map(str, wrong[:-1]))
            numbers = f"{listed} or {wrong[-1]}" if listed else f"{wrong[-1]}"
            parts = math.lcm(*(workers * factor for workers in sizes))
            raise ConfigError(
                f"{name}.batch_size={size} cannot be shared equally by {numbers} workers{besides}: "
                f"choose a multiple of {parts}"
                + (" or another range of workers" if len(sizes) > 1 else "")
            )


def prepare(run: RunConfig, data: Manifest, environment: dict[str, Any]) -> RunDirectory:
    """Create the run directory with the files that are written before the first step.

    Raises:
        OutputError: it cannot be written.
    """
    directory = RunDirectory(run.folder)
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {run.folder}: {error.strerror}") from error
    directory.config.write_text(config.to_yaml(run), encoding="utf-8")
    directory.write_json(directory.manifest, data.to_json())
    directory.write_json(directory.environment, environment | {"run": uuid.uuid4().hex})
    return directory
