"""Tables whose rows are sharded over workers: of W workers, worker w has rows w, w + W, w + 2W, ...

In turn and not cut into ranges, because items are numbered by popularity: the worker with the
first range would be asked for most rows of every batch.

TorchRec 1.9.2 was tried and cannot be used: fbgemm-gpu 1.9.0, which it needs, fails to load beside
torch 2.13 (an undefined symbol, in the builds with and without CUDA).

Letters: R rows of a worker, E numbers in a row, U rows that a worker asks for, M that it is asked
for, W consecutive rows of a block.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

_ROWS_AT_ONCE = 1 << 18  # that are copied out of files


@dataclass(frozen=True)
class RowSharding:
    """Which rows one of several workers has. Its methods with exchanges are called by all workers.

    Exchanges use torch's default process group.
    """

    rank: int = 0
    num_workers: int = 1

    def count(self, total: int) -> int:
        """How many of `total` rows this worker has."""
        return len(range(self.rank, total, self.num_workers))

    def fetch(self, rows_U: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor:
        """The rows that this worker needs, from the workers that have them, [U, E].

        Args:
            rows_U: different rows, int64.
            own: gives those at the given places among this worker's own rows, [M, E].
        """
        if self.num_workers == 1:
            return own(rows_U)
        order_U, counts = self._by_owner(rows_U)
        asked_M, asked_counts = self._exchange(rows_U[order_U], counts)
        found_UE, _ = self._exchange(own(asked_M // self.num_workers), asked_counts, counts)
        return torch.empty_like(found_UE).index_copy_(0, order_U, found_UE)

    def add_up(self, rows_U: Tensor, values_UE: Tensor) -> tuple[Tensor, Tensor]:
        """The sums over all workers of what each has for a row, for the rows of this worker.

        Returns their places among this worker's rows, ascending, and the sums, [M, E].
        """
        if self.num_workers == 1:
            return summed(rows_U, values_UE)
        order_U, counts = self._by_owner(rows_U)
        rows_M, received = self._exchange(rows_U[order_U], counts)
        values_ME, _ = self._exchange(values_UE[order_U], counts, received)
        return summed(rows_M // self.num_workers, values_ME)

    def block(self, own_RE: Tensor, start: int, stop: int) -> Tensor:
        """The rows from `start` up to `stop` of the table whose rows `own_RE` this worker has."""
        if self.num_workers == 1:
            return own_RE[start:stop]
        spans = [_span(rank, self.num_workers, start, stop) for rank in range(self.num_workers)]
        mine_XE = own_RE[spans[self.rank]]
        # All parts of one length, as collectives want them.
        longest = max(span.stop - span.start for span in spans)
        mine_XE = torch.cat([mine_XE, mine_XE.new_zeros(longest - len(mine_XE), *own_RE.shape[1:])])
        parts = [torch.empty_like(mine_XE) for _ in spans]
        dist.all_gather(parts, mine_XE)
        return _interleaved(
            [part[: span.stop - span.start] for part, span in zip(parts, spans, strict=True)],
            start, stop,
        )  # fmt: skip

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all workers."""
        if self.num_workers > 1:
            dist.all_reduce(value)
        return value

    def _by_owner(self, rows_U: Tensor) -> tuple[Tensor, list[int]]:
        """An order of the rows by the workers that have them, and how many each has."""
        owner_U = rows_U % self.num_workers
        counts_W = torch.bincount(owner_U, minlength=self.num_workers)
        return owner_U.argsort(stable=True), counts_W.tolist()

    def _exchange(
        self, sent: Tensor, counts: list[int], received: list[int] | None = None
    ) -> tuple[Tensor, list[int]]:
        """Send each worker its `counts` of the rows of a tensor; returns what all sent to this one.

        `received` is how many rows come from each, where that is known.
        """
        if received is None:
            counts_W = torch.tensor(counts, device=sent.device)
            received_W = torch.empty_like(counts_W)
            dist.all_to_all_single(received_W, counts_W)
            received = received_W.tolist()
        result = sent.new_empty(sum(received), *sent.shape[1:])
        dist.all_to_all_single(result, sent.contiguous(), received, counts)
        return result, received


@dataclass(frozen=True)
class ShardedTables:
    """Whole tables as the parts of all workers, in the order of ranks: maps of files, as a rule."""

    tables: Mapping[str, Sequence[Tensor]]
    """The parts of each table by its name."""

    def num_rows(self, name: str) -> int:
        """Rows of a table."""
        return sum(len(part) for part in self.tables[name])

    def rows(self, name: str, rows_U: Tensor) -> Tensor:
        """Rows of a table as a copy, [U, ...]."""
        parts = self.tables[name]
        found = parts[0].new_empty(len(rows_U), *parts[0].shape[1:])
        owner_U = rows_U % len(parts)
        for rank, part in enumerate(parts):
            (at_X,) = (owner_U == rank).nonzero(as_tuple=True)
            found[at_X] = part[rows_U[at_X] // len(parts)]
        return found

    def block(self, name: str, start: int, stop: int) -> Tensor:
        """The rows of a table from `start` up to `stop`."""
        parts = self.tables[name]
        if len(parts) == 1:
            return parts[0][start:stop]
        spans = [_span(rank, len(parts), start, stop) for rank in range(len(parts))]
        cut = [part[span] for part, span in zip(parts, spans, strict=True)]
        return _interleaved(cut, start, stop)

    @torch.no_grad()
    def copy_rows(self, name: str, sharding: RowSharding, own: Tensor) -> None:
        """Copy a worker's rows of a table, whatever the number of workers that wrote it."""
        for start in range(0, len(own), _ROWS_AT_ONCE):
            places_X = torch.arange(start, min(start + _ROWS_AT_ONCE, len(own)))
            if sharding.num_workers == len(self.tables[name]):
                part_X = self.tables[name][sharding.rank][start : start + len(places_X)]
            else:
                part_X = self.rows(name, places_X * sharding.num_workers + sharding.rank)
            own[start : start + len(places_X)].copy_(part_X)


def summed(rows_M: Tensor, values_ME: Tensor) -> tuple[Tensor, Tensor]:
    """The different ones of some rows, ascending, and the sum of the values of each."""
    distinct_U, at_M = rows_M.unique(return_inverse=True)
    sums_UE = values_ME.new_zeros(len(distinct_U), *values_ME.shape[1:])
    return distinct_U, sums_UE.index_add_(0, at_M, values_ME)


def _span(rank: int, num_workers: int, start: int, stop: int) -> slice:
    """The places of the rows from `start` up to `stop` among those of a worker."""
    first, last = (-(-(row - rank) // num_workers) for row in (start, stop))
    return slice(max(0, first), max(0, last))


def _interleaved(parts: Sequence[Tensor], start: int, stop: int) -> Tensor:
    """The rows from `start` up to `stop` in order, from those of every worker."""
    num_workers = len(parts)
    whole = parts[0].new_empty(stop - start, *parts[0].shape[1:])
    for rank, part in enumerate(parts):
        whole[(rank - start) % num_workers :: num_workers] = part
    return whole
