"""Histories -> batches without keeping them: files are read again in every epoch.

Order. Epoch e assigns the files to the workers in an order drawn from its seed. A worker reads its
files one after another into a buffer, permutes the buffer's rows and cuts them into local batches
as `history_feeds.py` does with a whole split: by buckets of length, from which what is left goes
into the next buffer. So every row is in exactly one batch of an epoch, and the batches depend on
the seed and on the number of workers. A global batch is what the workers' local ones at a step are
together. Workers tell each other how many targets theirs have, a few steps ahead, for the mean loss
and to end the epoch together: one whose rows have run out gives fillers of weight 0.

Memory. A buffer is a quarter of the events that may be held. Batches are taken from one; a thread
reads the next one meanwhile, and for a moment has both its pieces and them joined; and one piece is
read ahead to see where a buffer ends. Nothing else grows with the data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from itrec_dist.data.batches import Indices, _to_device
from itrec_dist.data.feeds import Seed
from itrec_dist.data.history_feeds import (
    HistoryShare,
    HistoryTable,
    Use,
    bucket_bounds,
    cut,
)
from itrec_dist.data.history_scan import HistoryScan
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards.arrays import HistoryRows
from itrec_dist.data.shards.splits import FileRows, HistoryReader
from itrec_dist.data.targets_ahead import Ahead
from itrec_dist.errors import ConfigError
from itrec_dist.system.read_ahead import read_ahead

_CPU = torch.device("cpu")
_BUFFERS = 4  # in the events that may be held
_EXCHANGED = 8  # batches of which workers exchange the counts at a time

Sum = Callable[[torch.Tensor], torch.Tensor]
"""The sum of a tensor over all workers, on every worker."""


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
class _Buffer:
    """Rows in memory, and the batches cut from them."""

    table: HistoryTable
    batches: list[Indices]
    drawn: npt.NDArray[np.float64]
    """A number from [0, 1) per row, which chooses the target of a row of `prefixes`."""


class StreamedHistories:
    """A split that is read again every epoch, for histories larger than memory."""

    def __init__(
        self, scan: HistoryScan, stream: Stream, share: HistoryShare, device: torch.device,
        sum_over_workers: Sum,
    ) -> None:  # fmt: skip
        """Plan an epoch; nothing is read yet.

        Args:
            scan: what is known of the split.
            stream: how it is read.
            share: how rows are cut into global batches, of which a worker cuts its own part.
            device: where batches go.
            sum_over_workers: adds up what workers found.

        Raises:
            ConfigError: there are fewer files than workers, or the buffer is too small for a batch.
        """
        self._scan, self._stream, self._device = scan, stream, device
        self._rank, self._world_size = share.rank, share.world_size
        self._sum = sum_over_workers
        self._share = own_part(share)
        self._files = [file for file in scan.files if file.rows]
        self._bounds = bucket_bounds(scan.longest, stream.width)
        if stream.use != "judged":
            self._check()
        self.num_windows = scan.num_targets if stream.use == "steps" else scan.num_rows
        if stream.use == "prefixes":
            self.num_windows = int(scan.inputs.sum())
        self.steps_per_epoch = self._most_steps()

    def epoch(self, seed: Seed | None, skip: int = 0) -> Iterator[Batch]:
        """This worker's batches of one pass in the order of `seed`, or in that of the files.

        The first `skip` batches are left out, but their rows have to be read: those that share a
        batch depend on what was read before.
        """
        training = self._stream.use != "judged"
        assert (seed is None) != training, "training needs a seed, judging has none"
        buffers = read_ahead(self._buffers(seed))
        try:
            planned = ((buffer, rows) for buffer in buffers for rows in buffer.batches)
            for _ in itertools.islice(planned, skip):
                pass
            yield from self._together(self._batch(buffer, rows) for buffer, rows in planned)
        finally:
            buffers.close()

    def _together(self, own: Iterator[Batch]) -> Iterator[Batch]:
        """Batches with the denominators of the global ones, and fillers to the end of the epoch."""
        while True:
            waiting = list(itertools.islice(own, 1 if self._world_size == 1 else _EXCHANGED))
            counts = [batch.denominator for batch in waiting]
            if self._world_size > 1:
                counts += [0.0] * (_EXCHANGED - len(counts))
                told = torch.tensor(counts, dtype=torch.float64, device=self._device)
                counts = self._sum(told).tolist()
            for number, real in enumerate(counts):
                if real == 0:
                    return
                batch = waiting[number] if number < len(waiting) else self._filler()
                batch = replace(batch, denominator=real / self._world_size)
                yield _to_device(batch, self._device)
            if not counts:
                return

    def _buffers(self, seed: Seed | None) -> Generator[_Buffer]:
        """This worker's rows in buffers, one after another."""
        pieces = self._stream.reader.read(self._files_of(seed), self._piece_rows())
        piece, left = next(pieces, None), None
        for number in itertools.count():
            parts: list[HistoryRows] = [] if left is None else [left]
            is_fresh = False
            while piece is not None and not (
                is_fresh and _events([*parts, piece]) > self._buffer_size
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

    def _cut(
        self, rows: HistoryRows, seed: Seed | None, number: int, *, is_last: bool
    ) -> tuple[_Buffer, Indices]:
        """A buffer with its batches, and the rows that wait for the next buffer."""
        stream = self._stream
        table = HistoryTable(rows, _CPU, stream.reader.manifest.target_length, stream.ahead)
        if seed is None:  # from short to long, so that a batch holds little padding
            seen = rows.seen_ids.lengths
            order = np.lexsort((seen, table.lengths))
            batches = _cut_by_width(order, seen, self._share.batch_size, self._buffer_size)
            return _Buffer(table, batches, np.zeros(0)), order[:0]
        random = np.random.default_rng([*seed, number, self._rank])
        order = np.flatnonzero(table.num_targets)
        order = order[random.permutation(len(order))]
        batches, left = cut(order, table.lengths - 1, self._bounds, self._share)
        if is_last and len(left):
            batches.append(left)
            left = left[:0]
        batches = [batches[i] for i in random.permutation(len(batches))]
        drawn = random.random(len(table)) if stream.use == "prefixes" else np.zeros(0)
        return _Buffer(table, batches, drawn), left

    def _batch(self, buffer: _Buffer, rows: Indices) -> Batch:
        """A local batch; its denominator counts its own targets."""
        table, use = buffer.table, self._stream.use
        local = self._share.local_size(len(rows))
        filled = np.zeros(local, dtype=np.int64)
        filled[: len(rows)] = rows
        rows_B, count = torch.from_numpy(filled), len(rows)
        if use == "judged":
            width = self._stream.width or int(table.lengths[rows].max())
            tensors = table.judged(rows_B, width)
        elif use == "steps":
            width = self._stream.width or int(table.lengths[rows].max()) - 1
            tensors, count = table.steps(rows_B, width), int(table.num_targets[rows].sum())
        else:
            width = self._stream.width or int(table.lengths[rows].max()) - 1
            # A filler may have no target: it is given one of the row before it.
            filled[len(rows) :] = rows[0]
            places = table.drawn_target(filled, buffer.drawn[filled])
            tensors = table.prefixes(torch.from_numpy(filled), places, width)
        weight_B = (torch.arange(local) < len(rows)).float()
        batch: dict[str, Any] = tensors
        return Batch(**batch, weight_B=weight_B, denominator=float(count))

    def _filler(self) -> Batch:
        """A batch of weight 0, of a row that the scan found."""
        sampled = self._scan.sampled
        first = int((sampled.item_ids.lengths > sampled.num_context).argmax())  # it has a target
        rows = sampled.take(np.array([first]))
        stream = self._stream
        table = HistoryTable(rows, _CPU, stream.reader.manifest.target_length, Ahead())
        batch = self._batch(_Buffer(table, [], np.zeros(1)), np.zeros(1, dtype=np.int64))
        return replace(batch, weight_B=torch.zeros_like(batch.weight_B))

    def _files_of(self, seed: Seed | None) -> list[FileRows]:
        count = len(self._files)
        order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
        return [self._files[i] for i in order[self._rank :: self._world_size]]

    @property
    def _buffer_size(self) -> int:
        return self._stream.events // _BUFFERS

    def _piece_rows(self) -> int:
        """Rows that are read at a time, of a quarter of a buffer at most."""
        return max(1, self._buffer_size // (4 * (self._scan.longest + 1)))

    def _check(self) -> None:
        """Refuse what cannot be divided among the workers, or does not fit the buffer."""
        if len(self._files) < self._world_size:
            raise ConfigError(
                f"{len(self._files)} shard files cannot be divided among {self._world_size} "
                "workers without a cache: window the data with more --num_shards, or set "
                "feed.cache to host"
            )
        refuse_small_buffer(self._stream.events, self._share, self._bounds)

    def _most_steps(self) -> int:
        """Steps of a worker that is given the largest files.

        An estimate with `batch_tokens`, which cuts every buffer by length: exact only where the
        buffer holds all.
        """
        count = math.ceil(len(self._files) / self._world_size)
        rows_of = self._scan.inputs.sum(axis=1)
        inputs = self._scan.inputs[np.argsort(rows_of)[::-1][:count]].sum(axis=0)
        events = int((inputs * np.arange(1, len(inputs) + 1)).sum())
        buffers = max(1, math.ceil(events / self._buffer_size))
        of_bucket = np.searchsorted(self._bounds, np.arange(len(inputs)))
        steps, left = 0.0, 0.0
        for bucket, bound in enumerate(self._bounds):
            size = self._share.rows(bound)
            members = left + inputs[of_bucket == bucket].sum() / buffers
            steps += members // size
            left = members % size
        return math.ceil(buffers * (steps + left / size) - 1e-6)


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
