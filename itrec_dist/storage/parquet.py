"""Reads Parquet files on this machine as Arrow tables."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import ParquetFragmentScanOptions

from itrec_dist.errors import ShardsError

_READ_BYTES = 2**20  # of each column at a time
_SCAN_BYTES = 2**23  # as Ray Data does by itself


def opened(
    source: Path | pa.NativeFile, *, memory_map: bool = False, buffer_size: int = 0
) -> pq.ParquetFile:
    """A file whose pages are compared with their checksums when they are read.

    `buffer_size` reads so many bytes of a column at a time; 0 reads whole columns.
    """
    return pq.ParquetFile(
        source,
        memory_map=memory_map,
        buffer_size=buffer_size,
        pre_buffer=not buffer_size,
        page_checksum_verification=True,
    )


def scan_options() -> ParquetFragmentScanOptions:
    """The same for those who scan files themselves, such as Ray Data, which reads in pieces."""
    return ParquetFragmentScanOptions(
        use_buffered_stream=True, buffer_size=_SCAN_BYTES, page_checksum_verification=True
    )


def row_groups(files: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of shard files, in order, with the named columns or all.

    A column that a file lacks is omitted.

    Raises:
        ShardsError: a file is missing or damaged.
    """
    for path in files:
        try:
            with opened(path) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(path, error) from error


def slices(files: Sequence[Path], columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
    """Tables of at most `rows` rows of shard files, in order, with the named columns.

    Pages are decoded as they are needed, in the thread that asks, so that no row group is in memory
    as a whole and no core is taken from others.

    Raises:
        ShardsError: a file is missing or damaged.
    """
    for path in files:
        yield from slices_of(path, path, columns, rows)


def slices_of(
    source: Path | pa.NativeFile, where: Path | str, columns: Sequence[str], rows: int
) -> Iterator[pa.Table]:
    """The same of one file, which may be open; `where` names it in messages."""
    try:
        with opened(source, buffer_size=_READ_BYTES) as file:
            for batch in file.iter_batches(rows, columns=columns, use_threads=False):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException) as error:
        raise unreadable(where, error) from error


def unreadable(path: Path | str, error: BaseException) -> ShardsError:
    """The error for a file that could not be read."""
    if isinstance(error, FileNotFoundError):
        return ShardsError(f"{path} is missing: window the data again")
    reason = str(error).splitlines()[0].rstrip(".")
    return ShardsError(f"{path} cannot be read, window the data again: {reason}")
