"""Histories -> batches without keeping them: files are read again in every epoch.

Order. Epoch e assigns the files to the workers in an order drawn from its seed. A worker reads its
files one after another into a buffer, permutes the buffer's rows and cuts them into local batches
as `history_feeds.py` does with a whole split: by buckets of length, from which what is left goes
into the next buffer (`history_buffers.py`). So every row is in exactly one batch of an epoch, and
the batches depend on the seed and on the number of workers. A global batch is what the workers'
local ones at a step are together. Workers tell each other how many targets theirs have, a few steps
ahead, for the mean loss and to end the epoch together: one whose rows have run out gives fillers of
weight 0.

Memory. A buffer is a quarter of the events that may be held. Batches are taken from one; a thread
reads the next one meanwhile, and for a moment has both its pieces and them joined; and one piece is
read ahead to see where a buffer ends. Nothing else grows with the data. All of this may happen on
another machine, from which the batches come a few at a time (`distributed/readers.py`).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from itrec_dist.data.batches import _to_device, as_arrays, from_arrays
from itrec_dist.data.feeds import Seed
from itrec_dist.data.history_buffers import Buffer, OwnBatches, Stream, refuse_small_buffer
from itrec_dist.data.history_feeds import HistoryShare, HistoryTable
from itrec_dist.data.history_scan import HistoryScan
from itrec_dist.data.schema import Batch
from itrec_dist.data.targets_ahead import Ahead
from itrec_dist.distributed.readers import Arrays, Read, read_here
from itrec_dist.errors import ConfigError

_CPU = torch.device("cpu")
_EXCHANGED = 8  # batches of which workers exchange the counts at a time

Sum = Callable[[torch.Tensor], torch.Tensor]
"""The sum of a tensor over all workers, on every worker."""


class StreamedHistories:
    """A split that is read again every epoch, for histories larger than memory."""

    def __init__(
        self, scan: HistoryScan, stream: Stream, share: HistoryShare, device: torch.device,
        sum_over_workers: Sum, read: Read = read_here,
    ) -> None:  # fmt: skip
        """Plan an epoch; nothing is read yet.

        Args:
            scan: what is known of the split.
            stream: how it is read.
            share: how rows are cut into global batches, of which a worker cuts its own part.
            device: where batches go.
            sum_over_workers: adds up what workers found.
            read: where this worker's batches are made.

        Raises:
            ConfigError: there are fewer files than workers, or the buffer is too small for a batch.
        """
        self._scan, self._stream, self._device = scan, stream, device
        self._world_size = share.world_size
        self._sum, self._read = sum_over_workers, read
        files = tuple(file for file in scan.files if file.rows)
        self._own = OwnBatches(files, scan.longest, stream, share)
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
        made = self._read(functools.partial(_own_epoch, self._own, seed), skip)
        try:
            yield from self._together(map(from_arrays, made))
        finally:
            made.close()

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

    def _filler(self) -> Batch:
        """A batch of weight 0, of a row that the scan found."""
        sampled = self._scan.sampled
        first = int((sampled.item_ids.lengths > sampled.num_context).argmax())  # it has a target
        rows = sampled.take(np.array([first]))
        stream = self._stream
        table = HistoryTable(rows, _CPU, stream.reader.manifest.target_length, Ahead())
        batch = self._own.batch(Buffer(table, [], np.zeros(1)), np.zeros(1, dtype=np.int64))
        return replace(batch, weight_B=torch.zeros_like(batch.weight_B))

    def _check(self) -> None:
        """Refuse what cannot be divided among the workers, or does not fit the buffer."""
        if len(self._own.files) < self._world_size:
            raise ConfigError(
                f"{len(self._own.files)} shard files cannot be divided among {self._world_size} "
                "workers without a cache: window the data with more --num_shards, or set "
                "feed.cache to host"
            )
        refuse_small_buffer(self._stream.events, self._own.own, self._own.bounds)

    def _most_steps(self) -> int:
        """Steps of a worker that is given the largest files.

        An estimate with `batch_tokens`, which cuts every buffer by length: exact only where the
        buffer holds all.
        """
        count = math.ceil(len(self._own.files) / self._world_size)
        rows_of = self._scan.inputs.sum(axis=1)
        inputs = self._scan.inputs[np.argsort(rows_of)[::-1][:count]].sum(axis=0)
        events = int((inputs * np.arange(1, len(inputs) + 1)).sum())
        buffers = max(1, math.ceil(events / self._own.buffer_size))
        of_bucket = np.searchsorted(self._own.bounds, np.arange(len(inputs)))
        steps, left = 0.0, 0.0
        for bucket, bound in enumerate(self._own.bounds):
            size = self._own.own.rows(bound)
            members = left + inputs[of_bucket == bucket].sum() / buffers
            steps += members // size
            left = members % size
        return math.ceil(buffers * (steps + left / size) - 1e-6)


def _own_epoch(own: OwnBatches, seed: Seed | None, skip: int) -> Iterator[Arrays]:
    """The batches of `own` in a form that passes between processes."""
    for batch in own.epoch(seed, skip):
        yield as_arrays(batch)
