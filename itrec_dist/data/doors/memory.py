"""Rows handed over in memory: data frames, Arrow tables, relations of DuckDB.

They are written to Parquet and read like any file, so that the same rows give the same windows
wherever they come from. No library of data frames is imported: whatever speaks Arrow's C stream is
taken, and its maker is told by the name of its class.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from itrec_dist.errors import DataError
from itrec_dist.storage import atomic

_KINDS = {
    "pandas": "pandas DataFrame",
    "polars": "Polars DataFrame",
    "pyarrow": "Arrow table",
    "duckdb": "DuckDB relation",
}
_ROWS_PER_GROUP = 1_000_000


def is_table(data: object) -> bool:
    """Whether rows can be read from an object in memory."""
    is_frame = type(data).__name__ in ("DataFrame", "LazyFrame")
    return hasattr(data, "__arrow_c_stream__") or (is_frame and library_of(data) in _KINDS)


def library_of(data: object) -> str:
    """The package that an object is of: pandas, polars, pyarrow, duckdb or another."""
    return type(data).__module__.partition(".")[0].lstrip("_")


class Rows:
    """Rows in memory as an input, which messages call by the kind of their table."""

    def __init__(self, data: Any) -> None:
        """Hold on to a table; nothing is copied yet.

        Raises:
            DataError: it is no table.
        """
        if not is_table(data):
            raise DataError(
                f"{type(data).__name__} is no table of events: give a DataFrame of pandas or "
                "Polars, an Arrow table, a relation of DuckDB, or the path of a file"
            )
        self._data = _collected(data)
        self._written: Path | None = None

    def __str__(self) -> str:
        return f"the {_KINDS.get(library_of(self._data), type(self._data).__name__)}"

    def stream(self) -> pa.RecordBatchReader:
        """Its rows, in order, as Arrow types that Parquet has.

        Raises:
            DataError: a column mixes types.
        """
        try:
            reader = pa.RecordBatchReader.from_stream(self._data)
        except (pa.ArrowException, TypeError) as error:
            raise DataError(
                f"{self} cannot be read: {'; '.join(map(str, error.args))}: give every column "
                "values of one type"
            ) from error
        schema = pa.schema([pa.field(field.name, _written(field.type)) for field in reader.schema])
        return pa.RecordBatchReader.from_batches(
            schema, (_converted(batch, schema) for batch in reader)
        )

    def table(self) -> pa.Table:
        """Its rows as one Arrow table."""
        return self.stream().read_all()

    def write(self, folder: Path) -> Path:
        """Write its rows to a Parquet file of a folder, whole or not at all, and return its path.

        Raises:
            DataError: a column mixes types, or has none that Parquet knows.
        """
        if self._written is not None and self._written.parent == folder:
            return self._written
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"table-{sum(1 for _ in folder.glob('table-*.parquet'))}.parquet"
        stream = self.stream()
        try:
            with (
                atomic.new_file(path) as building,
                pq.ParquetWriter(building, stream.schema) as writer,
            ):
                for batch in stream:
                    writer.write_batch(batch, row_group_size=_ROWS_PER_GROUP)
        except pa.ArrowNotImplementedError as error:
            raise DataError(f"{self} cannot be read: {error}: leave that column out") from error
        self._written = path
        return path


def _collected(data: Any) -> Any:
    """The rows of a stream or of a lazy frame of Polars, or the object itself."""
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if type(data).__name__ == "LazyFrame":
        return data.collect()
    if not hasattr(data, "__arrow_c_stream__"):  # pandas before 2.2
        return pa.Table.from_pandas(data)
    return data


def _converted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        _cast(column, field.type) for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.record_batch(columns, schema=schema)


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
