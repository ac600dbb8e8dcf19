"""Reads the windows of a split from the files that the manifest lists."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.arrays import HistoryRows, Windows
from itrec_dist.errors import ShardsError
from itrec_dist.storage.parquet import row_groups, slices

BlockReader = Callable[[Sequence[Path], Sequence[str]], Iterator[pa.Table]]
"""Reads the named columns of Parquet files as large tables, in the given order."""

SliceReader = Callable[[Sequence[Path], Sequence[str], int], Iterator[pa.Table]]
"""The same as tables of so many rows at most."""


@dataclass(frozen=True)
class FileRows:
    """A shard file and its number of windows."""

    path: Path
    rows: int


@dataclass(frozen=True)
class WindowReader:
    """Reads the windows of a shards folder, with or without times."""

    manifest: Manifest
    blocks: BlockReader = row_groups
    times: bool = False
    """Whether to read the times as well."""

    def read(self, files: Sequence[FileRows]) -> Iterator[Windows]:
        """The windows of the given files, block by block, in the order of their rows.

        Raises:
            ShardsError: a file is missing or damaged, or has unexpected columns or ids.
        """
        if self.manifest.samples != "windows":
            raise ShardsError(
                "these shards hold histories, and windows are needed here: window the data with "
                "--samples windows"
            )
        names = reader.column_names(self.manifest, times=self.times)
        where = str(files[0].path.parent) if files else ""
        for block in self.blocks([file.path for file in files], names):
            yield reader.table_to_arrays(block, self.manifest, where, times=self.times)


@dataclass(frozen=True)
class HistoryReader:
    """Reads the histories of a shards folder piece by piece."""

    manifest: Manifest
    slices: SliceReader = slices

    def read(self, files: Sequence[FileRows], rows: int) -> Iterator[HistoryRows]:
        """The rows of the given files in order, at most `rows` at a time.

        Raises:
            ShardsError: a file is missing or damaged, or is not what the manifest describes.
        """
        names = reader.history_column_names(self.manifest)
        for file in files:
            arrived, where = 0, str(file.path)
            for piece in self.slices([file.path], names, rows):
                arrived += len(piece)
                yield reader.table_to_history_rows(piece, self.manifest, where)
            if arrived != file.rows:
                raise wrong_count(file.path, arrived, file.rows)


def read_split(
    shards: Path, manifest: Manifest, split: str, blocks: BlockReader = row_groups, *,
    times: bool = False,
) -> Windows:  # fmt: skip
    """Read a whole split into canonical order, in whatever order the blocks arrive.

    Windows that arrive in order are not copied again.

    Raises:
        ShardsError: the split is absent, or the files do not match the manifest.
    """
    files = split_files(shards, manifest, split)
    parts = list(WindowReader(manifest, blocks, times).read(files))
    arrived, expected = sum(map(len, parts)), sum(f.rows for f in files)
    if arrived != expected:
        raise wrong_count(shards / split, arrived, expected)
    windows = Windows.concatenated(parts)
    if _ascends(windows):
        return windows
    windows = windows.take(np.argsort(windows.window_ids, kind="stable"))
    if not _ascends(windows):
        raise ShardsError(f"{shards / split} holds a window twice: window the data again")
    return windows


def read_history_split(
    shards: Path, manifest: Manifest, split: str, blocks: BlockReader = row_groups
) -> HistoryRows:
    """A whole split of histories in canonical order, whatever order the blocks arrive in.

    Raises:
        ShardsError: the split is absent, or what arrives is not what the manifest describes.
    """
    files = split_files(shards, manifest, split)
    names = reader.history_column_names(manifest)
    parts = [
        reader.table_to_history_rows(block, manifest, str(shards / split))
        for block in blocks([file.path for file in files], names)
    ]
    arrived, expected = sum(map(len, parts)), sum(f.rows for f in files)
    if arrived != expected:
        raise wrong_count(shards / split, arrived, expected)
    rows = HistoryRows.concatenated(parts)
    if _ascends(rows):
        return rows
    rows = rows.take(np.argsort(rows.window_ids, kind="stable"))
    if not _ascends(rows):
        raise ShardsError(f"{shards / split} holds a row twice: window the data again")
    return rows


def split_files(shards: Path, manifest: Manifest, split: str) -> list[FileRows]:
    """The files of a split, in the manifest's order.

    Raises:
        ShardsError: the split is absent, or a file is missing or of another size than recorded.
    """
    paths = {file.name: shards / file.name for file in manifest.splits.get(split, ())}
    sizes = {name: path.stat().st_size for name, path in paths.items() if path.is_file()}
    files = files_found(manifest, split, sizes, str(shards))
    return [FileRows(shards / file.path, file.rows) for file in files]


def files_found(
    manifest: Manifest, split: str, sizes: Mapping[str, int], where: str
) -> list[FileRows]:
    """The files of a split with any rows, in the manifest's order, by paths below the folder.

    Args:
        manifest: describes the shards.
        split: the split.
        sizes: bytes of each file that is there, by its name in the manifest.
        where: the folder or its URI, for messages.

    Raises:
        ShardsError: the split is absent, or a file is missing or of another size than recorded.
    """
    files = manifest.splits.get(split, ())
    if not manifest.num_windows(split):
        there = ", ".join(s for s in manifest.splits if manifest.num_windows(s))
        raise ShardsError(f"{where} has no {split} windows; it has: {there or 'none'}")
    for file in files:
        size = sizes.get(file.name)
        if size is None:
            raise ShardsError(f"{where}/{file.name} is missing: window the data again")
        if size != file.bytes:
            raise ShardsError(
                f"{where}/{file.name} has {size:,} bytes, {file.bytes:,} are expected by the "
                "manifest: window the data again"
            )
    return [FileRows(Path(file.name), file.rows) for file in files if file.rows]


def wrong_count(split: Path, arrived: int, expected: int) -> ShardsError:
    """The error for files that hold more or fewer windows than the manifest says."""
    return ShardsError(
        f"{split} gave {arrived:,} windows, {expected:,} are expected by the manifest: "
        "window the data again"
    )


def _ascends(windows: Windows | HistoryRows) -> bool:
    return bool((np.diff(windows.window_ids) > 0).all())
