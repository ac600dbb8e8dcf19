"""Rows handed over in memory: data frames, Arrow tables, relations of DuckDB.

They are written to Parquet and read like any file, so that the same rows give the same windows
wherever they come from. No library of data frames is imported: whatever speaks Arrow's C stream is
taken, and its maker is told by the name of its class.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from itrec_dist.data.doors.streams import Stream
from itrec_dist.errors import DataError

_KINDS = {
    "pandas": "pandas DataFrame",
    "polars": "Polars DataFrame",
    "pyarrow": "Arrow table",
    "duckdb": "DuckDB relation",
}


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
        kept = Stream(str(self), reader.schema, reader)
        return pa.RecordBatchReader.from_batches(kept.prepared_schema, kept.prepared())

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
        stream = self.stream()
        self._written = Stream(str(self), stream.schema, stream).keep(folder)
        return self._written


def _collected(data: Any) -> Any:
    """The rows of a stream or of a lazy frame of Polars, or the object itself."""
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if type(data).__name__ == "LazyFrame":
        return data.collect()
    if not hasattr(data, "__arrow_c_stream__"):  # pandas before 2.2
        return pa.Table.from_pandas(data)
    return data
