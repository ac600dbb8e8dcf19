"""MySQL and MariaDB as inputs, by PyMySQL.

ADBC has no driver for MySQL among Python's packages. Of those that there are, PyMySQL is as widely
used and kept as any, in plain Python, streams rows and keeps every value exactly; ConnectorX gives
Arrow and is faster, but takes the password in an address, tries a wrong one for half a minute, and
aborts at values such as a time of 25 hours.

User and password come from MYSQL_USER and MYSQL_PWD, or from ~/.my.cnf, and TLS from the latter.
"""

import datetime
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from itrec_dist.data.doors import choice
from itrec_dist.data.doors.streams import Stream
from itrec_dist.errors import DataError, EnvironmentProblem
from itrec_dist.storage.uri import Uri

_DECIMALS = (0, 246)
_TYPES = {
    **dict.fromkeys((1, 2, 3, 9, 13), pa.int64()),
    **dict.fromkeys((8, 16), pa.decimal128(20, 0)),  # up to 2 ** 64, and bits
    **dict.fromkeys((4, 5), pa.float64()),
    **dict.fromkeys((10, 14), pa.date32()),
    **dict.fromkeys((7, 12), pa.timestamp("us")),
}
"""The protocol's numbers of types (FIELD_TYPE of PyMySQL) -> Arrow's types."""

_SECONDS = 30
_ROWS = 50_000
_TABLES = """
select table_schema, table_name, table_type <> 'VIEW' from information_schema.tables
where table_schema = coalesce(database(), table_schema)
    and table_schema not in ('information_schema', 'mysql', 'performance_schema', 'sys')
order by 1, 2
"""
_READING = (
    "set session time_zone = '+00:00'",  # that of the values of timestamps
    "set session transaction isolation level repeatable read",
    "start transaction with consistent snapshot, read only",
)


def connect(place: Uri) -> choice.Server:
    """Connect to a server; without a name of a database in the address, all are listed.

    Raises:
        EnvironmentProblem: PyMySQL is missing, or the server is not reached.
    """
    try:
        import pymysql
        import pymysql.cursors
    except ImportError as error:
        raise choice.no_package(place, "pymysql", "mysql") from error
    parts = urlsplit(place)
    try:
        connection = pymysql.connect(
            host=parts.hostname,
            port=parts.port or 0,
            user=unquote(parts.username or os.environ.get("MYSQL_USER", "")) or None,
            password=os.environ.get("MYSQL_PWD", "").encode(),
            database=unquote(parts.path.strip("/")) or None,
            read_default_file="~/.my.cnf",
            charset="utf8mb4",
            connect_timeout=_SECONDS,
            cursorclass=pymysql.cursors.SSCursor,
        )
        return _MySql(connection, place)
    except (pymysql.Error, RuntimeError, OSError, ValueError) as error:
        raise EnvironmentProblem(
            f"{place} cannot be reached as a MySQL database ({_reason(error)}): check host, port, "
            "name and the credentials in the environment (MYSQL_USER and MYSQL_PWD, or ~/.my.cnf)"
        ) from error


class _MySql:
    """A connection within one transaction that reads."""

    def __init__(self, connection: Any, place: Uri) -> None:
        import pymysql

        self._connection, self._place, self._error = connection, place, pymysql.Error
        with connection.cursor() as cursor:
            for statement in _READING:
                cursor.execute(statement)

    def tables(self) -> list[choice.Listed]:
        rows = self._run(_TABLES, str(self._place))[1]
        return [
            (schema, name, bool(is_table)) for batch in rows for schema, name, is_table in batch
        ]

    def table(self, schema: str, name: str, shown: str) -> Stream:
        return self._rows(f"select * from {_quoted(schema)}.{_quoted(name)}", shown)

    def query(self, text: str, shown: str) -> Stream:
        return self._rows(text, shown)

    def close(self) -> None:
        self._connection.close()

    def _rows(self, statement: str, shown: str) -> Stream:
        columns, rows = self._run(statement, shown)
        schema = pa.schema(
            [(name, _type(kind, length, scale)) for name, kind, _, length, _, scale, _ in columns]
        )
        return Stream(shown, schema, (_batch(batch, schema) for batch in rows))

    def _run(self, statement: str, shown: str) -> tuple[Any, Iterator[Any]]:
        """The columns that a statement gives, and its rows, so many at a time."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement)
        except self._error as error:
            raise self._refused(shown, error) from error
        if cursor.description is None:
            raise choice.no_select(shown, "MySQL")
        return cursor.description, self._batches(cursor, shown)

    def _batches(self, cursor: Any, shown: str) -> Iterator[Any]:
        try:
            while rows := cursor.fetchmany(_ROWS):
                yield rows
        except self._error as error:
            raise self._refused(shown, error) from error

    @staticmethod
    def _refused(shown: str, error: Exception) -> DataError:
        return DataError(f"{shown} cannot be read: MySQL says: {_reason(error)}")


def _type(kind: int, length: int, scale: int) -> pa.DataType:
    """Arrow's type for one of the protocol, as PEP 249 describes a column.

    Text is bytes here, as are values that are none: which of them a column holds is not told.
    """
    if kind in _DECIMALS and length <= 38:  # which counts the sign and the point
        return pa.decimal128(38, scale)
    return _TYPES.get(kind, pa.large_binary())


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.array([_value(value, field.type) for value in values], field.type)
        for values, field in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.record_batch(columns, schema=schema)


def _value(value: Any, kind: pa.DataType) -> Any:
    """A value as Arrow takes it; MySQL's date 0000-00-00 is none."""
    if value is None:
        return None
    if pa.types.is_large_binary(kind):
        return value if isinstance(value, bytes) else str(value).encode()
    if isinstance(value, bytes):  # bits
        return int.from_bytes(value, "big")
    is_time = pa.types.is_temporal(kind)
    return value if not is_time or isinstance(value, datetime.date) else None


def _reason(error: Exception) -> str:
    """What the server says, without its number."""
    return " ".join(str(error.args[-1] if error.args else error).split())


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
