"""Turns shards into batches: the order of windows, and each worker's share.

Rows arrive as large Arrow blocks, from Parquet files or through Ray Data (`distributed/context.py`
decides), and leave as slices of tensors; nothing is processed row by row.

Order. With a cache, every worker holds the split in canonical order and epoch e is one seeded
permutation of all windows, cut into global batches of which each worker takes its slice: the
batches do not depend on the number of workers. Without a cache, files are assigned to the workers
in a seeded order per epoch and rows are shuffled in a seeded buffer; each window is still seen
exactly once per epoch. The last global batch may be short: missing rows are fillers of weight 0, so
that every worker runs the same number of steps on the same shapes.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch

from itrec_dist.config.fields import FREE
from itrec_dist.data.batches import Indices, Share, TensorTable, _to_device
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import TRAIN, Batch
from itrec_dist.data.shards import arrays
from itrec_dist.data.shards.columns import Widths
from itrec_dist.data.shards.packed import PackedWindows
from itrec_dist.data.shards.splits import FileRows, WindowReader, wrong_count
from itrec_dist.distributed.readers import Readers
from itrec_dist.errors import ConfigError
from itrec_dist.system import limits

CacheName = Literal["auto", "none", "host", "device"]
_CACHE_SHARE = 0.25  # maximum part of the free memory for a split cached by `auto`
_EVENT_BYTES = 17  # of a training history in memory
Seed = tuple[int, int]
"""The run's seed, and the epoch."""


@dataclass(frozen=True)
class FeedConfig:
    """How windows and histories are cached and shuffled."""

    cache: CacheName = field(default="auto", metadata=FREE)
    """Where a split is kept after the first read: device, host, or none, which reads training
    windows, and histories of every split, again each time. auto takes device memory, then host
    memory, if training fits a quarter of it. Workers and trials on one machine share what is kept
    on the host."""
    shuffle_buffer: int = 262_144
    """Number of windows in the shuffle buffer when nothing is cached."""
    shuffle_events: int = 16_777_216
    """Events of histories that a worker holds at most when nothing is cached, at some 20 bytes
    each: a quarter of them is shuffled at a time."""
    readers: Readers = field(default="auto", metadata=FREE)
    """Who reads histories again each time and cuts them into batches, the same ones in any case:
    worker, each for itself in a thread; or cluster, an actor of Ray for each worker, with a CPU of
    its own. auto takes the cluster for workers with GPUs if it has nodes without any."""

    def __post_init__(self) -> None:
        if self.shuffle_buffer < 1:
            raise ValueError(f"feed.shuffle_buffer={self.shuffle_buffer} must be at least 1")
        if self.shuffle_events < 1:
            raise ValueError(f"feed.shuffle_events={self.shuffle_events} must be at least 1")


class Feed(Protocol):
    """Batches of one split for one worker; the same number of them on every worker."""

    num_windows: int
    steps_per_epoch: int

    def epoch(self, seed: Seed | None, skip: int = 0) -> Iterator[Batch]:
        """One pass over the split, shuffled by `seed`, or in canonical order if it is None.

        The first `skip` batches are skipped: they were trained before an interruption.
        """


class CachedFeed:
    """A split in memory, permuted anew each epoch."""

    def __init__(self, table: TensorTable, share: Share, device: torch.device) -> None:
        self._table = table
        self._share = share
        self._device = device
        self._full_weight_B = torch.ones(share.local_size, device=device)
        self.num_windows = len(table)
        self.steps_per_epoch = math.ceil(len(table) / share.batch_size)

    def epoch(self, seed: Seed | None, skip: int = 0) -> Iterator[Batch]:
        """This worker's batches; the global order depends only on the seed."""
        order = _permutation(self.num_windows, seed)
        size, local = self._share.batch_size, self._share.local_size
        mine = np.zeros(self.steps_per_epoch * local, dtype=np.int64)
        counts = []
        for step in range(self.steps_per_epoch):
            rows = order[step * size : (step + 1) * size][self._share.slice()]
            mine[step * local : step * local + len(rows)] = rows
            counts.append(len(rows))
        rows_on_table = torch.from_numpy(mine).to(self._table.device, non_blocking=True)
        for step, count in itertools.islice(enumerate(counts), skip, None):
            is_last = step == self.steps_per_epoch - 1
            real = self.num_windows - step * size if is_last else size
            yield _to_device(
                self._table.batch(
                    rows_on_table[step * local : (step + 1) * local],
                    self._weights(count),
                    real / self._share.world_size,
                ),
                self._device,
            )

    def _weights(self, count: int) -> torch.Tensor:
        local = self._share.local_size
        if count == local:
            return self._full_weight_B
        return (torch.arange(local, device=self._device) < count).float()


class StreamedFeed:
    """A split that is read again every epoch, for data larger than memory.

    Files are assigned to workers, so that each reads only its part; which windows share a batch
    therefore depends on the number of workers.
    """

    def __init__(
        self, files: Sequence[FileRows], reader: WindowReader, share: Share,
        device: torch.device, buffer_size: int,
    ) -> None:  # fmt: skip
        if len(files) < share.world_size:
            raise ConfigError(
                f"{len(files)} shard files cannot be divided among {share.world_size} workers "
                "without a cache: window the data with more --num_shards, or set feed.cache to host"
            )
        self._files, self._reader, self._share = files, reader, share
        self._device, self._buffer_size = device, buffer_size
        self.num_windows = sum(f.rows for f in files)
        # An upper bound over all assignments, so that every epoch has the same number of steps.
        self.steps_per_epoch = math.ceil(self._most_rows() / share.local_size)

    def epoch(self, seed: Seed | None, skip: int = 0) -> Iterator[Batch]:
        """Batches of this worker's files, then fillers.

        Skipped batches still have to be read, because the shuffling depends on them.
        """
        assigned = self._assign_files(seed)
        rows_of_worker = [sum(f.rows for f in files) for files in assigned]
        local = self._share.local_size
        pieces = self._local_batches(assigned[self._share.rank], seed)
        full_weight_B = torch.ones(local, device=self._device)
        table: TensorTable | None = None
        for step in range(self.steps_per_epoch):
            given = [min(max(rows - step * local, 0), local) for rows in rows_of_worker]
            real = sum(given)
            if real == 0:
                return
            table, rows = next(pieces, (table, full_weight_B[:0].long()))
            if step < skip:
                continue
            assert table is not None, "every worker has at least one window"
            weight_B, missing = full_weight_B, local - len(rows)
            if missing:
                weight_B = torch.cat((full_weight_B[missing:], full_weight_B[:missing] * 0))
                rows = torch.cat((rows, rows.new_zeros(missing)))
            yield table.batch(rows, weight_B, real / self._share.world_size)

    def _assign_files(self, seed: Seed | None) -> list[list[FileRows]]:
        order = _permutation(len(self._files), seed)
        return [
            [self._files[i] for i in order[rank :: self._share.world_size]]
            for rank in range(self._share.world_size)
        ]

    def _most_rows(self) -> int:
        files_of_worker = math.ceil(len(self._files) / self._share.world_size)
        return sum(sorted((f.rows for f in self._files), reverse=True)[:files_of_worker])

    def _local_batches(
        self, files: Sequence[FileRows], seed: Seed | None
    ) -> Iterator[tuple[TensorTable, torch.Tensor]]:
        """Fill a buffer with blocks, permute its rows, and cut them into local batches."""
        random = np.random.default_rng([*(seed or (0, 0)), self._share.rank])
        waiting: list[arrays.Windows] = []
        blocks = self._reader.read(files)
        expected, arrived = sum(f.rows for f in files), 0
        while True:
            block = next(blocks, None)
            if block is not None:
                waiting.append(block)
                arrived += len(block)
            if arrived > expected or (block is None and arrived < expected):
                raise wrong_count(files[0].path.parent, arrived, expected)
            held = sum(len(w) for w in waiting)
            if block is not None and held < self._buffer_size:
                continue
            if held == 0:
                return
            windows = arrays.Windows.concatenated(waiting)
            order = np.arange(held) if seed is None else random.permutation(held)
            local = self._share.local_size
            whole = held if block is None else held // local * local
            table = TensorTable(windows, self._device)
            rows = torch.from_numpy(order[:whole]).to(self._device)
            yield from ((table, rows[at : at + local]) for at in range(0, whole, local))
            waiting = [windows.take(order[whole:])] if whole < held else []
            if block is None:
                return


def cached(
    windows: arrays.Windows | PackedWindows, share: Share, device: torch.device,
    held: torch.device | None = None,
) -> CachedFeed:  # fmt: skip
    """A feed of windows kept on the device `held`, by default the device of the batches."""
    return CachedFeed(TensorTable(windows, held or device), share, device)


def resolve_cache(
    cache: CacheName, manifest: Manifest, device: torch.device, *, times: bool = False
) -> CacheName:
    """Resolve `auto` for this data and machine; other values are returned unchanged.

    `times` is whether the model needs times, which are then cached as well. Workers on different
    machines may get different results: they have to agree before they build their feeds.
    """
    if cache != "auto":
        return cache
    if manifest.samples == "histories":
        needed = _EVENT_BYTES * sum(c.num_events for c in manifest.coverage if c.split == TRAIN)
    else:
        row_bytes = Widths.of(manifest).row_bytes(arrays.window_columns(times=times))
        needed = row_bytes * manifest.num_windows(TRAIN)
    if device.type == "cuda" and needed < _CACHE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    total, available = limits.memory()
    free = total if available is None else available
    return "host" if needed < _CACHE_SHARE * (free or 0) else "none"


def _permutation(count: int, seed: Seed | None) -> Indices:
    if seed is None:
        return np.arange(count)
    return np.random.default_rng(seed).permutation(count)
