"""Writes the files of a shards folder: fixed-width columns, even shards, a content digest.

Owns compression, row groups and the distribution of rows to files. Leaves the Arrow types to
columns.py, and the rows themselves to the tasks.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from itrec_dist.data.manifest import ShardFile

ROWS_PER_GROUP = 65_536
COMPRESSION = "zstd"


class ContentDigest:
    """SHA-256 over the values of tables, independent of compression and writer."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add_text(self, text: str) -> None:
        """Add a name or a number."""
        self._hash.update(text.encode() + b"\n")

    def add_table(self, table: pa.Table) -> None:
        """Add the values of all columns, in order."""
        for name in table.column_names:
            column = table.column(name).combine_chunks()
            self.add_text(f"{name} {column.type} {len(column)}")
            self._add_array(column)

    def hexdigest(self) -> str:
        """The digest so far, in hexadecimal."""
        return self._hash.hexdigest()

    def _add_array(self, array: pa.Array) -> None:
        if array.null_count:
            self._hash.update(pc.is_null(array).cast(pa.int8()).to_numpy().tobytes())
        if pa.types.is_nested(array.type):
            lengths = pc.fill_null(pc.list_value_length(array), 0)
            self._hash.update(lengths.cast(pa.int32()).to_numpy().tobytes())
            self._add_array(array.flatten())
        elif pa.types.is_string(array.type):
            filled = pc.fill_null(array, "")
            self._hash.update(pc.binary_length(filled).to_numpy().tobytes())
            self._hash.update("".join(filled.to_pylist()).encode())
        else:
            self._hash.update(pc.fill_null(array, 0).to_numpy(zero_copy_only=False).tobytes())


def write_table(
    path: Path, batches: Iterator[pa.RecordBatch], columns: pa.Schema, digest: ContentDigest
) -> None:
    """Write all rows to one file."""
    with _writer(path, columns) as writer:
        digest.add_text(path.name)
        for table in regrouped(batches, columns, None):
            digest.add_table(table)
            writer.write_table(table)


def write_split(
    folder: Path,
    batches: Iterator[pa.RecordBatch],
    columns: pa.Schema,
    shard_rows: list[int],
    digest: ContentDigest,
) -> tuple[ShardFile, ...]:
    """Write a split's rows, in order, to files with the given numbers of rows."""
    folder.mkdir()
    tables = regrouped(batches, columns, shard_rows)
    files = []
    for number, rows in enumerate(shard_rows):
        path = folder / f"part-{number:05d}.parquet"
        digest.add_text(f"{folder.name}/{path.name}")
        with _writer(path, columns) as writer:
            written = 0
            while written < rows:
                table = next(tables)
                digest.add_table(table)
                writer.write_table(table)
                written += table.num_rows
            assert written == rows, f"{path.name}: {written} rows instead of {rows}"
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        files.append(ShardFile(f"{folder.name}/{path.name}", rows, path.stat().st_size, sha256))
    assert next(tables, None) is None, f"{folder.name}: more rows than its shards hold"
    return tuple(files)


def _writer(path: Path, columns: pa.Schema) -> pq.ParquetWriter:
    """Every page has a checksum, so that what was damaged later is noticed where it is read."""
    return pq.ParquetWriter(path, columns, compression=COMPRESSION, write_page_checksum=True)


def even_shards(rows: int, shards: int) -> list[int]:
    """Divide `rows` into at most `shards` runs whose lengths differ by at most one."""
    shards = max(1, min(shards, rows))
    return [rows * (i + 1) // shards - rows * i // shards for i in range(shards)]


def regrouped(
    batches: Iterator[pa.RecordBatch], columns: pa.Schema, file_rows: list[int] | None
) -> Iterator[pa.Table]:
    """The same rows as one table per row group, none of which crosses the end of a file."""
    sizes = _group_sizes(file_rows)
    wanted = next(sizes, 0)
    held: list[pa.Table] = []
    num_held = 0
    for batch in batches:
        table = _typed(batch, columns)
        while num_held + table.num_rows >= wanted > 0:
            cut = wanted - num_held
            yield pa.concat_tables([*held, table.slice(0, cut)]).combine_chunks()
            held, num_held, table = [], 0, table.slice(cut)
            wanted = next(sizes, 0)
        if table.num_rows:
            held.append(table)
            num_held += table.num_rows
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _group_sizes(file_rows: list[int] | None) -> Iterator[int]:
    if file_rows is None:
        while True:
            yield ROWS_PER_GROUP
    for rows in file_rows:
        yield from even_shards(rows, -(-rows // ROWS_PER_GROUP))


def _typed(batch: pa.RecordBatch, columns: pa.Schema) -> pa.Table:
    arrays = [_cast(batch.column(name), columns.field(name).type) for name in columns.names]
    return pa.Table.from_arrays(arrays, schema=columns)


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(wanted):
        return array.cast(wanted)
    width = wanted.list_size
    lengths = pc.list_value_length(array)
    assert pc.all(pc.equal(lengths, width)).as_py() is not False, f"a list is not {width} wide"
    return pa.FixedSizeListArray.from_arrays(array.flatten().cast(wanted.value_type), width)
