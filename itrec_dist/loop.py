"""The one training loop and the one evaluation, the same under every engine and context.

The loop owns the order of events: epochs, steps, judgements, which epoch is best and when to
stop. Engines own the arithmetic, feeds the order of windows, the recorder what is written.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from itrec_dist.batches import Feed, micro_batches
from itrec_dist.context import WorkerContext
from itrec_dist.engines.engine import Engine, Runner, Update
from itrec_dist.errors import TrainingError
from itrec_dist.metrics import MONITORS as RANKING_MONITORS
from itrec_dist.rating_metrics import RATING_MONITORS
from itrec_dist.recorder import Recorder
from itrec_dist.schema import Batch
from itrec_dist.tasks import SplitJudge
from itrec_dist.training_state import Position

Judgement = dict[str, Any]
"""What `run_directory.py` calls a Judgement."""

MONITORS = tuple(dict.fromkeys((*RANKING_MONITORS, *RATING_MONITORS)))
"""Figures of the validation split that can choose the best epoch; those of ratings fall."""


@dataclass(frozen=True)
class TrainingConfig:
    """How long to train, on how much at once, and which epoch to keep."""

    epochs: int = 20
    """Passes over the training windows."""
    batch_size: int = 512
    """Windows per update over all workers and micro-batches together."""
    monitor: str = "unmasked/precision@5"
    """Validation figure that chooses the best epoch: loss, ranking/metric@cutoff, or
    ratings/rmse and ratings/mae where ratings are predicted."""
    patience: int | None = None
    """Stop after this many epochs without a better figure; null trains all epochs."""
    checkpoint_steps: int | None = None
    """Save the checkpoint `last` also after every so many updates; null saves at each epoch's
    end alone."""
    log_seconds: float = 2.0
    """Seconds between progress lines."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError("training.epochs and training.batch_size must be at least 1")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"training.patience={self.patience} must be at least 1, or null")
        if self.checkpoint_steps is not None and self.checkpoint_steps < 1:
            raise ValueError(
                f"training.checkpoint_steps={self.checkpoint_steps} must be at least 1, or null"
            )
        if self.monitor not in MONITORS:
            raise ValueError(
                f"training.monitor={self.monitor} is no figure; valid: {', '.join(MONITORS)}"
            )

    def value(self, judgement: Judgement) -> float:
        """The monitored figure."""
        ranking, _, figure = self.monitor.partition("/")
        return float(judgement["loss"] if ranking == "loss" else judgement[ranking][figure])

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether a monitored figure beats the best so far; the first one always does."""
        falls = self.monitor in RATING_MONITORS
        return best is None or (value < best if falls else value > best)


@dataclass(frozen=True)
class Outcome:
    """How training ended."""

    reason: str
    best_epoch: int
    step: int


def train_step(engine: Engine, batch: Batch) -> tuple[torch.Tensor, Update]:
    """One micro-batch: forward, backward, and an update when its batch is complete.

    Returns the summed loss of this worker's real windows, on the device, and the update.
    """
    output = engine(batch)
    total_loss = (output.loss_B * batch.weight_B).sum()
    engine.backward(total_loss / batch.denominator)
    return total_loss.detach(), engine.step()


def evaluate(engine: Runner, feed: Feed, judge: SplitJudge, context: WorkerContext) -> Judgement:
    """Judge every window of a feed once, over all workers; the same figures on each of them."""
    engine.train(False)
    with torch.inference_mode():
        for batch in feed.epoch(None):
            output = engine(batch)
            judge.add(batch, output.scores_BC, output.loss_B)
    engine.train(True)
    judge.load(context.sum(judge.state()))
    return judge.judgement()


Keep = Callable[[Sequence[str], Position, float | None], None]
"""Writes the checkpoints named first ("last", "best") of a position, with the monitored figure
(null without one, and within an epoch). Every worker calls it at the same moment."""


class Trainer:
    """Trains one engine on one feed; what it needs besides is handed in as callables."""

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
        self._step = 0
        self._kept = 0  # the step that `checkpoints/last` holds

    def train(
        self, seed: int, judge: Callable[[], tuple[Judgement | None, Judgement | None]],
        keep: Keep, at: Position | None = None,
    ) -> Outcome:  # fmt: skip
        """Train all epochs, or until patience runs out.

        Args:
            seed: orders the windows, together with the epoch.
            judge: returns the judgements of training sample and validation, null if there are none.
            keep: writes checkpoints.
            at: where to go on, with an engine that was brought there; None begins.

        Raises:
            TrainingError: the training loss or the monitored figure is not finite any more.
        """
        at = at or Position()
        self._step = self._kept = at.step
        while (reason := self._reason_to_end(at)) is None:
            at, loss = self._train_epoch(seed, at, keep)
            on_train, on_validation = judge()
            value = None if on_validation is None else self._config.value(on_validation)
            if value is not None:
                self._refuse_non_finite(value, at.epoch, f"validation {self._config.monitor}")
            # Without a validation split the newest epoch is the best there is to know of.
            is_best = value is None or self._config.is_better(value, at.best)
            if is_best:
                at = replace(at, best=value, best_epoch=at.epoch)
            # Logged first: what was logged but not kept is trained and logged again on resuming.
            self._recorder.epoch(
                epoch=at.epoch, step=at.step, seconds=round(at.seconds, 3),
                windows_per_second=round(self._feed.num_windows / at.seconds, 1), loss=loss,
                train=on_train, validation=on_validation, is_best=is_best,
            )  # fmt: skip
            at = replace(at, seconds=0.0)
            self._keep(keep, ["best", "last"] if is_best else ["last"], at, value)
            self._context.report({"epoch": at.epoch, "loss": loss, "monitor": value})
        return Outcome(reason, at.best_epoch, at.step)

    def _reason_to_end(self, at: Position) -> str | None:
        if self._config.patience and at.epoch - at.best_epoch >= self._config.patience:
            return "stopped early"
        return "finished" if at.epoch == self._config.epochs else None

    def _train_epoch(self, seed: int, at: Position, keep: Keep) -> tuple[Position, float]:
        """One pass, or the rest of one; returns its end and the mean loss over all windows."""
        self._engine.train(True)
        epoch, started = at.epoch + 1, time.monotonic() - at.seconds
        epoch_loss = torch.tensor(at.loss, dtype=torch.float64, device=self._engine.device)
        pace = _Pace(self._config.log_seconds, at.loss)
        feed = self._feed.epoch((seed, epoch), skip=at.batches)
        for batches, batch in enumerate(feed, at.batches + 1):
            for micro in micro_batches(batch, self._accumulate):
                total_loss, update = train_step(self._engine, micro)
                epoch_loss += total_loss
            self._step += 1
            if pace.is_due(batch.denominator):
                self._progress(epoch, update, epoch_loss, pace)
            if self._is_checkpoint_due(batches):
                seconds = time.monotonic() - started
                at = replace(at, batches=batches, step=self._step, seconds=seconds)
                self._refuse_non_finite(float(self._context.sum(epoch_loss.clone())), epoch)
                self._keep(keep, ["last"], replace(at, loss=float(epoch_loss)), None)
        total = float(self._context.sum(epoch_loss))
        self._refuse_non_finite(total, epoch)
        seconds = time.monotonic() - started
        end = replace(at, epoch=epoch, batches=0, step=self._step, seconds=seconds, loss=0.0)
        return end, total / self._feed.num_windows

    def _is_checkpoint_due(self, batches: int) -> bool:
        """Whether to save within the epoch; its last batch is followed by a checkpoint anyway."""
        every = self._config.checkpoint_steps
        if every is None or batches == self._feed.steps_per_epoch:
            return False
        return self._step % every == 0

    def _keep(self, keep: Keep, names: Sequence[str], at: Position, value: float | None) -> None:
        keep(names, at, value)
        self._kept = at.step

    def _progress(
        self, epoch: int, update: Update, epoch_loss: torch.Tensor, pace: "_Pace"
    ) -> None:
        windows_per_second, mean_loss = pace.measure(float(epoch_loss), self._context.world_size)
        self._refuse_non_finite(mean_loss, epoch)
        norm = update.grad_norm
        self._recorder.progress(
            epoch=epoch, step=self._step, loss=mean_loss,
            windows_per_second=round(windows_per_second, 1),
            learning_rate=update.learning_rate, grad_norm=None if norm is None else float(norm),
        )  # fmt: skip

    def _refuse_non_finite(self, value: float, epoch: int, name: str = "loss") -> None:
        if not math.isfinite(value):
            kept = f"; checkpoints/last holds step {self._kept}" if self._kept else ""
            raise TrainingError(
                f"the {name} is {value} at step {self._step} of epoch {epoch}: lower "
                "optimizer.learning_rate, set optimizer.clip_norm or use engine.precision=fp32"
                f"{kept}"
            )


class _Pace:
    """When a progress line is due, and how fast things went since the last one."""

    def __init__(self, seconds: float, loss: float) -> None:
        self._seconds = seconds
        self._since = time.monotonic()
        self._windows = 0.0
        self._loss = loss

    def is_due(self, windows: float) -> bool:
        """Count a step of so many real windows per worker; True once enough time has passed."""
        self._windows += windows
        return time.monotonic() - self._since >= self._seconds

    def measure(self, loss_so_far: float, world_size: int) -> tuple[float, float]:
        """Windows per second over all workers, and this worker's mean loss, since last time."""
        now = time.monotonic()
        rate = self._windows * world_size / (now - self._since)
        mean_loss = (loss_so_far - self._loss) / self._windows
        self._since, self._windows, self._loss = now, 0.0, loss_so_far
        return rate, mean_loss
