"""What one worker reads and cuts by itself: files -> buffers of rows -> its own batches.

The batches follow from the files, the seed and the settings alone. So another process may make
them, on a machine that does not train, and a pass that broke off is taken up by leaving out those
that were had.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from itrec_dist.data.batches import Indices
from itrec_dist.data.feeds import Seed
from itrec_dist.data.history_feeds import (
    HistoryShare,
    HistoryTable,
    Use,
    bucket_bounds,
    cut,
)
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards.arrays import HistoryRows
from itrec_dist.data.shards.splits import FileRows, HistoryReader
from itrec_dist.data.targets_ahead import Ahead
from itrec_dist.errors import ConfigError
from itrec_dist.system.read_ahead import read_ahead

_BUFFERS = 4  # in the events that may be held
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Stream:
    """How histories are read and batches made of them."""

    reader: HistoryReader
    events: int
    """Events that may be held."""
    use: Use
    width: int | None = None
    """Positions of every batch; None makes a batch as wide as its longest row."""
    ahead: Ahead | None = None
    """The targets of a position in training; None takes the next event."""


@dataclass(frozen=True)
class Buffer:
    """Rows in memory, and the batches cut from them."""

    table: HistoryTable
    batches: list[Indices]
    drawn: npt.NDArray[np.float64]
    """A number from [0, 1) per row, which chooses the target of a row of `prefixes`."""


@dataclass(frozen=True)
class OwnBatches:
    """The local batches of one worker, in every epoch."""

    files: tuple[FileRows, ...]
    """Of all workers, with rows in each."""
    longest: int
    """Inputs of the longest row of all."""
    stream: Stream
    share: HistoryShare
    """How rows are cut into global batches."""

    def epoch(self, seed: Seed | None, skip: int = 0) -> Iterator[Batch]:
        """The batches of one pass; the denominator of each counts its own targets.

        The first `skip` are left out, but their rows are read.
        """
        buffers = read_ahead(self.buffers(seed))
        try:
            planned = ((buffer, rows) for buffer in buffers for rows in buffer.batches)
            for buffer, rows in itertools.islice(planned, skip, None):
                yield self.batch(buffer, rows)
        finally:
            buffers.close()

    def buffers(self, seed: Seed | None) -> Generator[Buffer]:
        """This worker's rows in buffers, one after another."""
        pieces = self.stream.reader.read(self._files_of(seed), self._piece_rows())
        piece, left = next(pieces, None), None
        for number in itertools.count():
            parts: list[HistoryRows] = [] if left is None else [left]
            is_fresh = False
            while piece is not None and not (
                is_fresh and _events([*parts, piece]) > self.buffer_size
            ):
                parts.append(piece)
                is_fresh, piece = True, next(pieces, None)
            if not parts:
                return
            rows = HistoryRows.concatenated(parts)
            parts.clear()
            buffer, rest = self._cut(rows, seed, number, is_last=piece is None)
            left = rows.take(rest) if len(rest) else None
            del rows
            yield buffer
            del buffer

    def batch(self, buffer: Buffer, rows: Indices) -> Batch:
        """A local batch; its denominator counts its own targets."""
        table, use = buffer.table, self.stream.use
        local = self.own.local_size(len(rows))
        filled = np.zeros(local, dtype=np.int64)
        filled[: len(rows)] = rows
        rows_B, count = torch.from_numpy(filled), len(rows)
        if use == "judged":
            width = self.stream.width or int(table.lengths[rows].max())
            tensors = table.judged(rows_B, width)
        elif use == "steps":
            width = self.stream.width or int(table.lengths[rows].max()) - 1
            tensors, count = table.steps(rows_B, width), int(table.num_targets[rows].sum())
        else:
            width = self.stream.width or int(table.lengths[rows].max()) - 1
            # A filler may have no target: it is given one of the row before it.
            filled[len(rows) :] = rows[0]
            places = table.drawn_target(filled, buffer.drawn[filled])
            tensors = table.prefixes(torch.from_numpy(filled), places, width)
        weight_B = (torch.arange(local) < len(rows)).float()
        batch: dict[str, Any] = tensors
        return Batch(**batch, weight_B=weight_B, denominator=float(count))

    @functools.cached_property
    def own(self) -> HistoryShare:
        """How this worker cuts its rows."""
        return own_part(self.share)

    @functools.cached_property
    def bounds(self) -> list[int]:
        """The longest row of every bucket, in inputs."""
        return bucket_bounds(self.longest, self.stream.width)

    @property
    def buffer_size(self) -> int:
        """Events of a buffer."""
        return self.stream.events // _BUFFERS

    def _cut(
        self, rows: HistoryRows, seed: Seed | None, number: int, *, is_last: bool
    ) -> tuple[Buffer, Indices]:
        """A buffer with its batches, and the rows that wait for the next buffer."""
        stream, rank = self.stream, self.share.rank
        table = HistoryTable(rows, _CPU, stream.reader.manifest.target_length, stream.ahead)
        if seed is None:  # from short to long, so that a batch holds little padding
            seen = rows.seen_ids.lengths
            order = np.lexsort((seen, table.lengths))
            batches = _cut_by_width(order, seen, self.own.batch_size, self.buffer_size)
            return Buffer(table, batches, np.zeros(0)), order[:0]
        random = np.random.default_rng([*seed, number, rank])
        order = np.flatnonzero(table.num_targets)
        order = order[random.permutation(len(order))]
        batches, left = cut(order, table.lengths - 1, self.bounds, self.own)
        if is_last and len(left):
            batches.append(left)
            left = left[:0]
        batches = [batches[i] for i in random.permutation(len(batches))]
        drawn = random.random(len(table)) if stream.use == "prefixes" else np.zeros(0)
        return Buffer(table, batches, drawn), left

    def _files_of(self, seed: Seed | None) -> list[FileRows]:
        count = len(self.files)
        order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
        return [self.files[i] for i in order[self.share.rank :: self.share.world_size]]

    def _piece_rows(self) -> int:
        """Rows that are read at a time, of a quarter of a buffer at most."""
        return max(1, self.buffer_size // (4 * (self.longest + 1)))


def own_part(share: HistoryShare) -> HistoryShare:
    """How one of the workers cuts its rows, as if it were alone."""
    tokens = share.batch_tokens
    return HistoryShare(
        max(1, share.batch_size // share.world_size),
        None if tokens is None else max(1, tokens // share.world_size),
        share.multiple,
    )


def refuse_small_buffer(events: int, share: HistoryShare, bounds: Sequence[int]) -> None:
    """Check that a buffer always holds a whole batch besides what an earlier one left.

    Args:
        events: events that may be held.
        share: of one worker, as from `own_part`.
        bounds: the longest row of every bucket, in inputs.

    Raises:
        ConfigError: it may not.
    """
    largest = max(share.rows(bound) * (bound + 1) for bound in bounds)
    if events < 2 * _BUFFERS * largest:
        raise ConfigError(
            f"feed.shuffle_events={events} is too small for batches of up to {largest} events on a "
            f"worker: set it to at least {2 * _BUFFERS * largest}"
        )


def _cut_by_width(order: Indices, widths: Indices, size: int, most: int) -> list[Indices]:
    """Batches of `size` rows, or fewer so that they hold `most` numbers at the widest row's width.

    Users who have seen very much would otherwise decide the memory that judging takes.
    """
    batches, at = [], 0
    while at < len(order):
        rows = order[at : at + size]
        fitting = np.arange(1, len(rows) + 1) * np.maximum.accumulate(widths[rows]) <= most
        taken = max(1, int(fitting.sum()))
        batches.append(rows[:taken])
        at += taken
    return batches


def _events(parts: Sequence[HistoryRows]) -> int:
    """Events in memory; items of a judged row's whole history are as many."""
    return sum(len(p.item_ids.values) + len(p.seen_ids.values) for p in parts)
