"""Streams of Arrow batches, kept as Parquet files on this machine, which are read like any other.

So the same rows give the same windows wherever they come from, and memory holds one batch of them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from itrec_dist.errors import DataError
from itrec_dist.storage import atomic

_ROWS_PER_GROUP = 1_000_000


@dataclass(frozen=True)
class Stream:
    """Rows that can be read once, and what messages call them."""

    shown: str
    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]

    def prepared(self) -> Iterator[pa.RecordBatch]:
        """Its rows, as the types of `prepared_schema`."""
        schema = self.prepared_schema
        for batch in self.batches:
            columns = zip(batch.columns, schema, strict=True)
            yield pa.record_batch([_cast(c, field.type) for c, field in columns], schema=schema)

    @property
    def prepared_schema(self) -> pa.Schema:
        """Its columns, as types that Parquet has."""
        return pa.schema([pa.field(field.name, _written(field.type)) for field in self.schema])

    def keep(self, folder: Path) -> Path:
        """Write the rows to a new Parquet file of a folder, whole or not at all; return its path.

        Raises:
            DataError: it has no columns, or one of a type that Parquet lacks.
            OutputError: the disk of this machine is full.
        """
        if not self.schema.names:
            raise DataError(f"{self.shown} has no columns: give a table of events")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"table-{sum(1 for _ in folder.glob('table-*.parquet'))}.parquet"
        try:
            with (
                atomic.new_file(path) as building,
                pq.ParquetWriter(building, self.prepared_schema) as writer,
            ):
                for batch in self.prepared():
                    writer.write_batch(batch, row_group_size=_ROWS_PER_GROUP)
        except pa.ArrowNotImplementedError as error:
            raise DataError(
                f"{self.shown} cannot be read: {error}: leave that column out"
            ) from error
        return path


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(column.type):  # whose values may be of a type that is not taken from
        return _cast(column.dictionary, kind).take(column.indices)
    return column if column.type.equals(kind) else column.cast(kind)


def _written(kind: pa.DataType) -> pa.DataType:
    """The type in which a column is written: text and lists have several in memory."""
    if pa.types.is_dictionary(kind):
        return _written(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(_written(kind.value_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(_written(kind.value_type))
    return kind
