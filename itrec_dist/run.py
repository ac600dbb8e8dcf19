"""One training run: the whole configuration, its checks across sections, and a worker's part.

Only this file sees the whole configuration; every component is handed its own section.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from itrec_dist import arrays, batches, checkpoint, config, dataspec, manifest, samples
from itrec_dist.batches import (
    CachedFeed,
    Feed,
    FeedConfig,
    Share,
    StreamedFeed,
    TensorTable,
    whole_batch,
)
from itrec_dist.context import WorkerContext
from itrec_dist.engines.ddp import DDPEngine
from itrec_dist.engines.engine import Engine, EngineConfig
from itrec_dist.engines.single import SingleEngine
from itrec_dist.errors import ConfigError, OutputError
from itrec_dist.loop import Judgement, Outcome, Trainer, TrainingConfig, evaluate
from itrec_dist.losses import LossName
from itrec_dist.manifest import Manifest
from itrec_dist.metrics import Judge, top_items
from itrec_dist.models.ite import ITEConfig
from itrec_dist.optim import OptimizerConfig
from itrec_dist.recorder import Recorder, Watcher
from itrec_dist.run_directory import RunDirectory
from itrec_dist.schema import ITEMS_FILE, TEST, TRAIN, VALIDATION
from itrec_dist.tasks.next_items import NextItems

_NUM_SAMPLED = 6  # users whose predictions the report shows


@dataclass(frozen=True)
class EvaluationConfig:
    """How the model is judged."""

    batch_size: int = 1024
    """Windows per batch over all workers together."""
    train_sample: int = 5000
    """Training windows judged beside the validation split each epoch; 0 for none."""

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
    """bce: all targets as labels; ce: the next item alone; softmax: all targets, one softmax."""
    model: ITEConfig = field(default_factory=ITEConfig)
    """The encoder."""
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
        return self.name or f"ITE {self.loss} {self.model.side_information}"


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
    if run.model.uses_movie and not data.item_feature_width:
        raise ConfigError(
            f"model.side_information={run.model.side_information} needs item features, "
            f"{run.shards} has none: window the data with an item table, or choose none or user"
        )
    if run.model.uses_user and not data.user_features:
        raise ConfigError(
            f"model.side_information={run.model.side_information} needs user features, "
            f"{run.shards} has none: window the data with a user table, or choose none or movie"
        )
    return data


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


def run_worker(run: RunConfig, context: WorkerContext, watcher: Watcher | None = None) -> None:
    """One worker's part of a run: build, train, judge. Rank 0 writes the run directory."""
    _Worker(run, context, watcher).work()


class _Worker:
    """Holds what the steps of a worker's part share."""

    def __init__(self, run: RunConfig, context: WorkerContext, watcher: Watcher | None) -> None:
        self._run, self._context = run, context
        self._started = time.monotonic()
        self._directory = RunDirectory(run.out)
        self._is_first = context.rank == 0
        self._best_epoch = 0
        self._recorder = Recorder(self._directory if self._is_first else None, watcher)
        self._manifest = manifest.read(run.shards)
        self._items = arrays.read_items(run.shards, self._manifest)
        spec = dataspec.build(self._manifest, self._items)
        torch.manual_seed(run.seed)  # the same initial weights on every worker
        self._task = NextItems(run.model, run.loss, spec)
        self._popularity_C = spec.target_counts_C.to(context.device)
        self._feeds = self._build_feeds()
        self._engine = self._build_engine()
        torch.manual_seed((run.seed << 16) + context.rank)  # dropout differs between workers

    def work(self) -> None:
        """Train to the end, then judge the best epoch."""
        feed = self._feeds[TRAIN]
        self._recorder.start(
            kind="train", name=self._run.label, workers=self._context.world_size,
            batch_size=self._run.training.batch_size, epochs=self._run.training.epochs,
            num_parameters=sum(p.numel() for p in self._task.parameters()),
            steps_per_epoch=feed.steps_per_epoch, device=str(self._context.device),
            seconds_to_start=round(time.monotonic() - self._started, 3),
        )  # fmt: skip
        trainer = Trainer(
            self._run.training, self._engine, feed, self._context, self._recorder,
            self._run.engine.accumulate,
        )  # fmt: skip
        try:
            outcome = trainer.train(self._run.seed, self._judge_epoch, self._keep)
            self._judge_best(outcome)
        except KeyboardInterrupt:
            self._end("interrupted", self._best_epoch)
            raise
        self._end(outcome.reason, outcome.best_epoch)

    def _end(self, reason: str, best_epoch: int) -> None:
        seconds = round(time.monotonic() - self._started, 1)
        self._recorder.end(reason=reason, best_epoch=best_epoch, seconds=seconds)

    def _build_feeds(self) -> dict[str, Feed]:
        run, device = self._run, self._context.device
        cache = batches.resolve_cache(run.feed.cache, self._manifest, device)
        # Where one worker lacks the memory all stream: cached and streamed batches do not match.
        if self._context.sum(torch.tensor([float(cache == "none")], device=device)):
            cache = "none"
        shares = {
            split: Share(size, self._context.rank, self._context.world_size)
            for split, size in (
                (TRAIN, run.training.batch_size),
                (VALIDATION, run.evaluation.batch_size),
                (TEST, run.evaluation.batch_size),
            )
        }
        held = torch.device("cpu") if cache == "host" else device
        feeds: dict[str, Feed] = {}
        self._sampled: arrays.Windows | None = None
        for split, share in shares.items():
            if not self._manifest.num_windows(split):
                continue
            if cache == "none" and split == TRAIN:
                files = batches.split_files(run.shards, self._manifest, split)
                feeds[split] = StreamedFeed(
                    files, self._context.blocks, self._manifest, share, device,
                    run.feed.shuffle_buffer,
                )  # fmt: skip
                sample = self._first_windows(files)
            else:
                windows = batches.read_windows(
                    run.shards, self._manifest, split, self._context.blocks
                )
                feeds[split] = CachedFeed(TensorTable(windows, held), share, device)
                sample = windows
                if split != TRAIN:  # the test split, if there is one, comes last
                    self._sampled = windows.take(_spread(len(windows), _NUM_SAMPLED))
            if split == TRAIN and run.evaluation.train_sample:
                feeds["train sample"] = self._sample_feed(sample, shares[VALIDATION], held)
        return feeds

    def _first_windows(self, files: list[batches.FileRows]) -> arrays.Windows:
        block = next(iter(self._context.blocks([files[0].path])))
        return arrays.table_to_arrays(block, self._manifest)

    def _sample_feed(self, windows: arrays.Windows, share: Share, held: torch.device) -> Feed:
        """Evenly spaced training windows: the same ones in every run on the same data."""
        count = min(self._run.evaluation.train_sample, len(windows))
        sampled = windows.take(_spread(len(windows), count))
        return CachedFeed(TensorTable(sampled, held), share, self._context.device)

    def _build_engine(self) -> Engine:
        kind = DDPEngine if self._context.world_size > 1 else SingleEngine
        total = self._feeds[TRAIN].steps_per_epoch * self._run.training.epochs
        return kind(self._task, self._run.engine, self._run.optimizer, total, self._context.device)

    def _judge(self, split: str) -> Judgement | None:
        if split not in self._feeds:
            return None
        judge = Judge(self._popularity_C, self._manifest.target_length)
        return evaluate(self._engine, self._feeds[split], judge, self._context)

    def _judge_epoch(self) -> tuple[Judgement | None, Judgement | None]:
        return self._judge("train sample"), self._judge(VALIDATION)

    def _keep(self, names: Any, epoch: int, step: int, value: float | None) -> None:
        if not self._is_first:
            return
        figures = {} if value is None else {self._run.training.monitor: value}
        record = checkpoint.Record(epoch, step, self._manifest.fingerprint, figures)
        for name in names:
            checkpoint.save(
                self._directory.checkpoints / name, self._task.model, record,
                beside=self._directory.path, items=self._run.shards / ITEMS_FILE,
            )  # fmt: skip
        if "best" in names:
            self._best_epoch = epoch

    def _judge_best(self, outcome: Outcome) -> None:
        """Judge the best epoch on every evaluation split and write the run's last files."""
        self._context.sum(torch.zeros(1, device=self._context.device))  # rank 0 has written it
        checkpoint.load_weights(self._directory.checkpoints / "best", self._task.model)
        judgements = {
            split: judgement
            for split in (VALIDATION, TEST)
            if (judgement := self._judge(split)) is not None
        }
        if not self._is_first:
            return
        if self._sampled is not None:
            batch = whole_batch(self._sampled, self._context.device)
            self._engine.train(False)
            with torch.inference_mode():
                top_BN = top_items(self._engine(batch).scores_BC, self._manifest.target_length)
            users = arrays.read_users(self._run.shards, self._manifest)
            content = samples.describe(self._sampled, top_BN.cpu().numpy(), self._items, users)
            split = TEST if TEST in judgements else VALIDATION
            self._directory.write_json(self._directory.samples, {"split": split, "users": content})
        self._directory.write_json(
            self._directory.evaluation,
            {
                "kind": "train",
                "name": self._run.label,
                "checkpoint": "best",
                "epoch": outcome.best_epoch,
                "seed": self._run.seed,
                "fingerprint": self._manifest.fingerprint,
                "splits": judgements,
            },
        )


def _spread(length: int, count: int) -> npt.NDArray[np.int64]:
    """Up to `count` row numbers, evenly spaced over `length` rows."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))
