"""A worker of a run: builds model and feeds, trains, evaluates, writes the run directory.

All workers run the same code; worker 0 writes the files.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from itrec_dist.data import feeds as data_feeds
from itrec_dist.data import manifest, training_ratings
from itrec_dist.data import spec as data_spec
from itrec_dist.data.batches import Share, whole_batch
from itrec_dist.data.feeds import Feed, StreamedFeed
from itrec_dist.data.schema import ITEMS_FILE, TEST, TRAIN, VALIDATION
from itrec_dist.data.shards import arrays, reader
from itrec_dist.data.shards.on_node import NodeSplits
from itrec_dist.data.shards.splits import WindowReader, split_files
from itrec_dist.distributed.context import WorkerContext
from itrec_dist.engines import kind_of
from itrec_dist.engines.engine import Engine
from itrec_dist.errors import ConfigError, OutputError
from itrec_dist.metrics import targets
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.models.output import RankingOutput
from itrec_dist.runs.checkpoints.manager import CheckpointManager
from itrec_dist.runs.checkpoints.training_state import Position, Provenance, ResumePoint, State
from itrec_dist.runs.checkpoints.writer import CheckpointWriter
from itrec_dist.runs.directory import BEST, RunDirectory
from itrec_dist.runs.log import Recorder, Watcher
from itrec_dist.runs.remote import Mirror, Sender
from itrec_dist.storage import atomic
from itrec_dist.storage.uri import Uri
from itrec_dist.tasks import TASKS
from itrec_dist.training import (
    feed_cache,
    loss_memory,
    precision,
    resume,
    samples,
    tracking,
    warm_start,
)
from itrec_dist.training.config import RunConfig
from itrec_dist.training.history_splits import HistorySplits, spread
from itrec_dist.training.loop import Trainer, evaluate
from itrec_dist.training.sharded_items import assigned, count_weights

_NUM_SAMPLED = 6  # users whose predictions the report shows


@dataclass(frozen=True)
class Restart:
    """Why workers are restarted within one launch."""

    cause: str
    """What happened to the earlier workers, as the beginning of a sentence."""
    noticed: float | None
    """When it was noticed, in Unix time; None if nothing was lost."""


TakeResumePoint = Callable[[], ResumePoint | None]
"""Hands over a checkpoint in memory; a function, so that no caller holds on to it during training.
"""


def run_worker(
    run: RunConfig, context: WorkerContext, watcher: Watcher | None = None,
    restart: Restart | None = None, take: TakeResumePoint | None = None,
) -> None:  # fmt: skip
    """Build, train and evaluate as one worker of a run. Rank 0 writes the run directory.

    Resumes from the checkpoint `last` of the run directory if there is one.

    Args:
        run: the whole configuration.
        context: this worker's context.
        watcher: called with every event of the log.
        restart: on worker 0, why the workers are restarted; None for the first ones.
        take: on worker 0, returns the checkpoint `last` if this process has already read it.
    """
    with tracking.followed(run, watcher, is_first=context.rank == 0) as watch:
        worker = _Worker(run, context, watch, restart, take)
        worker.work()
    worker.send()  # after trackers have read the local folder


class _Worker:
    """The state that the steps of `run_worker` share."""

    def __init__(
        self, run: RunConfig, context: WorkerContext, watcher: Watcher | None,
        restart: Restart | None, take: TakeResumePoint | None,
    ) -> None:  # fmt: skip
        self._context, self._restart = context, restart
        self._started = time.monotonic()
        self._directory = RunDirectory(run.folder)
        self._is_first = context.rank == 0
        self._sender = self._join_mirror(run) if self._is_first else None
        run, self._note_on_precision = precision.settle(run, context)
        self._run = run
        point = self._read_last(take) if self._is_first else None
        self._state = context.share(point.state if point else None)
        begun = 0 if restart else None
        step = self._state.position.step if self._state else begun
        self._has_warned = self._state is not None
        self._recorder = Recorder(self._directory if self._is_first else None, watcher, step)
        self._shards = feed_cache.shards_on_this_machine(run)
        self._manifest = manifest.read(self._shards)
        self._items = reader.read_items(self._shards, self._manifest)
        reader.refuse_without_users(self._shards)
        spec = assigned(data_spec.build(self._manifest, self._items), run, context)
        torch.manual_seed(run.seed)  # the same initial weights on every worker
        self._task = TASKS[run.model.task](run.model, run.loss, spec)
        self._task.fit_statistics(
            lambda: training_ratings.read(self._shards, self._manifest, context.blocks)
        )
        num_queries = loss_memory.most_queries(
            run, self._manifest, context.world_size, steps=self._task.learns_steps
        )
        self._loss_memory = loss_memory.check(run, self._manifest, num_queries, context.device)
        # Counted before the engine, which may shard them.
        self._num_parameters = count_weights(self._task, run)
        warm_start.start_model(self._task.model, run, self._items)
        self._notes: list[str] = []
        if not self._manifest.num_windows(VALIDATION):
            self._notes.append("no validation split: the last epoch counts as the best")
        self._splits = NodeSplits(
            self._shards, self._manifest, context.blocks, context.shares_data, self._notes.append
        )
        self._feeds = self._build_feeds()
        self._engine = self._build_engine()
        torch.manual_seed((run.seed << 16) + context.rank)  # dropout differs between workers
        provenance = Provenance(
            engine=self._engine.name, world_size=context.world_size,
            fingerprint=self._manifest.fingerprint, is_streamed=self._is_streamed,
        )  # fmt: skip
        items = self._shards / ITEMS_FILE
        writer = None
        if self._is_first:
            after = self._sender.send if self._sender else None
            writer = CheckpointWriter(self._directory, items, run.checkpoints, after)
        self._checkpoints = CheckpointManager(
            self._directory, writer, provenance, self._engine, context
        )
        self._position = Position()
        if self._state:
            self._position = self._checkpoints.resume(self._state, point)

    def work(self) -> None:
        """Train to the end, then evaluate the best epoch."""
        trained_to = self._trained_to() if self._restart else 0
        feed = self._feeds[TRAIN]
        self._recorder.start(
            kind="train", name=self._run.label, engine=self._engine.name,
            workers=self._context.world_size, batch_tokens=self._run.training.batch_tokens,
            batch_size=self._run.training.batch_size, epochs=self._run.training.epochs,
            num_parameters=self._num_parameters,
            steps_per_epoch=feed.steps_per_epoch, device=str(self._context.device),
            precision=self._run.engine.precision, loss_memory=self._loss_memory,
            seconds_to_start=round(time.monotonic() - self._started, 3),
        )  # fmt: skip
        if self._restart:
            self._record_restart(self._restart, trained_to)
        elif self._state:
            self._recorder.note(self._resumption(self._state))
        elif warning := warm_start.warning(self._run, self._manifest):
            self._recorder.note(warning)
        for note in filter(None, (self._note_on_precision, *self._notes)):
            self._recorder.note(note)
        trainer = Trainer(
            self._run.training, self._engine, feed, self._context, self._recorder,
            self._run.engine.accumulate,
        )  # fmt: skip
        try:
            result = trainer.train(
                self._run.seed, self._judge_epoch, self._save, self._position,
                self._run.checkpoints.steps,
            )  # fmt: skip
            self._judge_best()
        except BaseException as error:
            self._wind_up(error)
            raise
        self._checkpoints.close()
        self._end(result.reason, result.best_epoch, result.skipped)

    def send(self) -> None:
        """Send what is not at the URI yet, and remove the local folder."""
        if self._sender is not None:
            self._sender.finish()

    def _wind_up(self, error: BaseException) -> None:
        """Wait for a checkpoint that is being written, and end the log of an interrupted run."""
        lost = self._checkpoints.close()
        with contextlib.suppress(OutputError):  # the exception that is propagating says more
            if lost:
                self._recorder.note(lost)
            if isinstance(error, KeyboardInterrupt):
                self._end("interrupted", self._position.best_epoch, self._position.skipped)
        if self._sender is not None:
            self._sender.stop()
            self._sender.send()

    def _read_last(self, take: TakeResumePoint | None) -> ResumePoint | None:
        return (take() if take else None) or resume.load_last(self._directory)

    def _join_mirror(self, run: RunConfig) -> Sender | None:
        """Fetch what the driver or an earlier worker 0 has sent to the URI."""
        if not isinstance(run.out, Uri):
            return None
        mirror = Mirror(run.out, run.folder)
        mirror.fetch()
        return Sender(mirror, run.checkpoints.keeps)

    def _end(self, reason: str, best_epoch: int, skipped: int) -> None:
        seconds = round(time.monotonic() - self._started, 1)
        self._recorder.end(reason=reason, best_epoch=best_epoch, skipped=skipped, seconds=seconds)

    def _trained_to(self) -> int:
        """The last step that the earlier workers logged."""
        steps = [e["step"] for e in self._directory.events() if e["event"] in ("progress", "epoch")]
        return steps[-1] if steps else 0

    def _record_restart(self, restart: Restart, trained_to: int) -> None:
        at, workers = self._position, self._context.world_size
        where = (
            f"epoch {at.epoch + 1}, step {at.step}"
            if at.batches
            else (f"the end of epoch {at.epoch}, step {at.step}" if at.epoch else "the beginning")
        )
        again = max(trained_to - at.step, 0)
        message = f"{restart.cause}: continuing from {where} with {_workers(workers)}"
        if again:
            message += f", {again} step{'s are' if again > 1 else ' is'} trained again"
        message += self._loss_of_order()
        self._recorder.restart(
            message=message, noticed=restart.noticed, step=at.step, again=again, workers=workers
        )

    def _resumption(self, state: State) -> str:
        at, before, workers = state.position, state.provenance.world_size, self._context.world_size
        message = f"resumed from epoch {at.epoch}, step {at.step}"
        if at.batches:
            message = f"resumed within epoch {at.epoch + 1}, after step {at.step}"
        if workers == before:
            return message
        return f"{message}; {_workers(workers)} in place of {before}{self._loss_of_order()}"

    def _loss_of_order(self) -> str:
        if self._state is None or self._state.provenance.world_size == self._context.world_size:
            return ""
        if not self._is_streamed or not self._state.position.batches:
            return ""
        return (
            ": without a cache the rest of this epoch is distributed differently, so that some of "
            "its windows are seen twice and some not at all"
        )

    def _build_feeds(self) -> dict[str, Feed]:
        self._sampled: arrays.Windows | None = None
        cache = feed_cache.settle(self._run, self._manifest, self._context, self._state)
        self._is_streamed = cache == "none"
        if self._manifest.samples == "histories":
            steps = self._task.learns_steps
            if self._run.training.next_targets > 1 and steps and not self._task.learns_ahead:
                raise ConfigError(
                    f"training.next_targets={self._run.training.next_targets} is for models that "
                    f"predict what follows each position, which {self._run.model.kind} does not: "
                    "set it to 1"
                )
            splits = HistorySplits(self._run, self._manifest, self._context, steps=steps)
            feeds = splits.read(self._splits, cache, _NUM_SAMPLED)
            self._sampled = splits.sampled
            if splits.note is not None:
                self._notes.append(splits.note)
            if splits.first_times_C is not None:
                self._task.tell_first_times(splits.first_times_C)
            return feeds
        return self._window_feeds(cache)

    def _window_feeds(self, cache: data_feeds.CacheName) -> dict[str, Feed]:
        run, device = self._run, self._context.device
        shares = {
            split: Share(size, self._context.rank, self._context.world_size)
            for split, size in (
                (TRAIN, run.training.batch_size),
                (VALIDATION, run.evaluation.batch_size),
                (TEST, run.evaluation.batch_size),
            )
        }
        held = torch.device("cpu") if cache == "host" else device
        times = run.model.uses_times
        feeds: dict[str, Feed] = {}
        for split, share in shares.items():
            if not self._manifest.num_windows(split):
                continue
            if split == TEST and not run.evaluation.judge_test:
                continue
            if cache == "none" and split == TRAIN:
                files = split_files(self._shards, self._manifest, split)
                windows_of = WindowReader(self._manifest, self._context.blocks, times)
                feeds[split] = StreamedFeed(
                    files, windows_of, share, device, run.feed.shuffle_buffer
                )
                sample = next(windows_of.read(files[:1]))
            else:
                packed = self._splits.windows(split, times=times)
                feeds[split] = data_feeds.cached(packed, share, device, held)
                sample = windows = packed.windows()
                if split != TRAIN:  # the test split, if there is one, comes last
                    self._sampled = windows.take(spread(len(windows), _NUM_SAMPLED))
            if split == TRAIN and run.evaluation.train_sample:
                feeds["train sample"] = self._sample_feed(sample, shares[VALIDATION], held)
        return feeds

    def _sample_feed(self, windows: arrays.Windows, share: Share, held: torch.device) -> Feed:
        """Evenly spaced training windows, the same in every run on the same data."""
        count = min(self._run.evaluation.train_sample, len(windows))
        sampled = windows.take(spread(len(windows), count))
        return data_feeds.cached(sampled, share, self._context.device, held)

    def _build_engine(self) -> Engine:
        kind = kind_of(self._run.engine, self._context.world_size)
        total = self._feeds[TRAIN].steps_per_epoch * self._run.training.epochs
        return kind(self._task, self._run.engine, self._run.optimizer, total, self._context.device)

    def _judge(self, split: str, *, slices: bool = False) -> Judgement | None:
        if split not in self._feeds:
            return None
        choice = replace(self._run.evaluation.choice, slices=slices)
        judge = self._task.judge(self._context.device, choice)
        return evaluate(self._engine, self._feeds[split], judge, self._context)

    def _judge_epoch(self) -> tuple[Judgement | None, Judgement | None]:
        on_sample, on_validation = self._judge("train sample"), self._judge(VALIDATION)
        if on_validation is not None and not self._has_warned:
            self._has_warned = True
            if text := targets.warning(VALIDATION, on_validation.targets, "--evaluation.seen"):
                self._recorder.note(f"warning: {text}")
        return on_sample, on_validation

    def _save(self, kinds: Sequence[str], at: Position, value: float | None) -> None:
        figures = {} if value is None else {str(self._run.training.monitor): value}
        with atomic.uninterrupted():  # checkpoints and the end of the log name the same epoch
            self._checkpoints.save(kinds, at, figures)
            self._position = at
        if self._sender is not None and (outage := self._sender.unreported_outage()):
            self._recorder.note(outage)

    def _judge_best(self) -> None:
        """Evaluate the best epoch on every evaluation split and write the run's last files."""
        best = self._checkpoints.load_best()
        judgements = {
            split: judgement
            for split in (VALIDATION, TEST)
            if (judgement := self._judge(split, slices=True)) is not None
        }
        top_BN = None
        if self._sampled is not None and self._task.ranks:  # on all workers: weights may be sharded
            batch = whole_batch(self._sampled, self._context.device)
            self._engine.train(False)
            with torch.inference_mode():
                output = self._engine(batch)
            assert isinstance(output, RankingOutput)
            top_BN = output.top_ids_BN[:, : self._manifest.target_length]
        if not self._is_first:
            return
        if self._sampled is not None and top_BN is not None:
            users = reader.read_users(self._shards, self._manifest)
            content = samples.describe(self._sampled, top_BN.cpu().numpy(), self._items, users)
            split = TEST if TEST in judgements else VALIDATION
            self._directory.write_json(self._directory.samples, {"split": split, "users": content})
        self._directory.write_json(
            self._directory.evaluation,
            {
                "kind": "train",
                "name": self._run.label,
                "checkpoint": BEST,
                "epoch": best.epoch,
                "seed": self._run.seed,
                "fingerprint": self._manifest.fingerprint,
                "splits": {split: j.to_json() for split, j in judgements.items()},
            },
        )


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"
