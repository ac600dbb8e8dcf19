"""Reads the splits of a shards folder where it lies, at a URI, without a copy on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards.splits import FileRows, HistoryReader, files_found, split_files
from itrec_dist.errors import ShardsError
from itrec_dist.storage import parquet
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri


@dataclass(frozen=True)
class _RemoteSlices:
    """Reads files whose paths are relative to a folder at a URI."""

    store: Store

    def __call__(
        self, files: Sequence[Path], columns: Sequence[str], rows: int
    ) -> Iterator[pa.Table]:
        for path in files:
            where = f"{self.store}/{path.as_posix()}"
            file = self.store.open(path.as_posix())
            if file is None:
                raise ShardsError(f"{where} is missing: window the data again")
            with file:
                yield from parquet.slices_of(file, where, columns, rows)


def histories(
    shards: Uri | Path, manifest: Manifest, split: str
) -> tuple[list[FileRows], HistoryReader]:
    """The files of a split of histories and what reads them, at a URI or in a folder.

    Raises:
        ShardsError: the split is absent, or a file is missing or of another size than recorded.
        EnvironmentProblem: the URI cannot be reached.
    """
    if isinstance(shards, Path):
        return split_files(shards, manifest, split), HistoryReader(manifest)
    store = Store(shards)
    files = files_found(manifest, split, store.files(split), str(store))
    return files, HistoryReader(manifest, _RemoteSlices(store))
