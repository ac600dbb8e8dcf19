"""Sharded item vectors in checkpoints: every worker writes and reads its own rows.

    CHECKPOINT/
      items-00001-of-00002.safetensors         of worker 0 of 2, its rows of every table
      state/items-00001-of-00002.safetensors   what the optimiser keeps of them

distributed/row_sharding.py says which rows these are; the checkpoint's record names the tables.
All workers write at once, into a hidden folder beside the checkpoints, straight from the memory
that is trained: training waits, and no worker holds its rows twice. Worker 0 then puts the files
into the checkpoints as links. So all workers must reach the run directory.

`torch.distributed.checkpoint` is not used: its writer of safetensors (torch 2.13) builds a whole
file in memory first, and the checksum would take another reading.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from itrec_dist.distributed.context import WorkerContext
from itrec_dist.distributed.row_sharding import RowSharding, ShardedTables
from itrec_dist.errors import CheckpointError, OutputError
from itrec_dist.storage import hashed_files
from itrec_dist.storage import tensors as tensor_files
from itrec_dist.storage.hashed_files import Written

_NAME = re.compile(r"items-(\d{5})-of-(\d{5})\.safetensors")
_STATE = "state"  # of the hidden folder
_CHECKED_AT_ONCE = 1 << 18  # rows


@dataclass(frozen=True)
class Parts:
    """The files of all workers, complete, before they are put into checkpoints."""

    folder: Path
    weights: Mapping[str, Written]
    state: Mapping[str, Written]

    def place(self, checkpoint: Path) -> dict[str, Written]:
        """Put the rows into a checkpoint's folder; returns its files by name.

        Raises:
            OSError: a file cannot be written, or is not there.
        """
        return _placed(self.folder, checkpoint, self.weights)

    def place_state(self, state: Path) -> dict[str, Written]:
        """Put what the optimiser keeps into the folder of a training state; see `place`."""
        return _placed(self.folder / _STATE, state, self.state)


def write(
    folder: Path, weights: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor],
    context: WorkerContext,
) -> Parts:  # fmt: skip
    """Write this worker's rows, and what its optimiser keeps of them; called by all workers.

    Args:
        folder: a new hidden folder, which all workers reach.
        weights: rows by the name of their table.
        state: the optimiser's values by KEY:TABLE.
        context: this worker's rank.

    Raises:
        OutputError: a worker cannot write; all workers raise it.
    """
    name = f"items-{context.rank + 1:05d}-of-{context.world_size:05d}.safetensors"
    written: tuple[Written, Written] | str
    try:
        (folder / _STATE).mkdir(parents=True, exist_ok=True)
        written = (
            tensor_files.write(folder / name, weights),
            tensor_files.write(folder / _STATE / name, state),
        )
    except OSError as error:
        written = f"worker {context.rank} cannot write {folder}: {error.strerror or error}"
    parts = Parts(folder, {}, {})
    for own_name, found in context.collect((name, written)):
        if isinstance(found, str):
            raise OutputError(found)
        parts = Parts(folder, {**parts.weights, own_name: found[0]},
                      {**parts.state, own_name: found[1]})  # fmt: skip
    return parts


def names(files: Iterable[str]) -> list[str]:
    """The files with parts among the names of some, in the order of ranks; none without parts.

    Raises:
        CheckpointError: some of them are missing.
    """
    found = sorted(name for name in files if _NAME.fullmatch(name))
    for place, name in enumerate(found, 1):
        match = _NAME.fullmatch(name)
        assert match is not None
        if (int(match[1]), int(match[2])) != (place, len(found)):
            raise CheckpointError(
                f"of the item vectors there are only {', '.join(found)}: the checkpoint is "
                "incomplete"
            )
    return found


def mapped(folder: Path, files: Iterable[str]) -> ShardedTables:
    """The tables in the files of a folder, mapped into memory; their checksums are not compared.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    parts = [tensor_files.mapped(folder / name) for name in names(files)]
    if not parts or any(sorted(part) != sorted(parts[0]) for part in parts):
        raise CheckpointError(f"{folder} holds no item vectors, or parts of different runs")
    return ShardedTables({name: [part[name] for part in parts] for name in parts[0]})


def load(
    tables: ShardedTables, own: Mapping[str, torch.Tensor], sharding: RowSharding, total: int
) -> None:
    """Copy this worker's rows of all tables, whatever the number of workers that wrote them.

    Args:
        tables: what `mapped` returned.
        own: this worker's rows by the names of the tables.
        sharding: which rows these are.
        total: of all workers.

    Raises:
        CheckpointError: the tables are others, or of another shape.
    """
    if sorted(tables.tables) != sorted(own):
        raise CheckpointError(
            f"the checkpoint has the tables {', '.join(sorted(tables.tables))} in place of "
            f"{', '.join(sorted(own))}"
        )
    for name, rows in own.items():
        parts = tables.tables[name]
        if tables.num_rows(name) != total or parts[0].shape[1:] != rows.shape[1:]:
            raise CheckpointError(
                f"{name} in the checkpoint has {tables.num_rows(name)} rows of "
                f"{list(parts[0].shape[1:])}, {total} of {list(rows.shape[1:])} are needed"
            )
        tables.copy_rows(name, sharding, rows)


def whole(tables: ShardedTables, name: str, padding: int) -> torch.Tensor:
    """A table in one place, behind so many empty rows."""
    total = tables.num_rows(name)
    first = tables.tables[name][0]
    table = first.new_zeros(padding + total, *first.shape[1:])
    tables.copy_rows(name, RowSharding(), table[padding:])
    return table


def first_lost(tables: Mapping[str, torch.Tensor]) -> str | None:
    """The first table with a number that is not finite, looked through a few rows at a time."""
    for name, rows in tables.items():
        blocks = rows.split(_CHECKED_AT_ONCE) if rows.dim() else [rows]
        if rows.is_floating_point() and not all(bool(b.isfinite().all()) for b in blocks):
            return name
    return None


def _placed(source: Path, folder: Path, written: Mapping[str, Written]) -> dict[str, Written]:
    for name in written:
        try:
            os.link(source / name, folder / name)
        except OSError:  # a file system without links
            hashed_files.copy(source / name, folder / name)
    return dict(written)
