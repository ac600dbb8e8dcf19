"""The training loop and the evaluation loop, the same for every engine and worker context.

The loop owns the order of events: epochs, steps, evaluations, which epoch is best and when to stop.
Engines own the arithmetic, feeds the order of windows, the recorder the log, and the loss monitor
decides when workers exchange losses.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from itrec_dist import metrics
from itrec_dist.config.fields import FREE
from itrec_dist.data.batches import micro_batches
from itrec_dist.data.feeds import Feed
from itrec_dist.data.schema import Batch
from itrec_dist.distributed.context import WorkerContext
from itrec_dist.engines.engine import Engine, Runner, Update
from itrec_dist.errors import ConfigError, TrainingError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import FigureName, MetricChoice
from itrec_dist.runs.checkpoints.training_state import Position
from itrec_dist.runs.directory import BEST, LAST
from itrec_dist.runs.log import Recorder
from itrec_dist.tasks.task import SplitJudge
from itrec_dist.training.loss_monitor import Losses, LossMonitor, batch_at, described_windows

MAX_SKIPPED_IN_A_ROW = 9
"""More skipped batches in a row than this are not an accident of the data, and end the run."""


@dataclass(frozen=True)
class TrainingConfig:
    """Epochs, batch size, and the choice of the best epoch."""

    epochs: int = 20
    """Passes over the training windows."""
    batch_size: int = 512
    """Windows or histories per update over all workers and micro-batches together."""
    batch_tokens: int | None = None
    """With histories, positions per update instead, padding included: short histories share a batch
    with more others of about their length; null counts histories by batch_size."""
    next_targets: int = 1
    """With histories, how many of the next events are the targets of a position, at most; the loss
    must take several, as softmax and bce do. A step needs memory for so many item vectors at every
    position."""
    next_within: int | None = None
    """With histories, targets lie within this much time after a position's newest event, in the
    unit of the timestamps; positions without any are not learned from. null sets no limit."""
    monitor: str | None = None
    """Validation metric that selects the best epoch: loss, ranking/metric@cutoff with one of
    evaluation.cutoffs, or ratings/rmse and ratings/mae for rating prediction; null takes the main
    metric of the model's task, at the nearest of the cut-offs."""
    patience: int | None = None
    """Stop after this many epochs without improvement; null trains all epochs."""
    log_seconds: float = field(default=2.0, metadata=FREE)
    """Seconds between progress lines."""
    non_finite: Literal["stop", "skip"] = field(default="stop", metadata=FREE)
    """What to do about a loss that is not finite: stop ends the run and names the step and its
    windows; skip skips the batch on all workers, at the cost of a device synchronisation per
    micro-batch, and ends the run after ten in a row."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name}={getattr(self, name)} must be at least 1")
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise ValueError(
                f"training.batch_tokens={self.batch_tokens} must be at least 1, or null"
            )
        if self.next_targets < 1:
            raise ValueError(f"training.next_targets={self.next_targets} must be at least 1")
        if self.next_within is not None and self.next_within < 0:
            raise ValueError(f"training.next_within={self.next_within} must be at least 0, or null")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"training.patience={self.patience} must be at least 1, or null")
        if self.monitor is None:
            return
        try:
            FigureName.parse(self.monitor)  # that the task has it is checked with other sections
        except ConfigError as error:
            valid = metrics.monitors(metrics.groups(), MetricChoice())
            raise ValueError(metrics.refusal("training.monitor", self.monitor, valid)) from error

    @property
    def figure(self) -> FigureName:
        """The name of the monitored metric."""
        assert self.monitor is not None, "a run's configuration resolves it"
        return FigureName.parse(self.monitor)

    def value(self, judgement: Judgement) -> float:
        """The value of the monitored metric; NaN if the judgement does not have it."""
        value = judgement.value(self.figure)
        return math.nan if value is None else value

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether a value of the monitored metric beats the best so far; the first always does."""
        return best is None or (
            value < best if metrics.lower_is_better(self.figure) else value > best
        )


@dataclass(frozen=True)
class TrainingResult:
    """How training ended."""

    reason: str
    best_epoch: int
    step: int
    skipped: int = 0
    """Batches skipped because their loss was not finite."""


def train_step(
    engine: Engine, batch: Batch, is_lost: Callable[[torch.Tensor], bool] | None = None
) -> tuple[torch.Tensor, Update] | None:
    """One micro-batch: forward, backward, and an update when its batch is complete.

    Returns the summed loss of this worker's real windows, on the device and without its graph, and
    the update; None if `is_lost` says so of that loss, and the batch is then discarded.
    """
    total_loss = (engine(batch).loss_B * batch.weight_B).sum()
    if is_lost is not None and is_lost(total_loss):
        engine.discard()
        return None
    engine.backward(total_loss / batch.denominator)
    return total_loss.detach(), engine.step()


def evaluate(engine: Runner, feed: Feed, judge: SplitJudge, context: WorkerContext) -> Judgement:
    """Evaluate every window of a feed once, over all workers; all return the same metrics."""
    engine.train(False)
    with torch.inference_mode():
        for batch in feed.epoch(None):
            judge.add(batch, engine(batch))
    engine.train(True)
    judge.load(context.sum(judge.state()))
    return judge.judgement()


Save = Callable[[Sequence[str], Position, float | None], None]
"""Saves checkpoints of the given kinds (LAST, BEST) at a position, with the value of the monitored
metric (None without one, and within an epoch). Called by all workers after the same step."""


class Trainer:
    """Trains one engine on one feed; evaluation and checkpointing are passed in as callables."""

    def __init__(
        self, config: TrainingConfig, engine: Engine, feed: Feed, context: WorkerContext,
        recorder: Recorder, accumulate: int,
    ) -> None:  # fmt: skip
        self._config = config
        self._engine = engine
        self._feed = feed
        self._context = context
        self._recorder = recorder
        self._accumulate = accumulate
        self._monitor = LossMonitor(context, config.log_seconds)
        self._step = 0
        self._saved = 0  # the step of `checkpoints/last`
        self._save_steps: int | None = None

    def train(
        self, seed: int, judge: Callable[[], tuple[Judgement | None, Judgement | None]],
        save: Save, at: Position | None = None, save_steps: int | None = None,
    ) -> TrainingResult:  # fmt: skip
        """Train all epochs, or until patience runs out.

        Args:
            seed: determines the order of windows, together with the epoch.
            judge: evaluates on the training sample and on validation; None where there is none.
            save: saves checkpoints.
            at: where to resume, with the engine restored; None starts from the beginning.
            save_steps: also save within an epoch, every so many updates.

        Raises:
            TrainingError: the training loss or the monitored metric is not finite.
        """
        at = at or Position()
        self._step = self._saved = at.step
        self._save_steps = save_steps
        while (reason := self._reason_to_end(at)) is None:
            at, loss = self._train_epoch(seed, at, save)
            on_train, on_validation = judge()
            value = None if on_validation is None else self._config.value(on_validation)
            if value is not None:
                self._check_finite(value, at.epoch, f"validation {self._config.monitor}")
            # Without a validation split the newest epoch counts as the best.
            is_best = value is None or self._config.is_better(value, at.best)
            if is_best:
                at = replace(at, best=value, best_epoch=at.epoch)
            # Logged first: an epoch that was logged but not saved is trained and logged again when
            # resuming. Writing is asynchronous: the next epoch may log steps before it is done.
            self._recorder.epoch(
                epoch=at.epoch, step=at.step, seconds=round(at.seconds, 3),
                windows_per_second=round(self._feed.num_windows / at.seconds, 1), loss=loss,
                train=on_train and on_train.to_json(),
                validation=on_validation and on_validation.to_json(), is_best=is_best,
                skipped=at.skipped_in_epoch,
            )  # fmt: skip
            at = replace(at, seconds=0.0, skipped_in_epoch=0, skipped_windows=0)
            self._save(save, [BEST, LAST] if is_best else [LAST], at, value)
            self._context.report({"epoch": at.epoch, "loss": loss, "monitor": value})
        return TrainingResult(reason, at.best_epoch, at.step, at.skipped)

    def _reason_to_end(self, at: Position) -> str | None:
        if self._config.patience and at.epoch - at.best_epoch >= self._config.patience:
            return "stopped early"
        return "finished" if at.epoch == self._config.epochs else None

    def _train_epoch(self, seed: int, at: Position, save: Save) -> tuple[Position, float]:
        """Train one epoch, or the rest of it; returns its end and the mean loss of all windows."""
        self._engine.train(True)
        began, started = at, time.monotonic() - at.seconds
        monitor = self._monitor
        monitor.start(at.loss)
        feed = self._feed.epoch((seed, at.epoch + 1), skip=at.batches)
        for batches, batch in enumerate(feed, at.batches + 1):
            done = self._train_batch(batch)
            if done is None:
                at = self._leave_out(batch, at)
                continue
            at, (total_loss, update) = replace(at, in_a_row=0), done
            self._step += 1
            monitor.add(total_loss, batch.denominator * self._context.world_size)
            is_checkpoint_due = self._is_checkpoint_due(batches)
            if monitor.is_due or is_checkpoint_due:
                losses = self._exchange_losses(seed, began)
                self._progress(at.epoch + 1, update, losses)
            if is_checkpoint_due:
                seconds = time.monotonic() - started
                at = replace(at, batches=batches, step=self._step, seconds=seconds)
                self._save(save, [LAST], replace(at, loss=monitor.own_loss), None)
        losses = self._exchange_losses(seed, began)
        seconds = time.monotonic() - started
        end = replace(at, epoch=at.epoch + 1, batches=0, step=self._step, seconds=seconds, loss=0.0)
        trained = self._feed.num_windows - at.skipped_windows
        return end, losses.loss / trained if trained else math.nan

    def _train_batch(self, batch: Batch) -> tuple[torch.Tensor, Update] | None:
        """Train on all micro-batches of a batch; None if it was skipped.

        Returns its loss on this worker and the update.
        """
        is_lost = self._is_lost if self._config.non_finite == "skip" else None
        own_loss: torch.Tensor | None = None
        for micro in micro_batches(batch, self._accumulate):
            done = train_step(self._engine, micro, is_lost)
            if done is None:
                return None
            total_loss, update = done
            own_loss = total_loss if own_loss is None else own_loss + total_loss
        assert own_loss is not None
        return own_loss, update

    def _is_lost(self, total_loss: torch.Tensor) -> bool:
        """Whether the loss is not finite on any worker; a synchronisation of all workers."""
        is_lost = (~total_loss.detach().isfinite()).float()
        return bool(self._context.sum(is_lost) > 0)

    def _leave_out(self, batch: Batch, at: Position) -> Position:
        """Count a skipped batch; the first one of an epoch is named in the log."""
        windows = described_windows(batch, self._context)
        count = round(batch.denominator * self._context.world_size)
        where = f"after step {self._step} of epoch {at.epoch + 1}"
        if at.in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"the loss was not finite for {at.in_a_row + 1} batches in a row {where}, in the "
                f"last of them {windows}: {self._remedy()}"
            )
        if not at.skipped_in_epoch:
            self._recorder.note(f"a batch {where} is skipped, its loss is not finite: {windows}")
        return replace(
            at, skipped=at.skipped + 1, skipped_in_epoch=at.skipped_in_epoch + 1,
            skipped_windows=at.skipped_windows + count, in_a_row=at.in_a_row + 1,
        )  # fmt: skip

    def _is_checkpoint_due(self, batches: int) -> bool:
        """Whether to save within the epoch; its last batch is followed by a checkpoint anyway."""
        every = self._save_steps
        if every is None or batches == self._feed.steps_per_epoch:
            return False
        return self._step % every == 0

    def _save(self, save: Save, kinds: Sequence[str], at: Position, value: float | None) -> None:
        save(kinds, at, value)
        self._saved = at.step

    def _exchange_losses(self, seed: int, began: Position) -> Losses:
        """Exchange the losses of all workers; `began` is where this epoch started or resumed.

        Raises:
            TrainingError: a loss is not finite; it names the step and the batch's windows.
        """
        losses = self._monitor.exchange()
        if math.isfinite(losses.loss):
            return losses
        step = began.step + losses.finite + 1
        batch = batch_at(self._feed, (seed, began.epoch + 1), began.batches + losses.finite)
        windows = described_windows(batch, self._context)
        raise TrainingError(
            f"the loss is not finite at step {step} of epoch {began.epoch + 1}, in a batch of "
            f"{windows}: {self._remedy(', set training.non_finite=skip')}"
        )

    def _progress(self, epoch: int, update: Update, losses: Losses) -> None:
        if not losses.is_line_due:
            return
        norm = update.grad_norm
        self._recorder.progress(
            epoch=epoch, step=self._step, loss=losses.mean_loss,
            windows_per_second=round(losses.windows_per_second, 1),
            learning_rate=update.learning_rate, grad_norm=None if norm is None else float(norm),
        )  # fmt: skip

    def _check_finite(self, value: float, epoch: int, name: str) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {name} is {value} at step {self._step} of epoch {epoch}: {self._remedy()}"
            )

    def _remedy(self, besides: str = "") -> str:
        saved = f"; checkpoints/last holds step {self._saved}" if self._saved else ""
        return (
            f"lower optimizer.learning_rate, set optimizer.clip_norm{besides} or use "
            f"engine.precision=fp32{saved}"
        )
