"""Postgres as an input, by its driver for ADBC: libpq and its binary COPY, as Arrow batches.

libpq takes user and password from PGUSER, PGPASSWORD and ~/.pgpass, and TLS from PGSSLMODE.
"""

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from itrec_dist.data.doors import choice
from itrec_dist.data.doors.streams import Stream
from itrec_dist.errors import DataError, EnvironmentProblem
from itrec_dist.storage.uri import Uri

_SECONDS = 30
_TABLES = """
select n.nspname, c.relname, c.relkind in ('r', 'p')
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
    and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by 1, 2
"""
_NUMBERS = ("int2", "int4", "int8", "float4", "float8", "bool")
_TEXTS = ("text", "varchar", "bytea")
_TIMES = ("date", "timestamp", "timestamptz")


def connect(place: Uri) -> choice.Server:
    """Connect to a database.

    Raises:
        EnvironmentProblem: the driver is missing, or the server is not reached.
    """
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError as error:
        raise choice.no_package(place, "adbc-driver-postgresql", "postgres") from error
    try:
        return _Postgres(dbapi.connect(_address(place), autocommit=False), place)
    except dbapi.Error as error:
        raise EnvironmentProblem(
            f"{place} cannot be reached as a Postgres database ({_reason(error)}): check host, "
            "port, name and the credentials in the environment (PGUSER and PGPASSWORD, or "
            "~/.pgpass)"
        ) from error


class _Postgres:
    """A connection within one transaction that reads."""

    def __init__(self, connection: Any, place: Uri) -> None:
        from adbc_driver_postgresql import dbapi

        self._connection, self._place, self._error = connection, place, dbapi.Error
        self._cursor = connection.cursor()
        self._cursor.execute("set transaction isolation level repeatable read, read only")

    def tables(self) -> list[choice.Listed]:
        try:
            self._cursor.execute(_TABLES)
            rows: list[choice.Listed] = self._cursor.fetchall()
        except self._error as error:
            raise self._refused(str(self._place), error) from error
        return rows

    def table(self, schema: str, name: str, shown: str) -> Stream:
        return self._rows(f"select * from {_quoted(schema)}.{_quoted(name)}", shown)

    def query(self, text: str, shown: str) -> Stream:
        return self._rows(text, shown)

    def close(self) -> None:
        self._cursor.close()
        self._connection.close()

    def _rows(self, statement: str, shown: str) -> Stream:
        """The rows of a SELECT, each column as a type that means the same here as there."""
        try:
            found: pa.Schema = self._cursor.adbc_execute_schema(statement)
            if not found.names:
                raise choice.no_select(shown, "Postgres")
            given = [f"c{number}" for number in range(len(found))]
            read = ", ".join(map(_read, given, found))
            names = ", ".join(given)
            self._cursor.execute(f"select {read} from ({statement}\n) as given_rows ({names})")
            reader = self._cursor.fetch_record_batch()
        except self._error as error:
            raise self._refused(shown, error) from error
        schema = pa.schema(
            [pa.field(old.name, new.type) for old, new in zip(found, reader.schema, strict=True)]
        )
        return Stream(shown, schema, self._batches(reader, shown))

    def _batches(self, reader: Any, shown: str) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (self._error, pa.ArrowException, OSError) as error:
                raise self._refused(shown, error) from error
            yield batch

    @staticmethod
    def _refused(shown: str, error: Exception) -> DataError:
        return DataError(f"{shown} cannot be read: Postgres says: {_reason(error)}")


def _read(name: str, field: pa.Field) -> str:
    """SQL of a column: unbounded numbers without trailing zeros, and what Arrow lacks as text."""
    kind = (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode()
    if kind.removeprefix("_") in (*_NUMBERS, *_TEXTS):
        return name
    if kind in _TIMES:
        return f"case when isfinite({name}) then {name} end"
    if kind == "numeric":
        return f"nullif(trim_scale({name})::text, 'NaN')"
    return f"{name}::text[]" if kind.startswith("_") else f"{name}::text"


def _address(place: Uri) -> str:
    if "PGCONNECT_TIMEOUT" in os.environ or "connect_timeout" in parse_qs(urlsplit(place).query):
        return str(place)
    return f"{place}{'&' if '?' in place else '?'}connect_timeout={_SECONDS}"


def _reason(error: Exception) -> str:
    """What the server or libpq says, in one line, without the statement that was made of a query.

    A line of a query is that of the user's: what is added to it comes before and after in the same
    line, or behind.
    """
    text = str(error).partition("\n\nQuery was:")[0]
    if said := re.search(r"(?:ERROR|FATAL):\s+(.+)", text):
        line = re.search(r"^LINE (\d+):", text, re.MULTILINE)
        return said.group(1) + (f", in line {line.group(1)}" if line else "")
    said = re.search(r"Failed to connect: (.+)", text)
    return said.group(1) if said else " ".join(text.split())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
