"""Reads tables of SQLite files with Python's own module, so that no extension is needed."""

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pyarrow as pa

from itrec_dist.errors import DataError

_START = b"SQLite format 3\0"
_ROWS = 50_000


def is_sqlite(start: bytes) -> bool:
    """Whether a file that starts so is a SQLite database."""
    return start.startswith(_START)


class SqliteFile:
    """The tables and views of a file, opened for reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)

    def tables(self) -> list[tuple[str, bool]]:
        """Names of tables and views, and whether each is a table.

        Raises:
            DataError: the file is damaged.
        """
        rows = self._rows(
            "select name, type from sqlite_master where type in ('table', 'view') "
            "and name not like 'sqlite\\_%' escape '\\' order by name"
        )
        return [(str(name), kind == "table") for name, kind in rows]

    def has_order(self, name: str) -> bool:
        """Whether the rows of a table have numbers, in the order of their insertion."""
        try:
            self._connection.execute(f"select rowid from {_quoted(name)} limit 0")
        except sqlite3.Error:
            return False
        return dict(self.tables()).get(name, False)

    def copy(self, connection: duckdb.DuckDBPyConnection, name: str, to: str) -> None:
        """Copy a table to the temporary table `to`; values of unlike types in a column become text.

        Raises:
            DataError: the file is damaged, or a binary value is not UTF-8 text.
        """
        schema = self._schema(name)
        order = " order by rowid" if self.has_order(name) else ""
        rows = self._rows(f"select * from {_quoted(name)}{order}")
        made = f"create or replace temp table {_quoted(to)} as select * from incoming_rows"
        for table in itertools.chain([schema.empty_table()], self._batches(rows, schema)):
            connection.register("incoming_rows", table)
            connection.execute(made)
            connection.unregister("incoming_rows")
            made = f"insert into {_quoted(to)} select * from incoming_rows"

    def _schema(self, name: str) -> pa.Schema:
        columns = [str(row[1]) for row in self._rows(f"pragma table_info({_quoted(name)})")]
        kinds = [f"group_concat(distinct typeof({_quoted(column)}))" for column in columns]
        (found,) = self._rows(f"select {', '.join(kinds)} from {_quoted(name)}")
        return pa.schema([(c, _type(f or "")) for c, f in zip(columns, found, strict=True)])

    def _batches(self, rows: Iterator[tuple[Any, ...]], schema: pa.Schema) -> Iterator[pa.Table]:
        while batch := [row for _, row in zip(range(_ROWS), rows, strict=False)]:
            columns = zip(*batch, strict=True)
            yield pa.table(
                [
                    pa.array([self._value(v, field.type) for v in values], field.type)
                    for values, field in zip(columns, schema, strict=True)
                ],
                schema=schema,
            )

    def _value(self, value: Any, kind: pa.DataType) -> Any:
        if value is None or not pa.types.is_string(kind):
            return value
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise DataError(f"{self._path}: save binary columns as UTF-8 text") from error
        return str(value)

    def _rows(self, statement: str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(statement)
        except sqlite3.Error as error:
            raise DataError(f"{self._path} cannot be read: {error}") from error


def _type(kinds: str) -> pa.DataType:
    """The type of a column with values of these SQLite types."""
    found = set(kinds.split(",")) - {"null", ""}
    if found <= {"integer"}:
        return pa.int64()
    return pa.float64() if found <= {"integer", "real"} else pa.string()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
