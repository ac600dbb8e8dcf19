"""Tables, views and queries as inputs: of DuckDB and SQLite files, Postgres and MySQL.

Owns attaching databases and copying their rows into DuckDB. Credentials are never part of an
address: Postgres and MySQL take them from the environment or their own files.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import unquote, urlsplit

import duckdb

from itrec_dist.data.doors import sqlite
from itrec_dist.data.doors.files import Place
from itrec_dist.data.doors.memory import Rows
from itrec_dist.data.source_files import Part
from itrec_dist.errors import ConfigError, DataError, EnvironmentProblem
from itrec_dist.storage.uri import Uri

Guard = Callable[[str, Callable[[], Any]], Any]

ATTACHED = "input_database"
ROWS = "input_rows"
"""The table that a table's or query's rows are copied to, in their order."""

_SERVERS = {"postgres": "postgres", "postgresql": "postgres", "mysql": "mysql"}
_VARIABLES = {
    "postgres": "PGUSER and PGPASSWORD, or ~/.pgpass",
    "mysql": "MYSQL_USER and MYSQL_PWD",
}
_LISTED = """
select schema_name, table_name as name, true as is_table from duckdb_tables()
where database_name = $name and not internal
union all
select schema_name, view_name as name, false as is_table from duckdb_views()
where database_name = $name and not internal
order by schema_name, name
"""


def is_database(place: Place) -> TypeGuard[Path | Uri]:
    """Whether an input is a file of DuckDB or SQLite, or the address of a Postgres or MySQL."""
    if isinstance(place, Uri):
        return urlsplit(place).scheme in _SERVERS
    if isinstance(place, Rows) or not place.is_file():
        return False
    with place.open("rb") as file:
        start = file.read(16)
    return start[8:12] == b"DUCK" or sqlite.is_sqlite(start)


class AttachedDatabase:
    """A database whose tables can be listed, read and named in queries."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, place: Path | Uri, guard: Guard
    ) -> None:
        """Attach the database for reading.

        Raises:
            DataError: it cannot be opened.
            EnvironmentProblem: DuckDB lacks the extension for it, or the server is not reached.
        """
        self._connection, self._place, self._guard = connection, place, guard
        self._sqlite: sqlite.SqliteFile | None = None
        if isinstance(place, Uri):
            self._attach_server(place)
        elif sqlite.is_sqlite(place.open("rb").read(16)):
            self._sqlite = sqlite.SqliteFile(place)
        else:
            self._run(f"attach {literal(str(place.absolute()))} as {ATTACHED} (read_only)")

    def table(self, wanted: str | None) -> tuple[Part, bool]:
        """Copy a table or view; also whether its rows have an order, that of their insertion.

        Raises:
            DataError: there is no such table, or there are several and none is named.
        """
        listed = self._tables()
        matching = [
            found for found in listed
            if wanted is None or wanted in (found[1], f"{found[0]}.{found[1]}")
        ]  # fmt: skip
        if len(matching) != 1:
            raise DataError(self._which(wanted, listed, len(matching)))
        ((schema, name, is_table),) = matching
        if self._sqlite is not None:
            self._sqlite.copy(self._connection, name, ROWS)
            is_ordered = self._sqlite.has_order(name)
        else:
            source = ".".join(map(_quoted, (ATTACHED, schema, name)))
            self._run(f"create or replace temp table {ROWS} as select * from {source}")
            is_ordered = is_table and not isinstance(self._place, Uri)
        return copied(self._connection, f"table {name} of {self._place}"), is_ordered

    def expose(self, names: Iterable[str]) -> None:
        """Let queries name the tables."""
        if self._sqlite is None:
            self._run(f"use {ATTACHED}")
            return
        known = {name.casefold(): name for _, name, _ in self._tables()}
        for name in names:
            if name.casefold() in known:
                self._sqlite.copy(self._connection, known[name.casefold()], name)

    def _tables(self) -> list[tuple[str, str, bool]]:
        if self._sqlite is not None:
            return [("main", name, is_table) for name, is_table in self._sqlite.tables()]
        rows: list[tuple[str, str, bool]] = self._guard(
            str(self._place),
            lambda: self._connection.execute(_LISTED, {"name": ATTACHED}).fetchall(),
        )
        return rows

    def _which(self, wanted: str | None, listed: list[tuple[str, str, bool]], found: int) -> str:
        several = len({schema for schema, _, _ in listed}) > 1
        names = [f"{schema}.{name}" if several else name for schema, name, _ in listed]
        shown = ", ".join(names)
        if not listed:
            return f"{self._place} holds no table: give a database with a table of events"
        if wanted is None:
            return f"{self._place} holds {len(names)} tables ({shown}): name one with --table"
        if found:
            return f"{self._place} has {found} tables {wanted!r} ({shown}): add the schema"
        return f"{self._place} has no table {wanted!r}, its tables are {shown}: name one of them"

    def _run(self, statement: str) -> None:
        self._guard(str(self._place), lambda: self._connection.execute(statement))

    def _attach_server(self, place: Uri) -> None:
        kind = _SERVERS[urlsplit(place).scheme]
        try:
            self._connection.load_extension(kind)
        except duckdb.Error as error:
            raise EnvironmentProblem(
                f"DuckDB {duckdb.__version__} reads {kind} with its extension {kind}, which is not "
                f"installed: run `python -c \"import duckdb; duckdb.sql('install {kind}')\"` where "
                "the network allows it, or export the table to Parquet"
            ) from error
        address = str(place) if kind == "postgres" else _mysql_address(place)
        try:
            self._connection.execute(
                f"attach {literal(address)} as {ATTACHED} (type {kind}, read_only)"
            )
        except duckdb.Error as error:  # its message repeats the address and what it was merged with
            raise EnvironmentProblem(
                f"{place} cannot be reached as a {kind} database: check host, port, name and the "
                f"credentials in the environment ({_VARIABLES[kind]})"
            ) from error


def _mysql_address(place: Uri) -> str:
    parts = urlsplit(place)
    given = {
        "host": parts.hostname, "port": parts.port, "user": parts.username,
        "database": unquote(parts.path.strip("/")) or None,
    }  # fmt: skip
    return " ".join(f"{name}={value}" for name, value in given.items() if value is not None)


def query(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    database: AttachedDatabase | None,
    guard: Guard,
) -> tuple[Part, bool]:
    """Copy the rows of the SELECT in a file; also whether it says in which order they come.

    Raises:
        ConfigError: there is no such file.
        DataError: it is not one SELECT, or DuckDB cannot run it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip().rstrip(";")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"--query {path} cannot be read: {reason}") from error
    parsed = json.loads(
        connection.execute("select json_serialize_sql($text)", {"text": text}).fetchall()[0][0]
    )
    if parsed["error"]:
        reason = parsed["error_message"]
        if parsed["error_type"] == "not implemented":
            reason = "it is another statement"
        raise DataError(f"{path} is not one SELECT of DuckDB: {reason}")
    if len(parsed["statements"]) != 1:
        raise DataError(f"{path} holds {len(parsed['statements'])} statements: give one SELECT")
    try:
        if database is not None:
            database.expose(sorted(connection.get_table_names(text)))
        names = tuple(connection.sql(text).columns)
        statement = f"create or replace temp table temp.{ROWS} as {text}\n"
        guard(str(path), lambda: connection.execute(statement))
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        kind, _, reason = str(error).split("\n", 1)[0].partition(": ")
        raise DataError(f"{path} cannot be run ({kind}): {reason.strip()}") from error
    connection.execute("use memory")
    modifiers = parsed["statements"][0]["node"].get("modifiers", [])
    part = copied(connection, str(path), names)
    if part.num_rows == 0:
        raise DataError(f"{path} gives no rows: correct the query, or give other data")
    return part, any(found["type"] == "ORDER_MODIFIER" for found in modifiers)


def copied(connection: duckdb.DuckDBPyConnection, shown: str, names: tuple[str, ...] = ()) -> Part:
    """The rows that were copied to the table `ROWS`."""
    rows = connection.table(ROWS)
    types = dict(zip(rows.columns, rows.types, strict=True))
    return Part(shown, types, len(rows), table=ROWS, names=names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
