"""Exchanges losses between workers at intervals, and finds the batch whose loss was not finite.

An exchange waits for the device, so it happens every few seconds only. It must come after the same
batch on all workers: at each exchange worker 0, by its clock, decides after how many batches the
next one is due. In between, the device counts the batches before the first non-finite loss.
"""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from itrec_dist.data.feeds import Feed, Seed
from itrec_dist.data.schema import Batch
from itrec_dist.distributed.context import WorkerContext

_NUM_NAMED = 10  # windows of a bad batch that a message names


@dataclass(frozen=True)
class Losses:
    """The result of an exchange; the same on all workers, except for what depends on a clock."""

    loss: float
    """Summed loss of all windows in this epoch."""
    finite: int
    """Batches of this epoch before the first whose loss was not finite on some worker."""
    mean_loss: float
    """Mean loss of the windows since the last progress line."""
    windows_per_second: float
    """Windows of all workers since the last progress line, by this worker's clock."""
    is_line_due: bool
    """Whether `seconds` have passed since the last progress line, by this worker's clock."""


class LossMonitor:
    """Sums the losses of an epoch on the device, and exchanges them every so many seconds."""

    def __init__(
        self, context: WorkerContext, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._context, self._seconds, self._clock = context, seconds, clock
        self._every = 1  # batches from the last exchange to the next
        self._per_line = 1  # estimated batches in `seconds`; kept from epoch to epoch

    def start(self, own_loss: float = 0.0) -> None:
        """Start an epoch, or resume one with the loss that this worker has summed so far.

        Called by all workers, before the first batch.
        """
        device = self._context.device
        self._loss = torch.tensor(own_loss, dtype=torch.float64, device=device)
        self._finite = torch.zeros((), dtype=torch.float64, device=device)
        self._batches = self._seen = self._lined_batches = 0
        self._every = self._per_line
        self._windows = 0.0
        self._lined_loss = float(self._context.sum(self._loss.clone()))
        self._lined = self._exchanged = self._clock()

    def add(self, own_loss: torch.Tensor, windows: float) -> None:
        """Add a batch: its loss on this worker, on the device, and its windows on all workers."""
        self._loss += own_loss
        # The sum stays non-finite forever, so this counts the batches before the first bad one.
        self._finite += self._loss.abs() < math.inf
        self._batches += 1
        self._windows += windows

    @property
    def is_due(self) -> bool:
        """Whether the next exchange is due after the batch that was added last."""
        return self._batches - self._seen >= self._every

    @property
    def own_loss(self) -> float:
        """Summed loss of this worker's windows."""
        return float(self._loss)

    def exchange(self) -> Losses:
        """Exchange the losses; called by all workers after the same batch."""
        own = torch.stack([self._loss, self._finite]).tolist()  # waits for the device
        now = self._clock()
        is_line_due = now - self._lined >= self._seconds
        mine = torch.tensor([*own, *self._plan(now)], dtype=torch.float64)
        parts = self._context.gather(mine)
        loss = sum(float(part[0]) for part in parts)
        elapsed = max(now - self._lined, 1e-9)
        losses = Losses(
            loss=loss,
            finite=int(min(part[1] for part in parts)),
            mean_loss=(loss - self._lined_loss) / max(self._windows, 1.0),
            windows_per_second=self._windows / elapsed,
            is_line_due=is_line_due,
        )
        self._every, self._per_line = int(parts[0][2]), int(parts[0][3])
        self._seen, self._exchanged = self._batches, now
        if is_line_due:
            self._lined, self._lined_loss, self._windows = now, loss, 0.0
            self._lined_batches = self._batches
        return losses

    def _plan(self, now: float) -> tuple[int, int]:
        """Batches to the next exchange and per `seconds`, at most twice as many as before."""
        count = self._batches - self._seen
        if not count or now <= self._exchanged:
            return 1, self._per_line
        most = 2 * max(self._batches - self._lined_batches, self._per_line)
        pace = (now - self._exchanged) / count
        left = self._seconds - (now - self._lined)
        to_next, per_line = (
            max(1, min(most, math.ceil(seconds / pace)))
            for seconds in (left if left > 0 else self._seconds, self._seconds)
        )
        return to_next, per_line


def batch_at(feed: Feed, seed: Seed, number: int) -> Batch | None:
    """The batch of an epoch by its number from 0, read again: the seed determines the order."""
    return next(itertools.islice(feed.epoch(seed, skip=number), 1), None)


def described_windows(batch: Batch | None, context: WorkerContext) -> str:
    """Names the windows of a global batch: the first ids and the count. Called by all workers."""
    if batch is None:
        return "its windows are not known"
    own = torch.where(batch.weight_B > 0, batch.window_ids_B, -1)
    ids = [i for part in context.gather(own) for i in part.tolist() if i >= 0]
    return named(ids)


def named(ids: Sequence[int]) -> str:
    """Names some windows: the first ids and the count."""
    first = ", ".join(str(i) for i in ids[:_NUM_NAMED])
    if len(ids) > _NUM_NAMED:
        return f"windows {first}, ... ({len(ids)} in all)"
    return f"window{'s' if len(ids) > 1 else ''} {first}"
