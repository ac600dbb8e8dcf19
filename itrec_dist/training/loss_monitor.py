"""The moments at which workers look at their losses together, and the naming of a bad batch.

A look waits for the device and exchanges a few numbers, so it is taken every few seconds only. It
has to come after the same batch on every worker: worker 0, whose clock counts, says at each look
how many batches later the next one is. In between, the device itself counts the batches up to the
first whose loss is not finite.
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

_NUM_NAMED = 10  # windows of a bad batch that are named


@dataclass(frozen=True)
class Look:
    """What all workers know after a look; the same on each of them, but for the time."""

    loss: float
    """Sum of the losses of all windows in this pass."""
    finite: int
    """Batches of this pass before the first whose loss was not finite on some worker."""
    mean_loss: float
    """Mean loss of the windows since the last line."""
    windows_per_second: float
    """Windows of all workers since the last line, by this worker's clock."""
    is_line_due: bool
    """Whether `seconds` have passed since the last line, by this worker's clock."""


class Lookout:
    """Sums the losses of a pass on the device, and looks at them every so many seconds."""

    def __init__(
        self, context: WorkerContext, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._context, self._seconds, self._clock = context, seconds, clock
        self._every = 1  # batches from the last look to the next
        self._per_line = 1  # batches in `seconds`, as far as is known; kept from pass to pass

    def begin(self, own_loss: float = 0.0) -> None:
        """Begin a pass, or take one up in which this worker's windows have a loss already.

        Called by all workers, before the first batch.
        """
        device = self._context.device
        self._loss = torch.tensor(own_loss, dtype=torch.float64, device=device)
        self._finite = torch.zeros((), dtype=torch.float64, device=device)
        self._batches = self._seen = self._lined_batches = 0
        self._every = self._per_line
        self._windows = 0.0
        self._lined_loss = float(self._context.sum(self._loss.clone()))
        self._lined = self._looked = self._clock()

    def add(self, own_loss: torch.Tensor, windows: float) -> None:
        """Count a batch: its loss on this worker, on the device, and its windows over all."""
        self._loss += own_loss
        # The sum never becomes finite again, so this counts the batches before the first bad one.
        self._finite += self._loss.abs() < math.inf
        self._batches += 1
        self._windows += windows

    @property
    def is_due(self) -> bool:
        """Whether the next look comes after the batch that was counted last."""
        return self._batches - self._seen >= self._every

    @property
    def own_loss(self) -> float:
        """Sum of the losses of this worker's windows."""
        return float(self._loss)

    def look(self) -> Look:
        """Exchange what the workers saw; called by all of them after the same batch."""
        own = torch.stack([self._loss, self._finite]).tolist()  # waits for the device
        now = self._clock()
        is_line_due = now - self._lined >= self._seconds
        mine = torch.tensor([*own, *self._plan(now)], dtype=torch.float64)
        found = self._context.gather(mine)
        loss = sum(float(part[0]) for part in found)
        elapsed = max(now - self._lined, 1e-9)
        look = Look(
            loss=loss,
            finite=int(min(part[1] for part in found)),
            mean_loss=(loss - self._lined_loss) / max(self._windows, 1.0),
            windows_per_second=self._windows / elapsed,
            is_line_due=is_line_due,
        )
        self._every, self._per_line = int(found[0][2]), int(found[0][3])
        self._seen, self._looked = self._batches, now
        if is_line_due:
            self._lined, self._lined_loss, self._windows = now, loss, 0.0
            self._lined_batches = self._batches
        return look

    def _plan(self, now: float) -> tuple[int, int]:
        """Batches to the next look and in `seconds`, at most twice as many as were seen to fit."""
        count = self._batches - self._seen
        if not count or now <= self._looked:
            return 1, self._per_line
        most = 2 * max(self._batches - self._lined_batches, self._per_line)
        pace = (now - self._looked) / count
        left = self._seconds - (now - self._lined)
        to_next, per_line = (
            max(1, min(most, math.ceil(seconds / pace)))
            for seconds in (left if left > 0 else self._seconds, self._seconds)
        )
        return to_next, per_line


def batch_at(feed: Feed, seed: Seed, number: int) -> Batch | None:
    """The batch of a pass by its number from 0, fed again: a pass depends on its seed alone."""
    return next(itertools.islice(feed.epoch(seed, skip=number), 1), None)


def described_windows(batch: Batch | None, context: WorkerContext) -> str:
    """The first window ids of a global batch, and how many there are; called by all workers."""
    if batch is None:
        return "its windows cannot be told"
    own = torch.where(batch.weight_B > 0, batch.window_ids_B, -1)
    ids = [i for part in context.gather(own) for i in part.tolist() if i >= 0]
    return named(ids)


def named(ids: Sequence[int]) -> str:
    """The first of some window ids, and how many there are."""
    first = ", ".join(str(i) for i in ids[:_NUM_NAMED])
    if len(ids) > _NUM_NAMED:
        return f"windows {first}, ... ({len(ids)} in all)"
    return f"window{'s' if len(ids) > 1 else ''} {first}"
