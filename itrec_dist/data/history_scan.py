"""What a run has to know of histories before it streams them: one pass over them, shared out.

Every worker has its part of the files read, and all get the same findings, of a size that depends
on the number of files, items and sampled rows, not on the number of events.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from itrec_dist.data.shards.arrays import HistoryRows, Int64
from itrec_dist.data.shards.first_times import NEVER, first_times
from itrec_dist.data.shards.splits import FileRows, HistoryReader
from itrec_dist.data.targets_ahead import Ahead, targets_of_rows
from itrec_dist.distributed.readers import Arrays, Read, read_here

_PIECE_EVENTS = 262_144
Collect = Callable[[Any], list[Any]]
"""Every worker's value, in the order of ranks, on every worker."""


@dataclass(frozen=True)
class HistoryScan:
    """Findings about the files of a split."""

    files: tuple[FileRows, ...]
    inputs: npt.NDArray[np.int64]
    """Rows of each file by the number of their inputs, [files, longest + 1]; of training rows only
    those with a target."""
    num_targets: int
    """Places with a target, of training rows."""
    first_times_C: Int64
    """When the split first has each item; NEVER without one."""
    sampled: HistoryRows
    """The rows asked for, in canonical order."""

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def longest(self) -> int:
        """Inputs of the longest row, at least 1."""
        return max(1, int(self.inputs.shape[1]) - 1)


def scan(
    files: Sequence[FileRows], reader: HistoryReader, sampled: Int64, ahead: Ahead | None,
    part: tuple[int, int, Collect], read: Read = read_here,
) -> HistoryScan:  # fmt: skip
    """Read a split once, together with the other workers.

    Args:
        files: its files, in canonical order.
        reader: reads them.
        sampled: numbers of the rows to return, ascending.
        ahead: the targets of a position in training; None for rows to be judged.
        part: this worker's rank, the number of workers, and how they exchange what they found.
        read: where this worker's part is read.

    Raises:
        ShardsError: a file is missing or damaged, or is not what the manifest describes.
    """
    rank, world_size, collect = part
    starts = np.cumsum([0, *(file.rows for file in files)])
    asked = [
        (number, files[number], sampled - starts[number])
        for number in range(rank, len(files), world_size)
    ]
    pass_over = functools.partial(_scan_files, asked, reader, ahead)
    own = [(item["number"], item["found"]) for item in read(pass_over, 0)]
    found = dict(one for worker in collect(own) for one in worker)
    parts = [found[number] for number in range(len(files))]
    longest = max(part.inputs.shape[1] for part in parts)
    return HistoryScan(
        files=tuple(files),
        inputs=np.concatenate(
            [np.pad(p.inputs, ((0, 0), (0, longest - p.inputs.shape[1]))) for p in parts]
        ),
        num_targets=sum(part.num_targets for part in parts),
        first_times_C=_earliest([part.first_times_C for part in parts]),
        sampled=HistoryRows.concatenated([part.sampled for part in parts]),
    )


def _scan_files(
    asked: Sequence[tuple[int, FileRows, Int64]], reader: HistoryReader, ahead: Ahead | None,
    skip: int,
) -> Iterator[Arrays]:  # fmt: skip
    """The findings about each file, with its number."""
    for number, file, sampled in asked[skip:]:
        yield {"number": number, "found": _scan_file(file, reader, sampled, ahead)}


def _scan_file(
    file: FileRows, reader: HistoryReader, sampled: Int64, ahead: Ahead | None
) -> HistoryScan:
    """The findings about one file; `sampled` counts from its first row."""
    counts = np.zeros(1, dtype=np.int64)
    times_C: Int64 | None = None
    num_targets, at = 0, 0
    chosen: list[HistoryRows] = []
    num_items = reader.manifest.num_items
    # As many events as items, so that what is done per item does not outweigh them.
    events = max(_PIECE_EVENTS, num_items)
    for rows in reader.read([file], max(1, events // reader.manifest.input_length)):
        inputs = rows.item_ids.lengths
        if ahead is not None:
            targets = targets_of_rows(rows, ahead)
            num_targets += int(targets.sum())
            inputs = (inputs - 1)[targets > 0]
            found_C = first_times(rows, num_items)
            times_C = found_C if times_C is None else _earliest([times_C, found_C])
        more = np.bincount(inputs, minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
        here = sampled[(sampled >= at) & (sampled < at + len(rows))] - at
        chosen.append(rows.take(here))
        at += len(rows)
    return HistoryScan(
        files=(file,), inputs=counts[None], num_targets=num_targets,
        first_times_C=np.full(num_items, NEVER) if times_C is None else times_C,
        sampled=HistoryRows.concatenated(chosen),
    )  # fmt: skip


def _earliest(times: Sequence[Int64]) -> Int64:
    """The earliest of several times of each item."""
    latest = np.iinfo(np.int64).max
    known = np.stack([np.where(one == NEVER, latest, one) for one in times]).min(axis=0)
    return np.where(known == latest, NEVER, known)
