"""Decoded splits: a process's own, or those that all workers and trials of its machine share."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy.typing as npt

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards.arrays import HistoryRows, Ragged
from itrec_dist.data.shards.columns import Widths
from itrec_dist.data.shards.packed import PackedWindows
from itrec_dist.data.shards.splits import (
    BlockReader,
    read_history_split,
    read_split,
    split_files,
)
from itrec_dist.errors import OutputError
from itrec_dist.storage import cache, shared_arrays

_FORMAT = 1  # of the shared arrays: another one is another folder
_Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class NodeSplits:
    """Reads whole splits of a shards folder, in canonical order.

    If it shares them, the first process of a machine decodes a split into files that the others
    map, in the folder of `ITREC_CACHE`.
    """

    shards: Path
    manifest: Manifest
    blocks: BlockReader
    shares: bool
    note: Callable[[str], None]
    """Told why splits are not shared where the folder cannot be written."""

    def windows(self, split: str, *, times: bool) -> PackedWindows:
        """A split of windows.

        Raises:
            ShardsError: the split is absent, damaged or not what the manifest describes.
        """

        def read() -> PackedWindows:
            return PackedWindows.of(
                read_split(self.shards, self.manifest, split, self.blocks, times=times)
            )

        name = f"{split} with times" if times else split
        found = self._shared(split, name, lambda: read().matrices)
        if found is None:
            return read()
        return PackedWindows.of_matrices(found, Widths.of(self.manifest), times=times)

    def histories(self, split: str) -> HistoryRows:
        """A split of histories.

        Raises:
            ShardsError: see `windows`.
        """

        def read() -> HistoryRows:
            return read_history_split(self.shards, self.manifest, split, self.blocks)

        found = self._shared(split, split, lambda: _arrays(read()))
        return read() if found is None else _history_rows(found)

    def _shared(self, split: str, name: str, make: Callable[[], _Arrays]) -> _Arrays | None:
        """The shared arrays of a split; None if this process reads its own."""
        if not self.shares:
            return None
        split_files(self.shards, self.manifest, split)  # a copy does not hide that they are gone
        content = json.dumps(self.manifest.to_json(), sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        try:
            return shared_arrays.shared(cache.decoded(f"{digest}-{_FORMAT}") / name, make)
        except OutputError as error:
            self.note(f"{error}; every worker and trial holds its own copy of the {split} split")
            return None


def _arrays(rows: HistoryRows) -> dict[str, npt.NDArray[Any]]:
    """Histories as plain arrays by name."""
    found: dict[str, npt.NDArray[Any]] = {}
    for name, array in vars(rows).items():
        if isinstance(array, Ragged):
            found[f"{name}.values"], found[f"{name}.offsets"] = array.values, array.offsets
        else:
            found[name] = array
    return found


def _history_rows(arrays: _Arrays) -> HistoryRows:
    """What `_arrays` took apart."""
    found: dict[str, Any] = {}
    for field in fields(HistoryRows):
        name = field.name
        is_ragged = f"{name}.values" in arrays
        found[name] = (
            Ragged(arrays[f"{name}.values"], arrays[f"{name}.offsets"])
            if is_ragged
            else arrays[name]
        )
    return HistoryRows(**found)
