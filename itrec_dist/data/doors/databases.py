"""Tables, views and queries of DuckDB and SQLite files as inputs, and queries over other files.

Owns attaching databases and copying their rows into DuckDB.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeGuard

import duckdb

from itrec_dist.data.doors import choice, sqlite
from itrec_dist.data.doors.files import Place
from itrec_dist.data.source_files import Part
from itrec_dist.errors import DataError

Guard = Callable[[str, Callable[[], Any]], Any]

ATTACHED = "input_database"
ROWS = "input_rows"
"""The table that a table's or query's rows are copied to, in their order."""

_LISTED = """
select schema_name, table_name as name, true as is_table from duckdb_tables()
where database_name = $name and not internal
union all
select schema_name, view_name as name, false as is_table from duckdb_views()
where database_name = $name and not internal
order by schema_name, name
"""


def is_database(place: Place) -> TypeGuard[Path]:
    """Whether an input is a file of DuckDB or SQLite."""
    if not isinstance(place, Path) or not place.is_file():
        return False
    with place.open("rb") as file:
        start = file.read(16)
    return start[8:12] == b"DUCK" or sqlite.is_sqlite(start)


class AttachedDatabase:
    """A database whose tables can be listed, read and named in queries."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, place: Path, guard: Guard) -> None:
        """Attach the database for reading.

        Raises:
            DataError: it cannot be opened.
        """
        self._connection, self._place, self._guard = connection, place, guard
        self._sqlite: sqlite.SqliteFile | None = None
        if sqlite.is_sqlite(place.open("rb").read(16)):
            self._sqlite = sqlite.SqliteFile(place)
        else:
            self._run(f"attach {literal(str(place.absolute()))} as {ATTACHED} (read_only)")

    def table(self, wanted: str | None) -> tuple[Part, bool]:
        """Copy a table or view; also whether its rows have an order, that of their insertion.

        Raises:
            DataError: there is no such table, or there are several and none is named.
        """
        schema, name, is_table = choice.table(str(self._place), self._tables(), wanted)
        if self._sqlite is not None:
            self._sqlite.copy(self._connection, name, ROWS)
            is_ordered = self._sqlite.has_order(name)
        else:
            source = ".".join(map(_quoted, (ATTACHED, schema, name)))
            self._run(f"create or replace temp table {ROWS} as select * from {source}")
            is_ordered = is_table
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

    def _tables(self) -> list[choice.Listed]:
        if self._sqlite is not None:
            return [("main", name, is_table) for name, is_table in self._sqlite.tables()]
        rows: list[choice.Listed] = self._guard(
            str(self._place),
            lambda: self._connection.execute(_LISTED, {"name": ATTACHED}).fetchall(),
        )
        return rows

    def _run(self, statement: str) -> None:
        self._guard(str(self._place), lambda: self._connection.execute(statement))


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
    text = choice.query_text(path)
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
