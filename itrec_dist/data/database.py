"""Runs the SELECT files of `sql/` in DuckDB.

Owns the connection and its limits, reading files and binding their parameters, storing rows as
tables or returning them as Arrow, and the record of which files were run. Leaves opening users'
files to data/source_files.py, and the meaning of rows to its callers.
"""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from itrec_dist.config import shipped_files
from itrec_dist.data.doors import databases
from itrec_dist.data.doors.files import InputFile
from itrec_dist.data.source_files import SourceColumn, SourceFiles, exactly
from itrec_dist.errors import ConfigError, DataError, EnvironmentProblem

T = TypeVar("T")

ROWS_PER_BATCH = 65_536
_SPILL = "itrec-duckdb-"
"""How the name of the folder for temporary files begins."""


_wanted: dict[str, set[str]] = {}
"""Statement -> the names of its parameters."""
_READ = re.compile(r"\b(?:from|join)\s+([a-z_]+)\b(?!\s*\()")
_NAMED = re.compile(r"\b([a-z_]+) as (?:materialized )?\(")


class Database:
    """An in-memory DuckDB whose tables are filled from the SELECT files of `sql/`.

    A file is named by its path under `sql/` without the suffix, such as `next_items/catalogue`; its
    `$named` parameters are given as keywords, exactly those it uses. A `Path`, or a list of them,
    means exactly that file: brackets and stars in its name are no pattern.

        with Database(memory_limit="2GB", threads=2) as database:
            database.table("events", "shared/events")
            rows = database.arrow("next_items/baselines/cooccurrence", top=100)

    `sql` maps every file that was run to the SHA-256 of its text.
    """

    def __init__(
        self,
        memory_limit: str | None = None,
        threads: int | None = None,
        folders: Iterable[Path] = (),
    ) -> None:
        """Open a database; SQL files are looked up in `folders`, then in the installed SQL folder.

        Raises:
            ConfigError: DuckDB rejects the limit, such as a size without a unit.
        """
        self.sql: dict[str, str] = {}
        self._views: set[str] = set()
        self._folders = [*folders, shipped_files.sql_folder()]
        self._spill = tempfile.TemporaryDirectory(prefix=_SPILL)
        settings: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": self._spill.name,
            "autoinstall_known_extensions": False,
            "TimeZone": "UTC",
        }
        if memory_limit is not None:
            settings["memory_limit"] = memory_limit
        if threads is not None:
            settings["threads"] = threads
        try:
            self._connection = duckdb.connect(config=settings)
        except duckdb.Error as error:
            self._spill.cleanup()
            settings.pop("temp_directory")
            limits = {"memory_limit": memory_limit, "threads": threads}
            given = ", ".join(f"{name} {limit!r}" for name, limit in limits.items() if limit)
            raise ConfigError(f"DuckDB rejects {given}: {_first_line(error)}") from error
        # In a notebook without ipywidgets there is no bar, and no setting of it is accepted.
        (shows_bar,) = self._connection.sql(
            "select current_setting('enable_progress_bar')"
        ).fetchall()[0]
        if shows_bar:
            self._connection.execute("set enable_progress_bar = false")

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and delete its temporary files."""
        self._connection.close()
        self._spill.cleanup()

    def table(self, name: str, sql_name: str, **parameters: Any) -> int:
        """Create or replace the table `name` from a file and return its number of rows.

        The rows keep the order of the SELECT, so `rowid` is the position in that order.
        """
        statement = f"create or replace temp table {_quoted(name)} as\n{self._read(sql_name)}"
        row = self._execute(sql_name, statement, parameters).fetchone()
        return int(row[0]) if row else 0

    def extend(self, name: str, sql_name: str, **parameters: Any) -> None:
        """Add the rows of a file, in order, to the end of a table, or create it of them."""
        self._execute(sql_name, f"{self._adding(name)}\n{self._read(sql_name)}", parameters)

    def view(self, name: str, sql_name: str) -> None:
        """Let `name` be the rows of a file without parameters, found anew where they are read."""
        statement = f"create or replace temp view {_quoted(name)} as\n{self._read(sql_name)}"
        self._execute(sql_name, statement, {})
        self._views.add(name)

    def fill(self, name: str, reads: Sequence[str], fill: "Fill") -> None:  # noqa: ARG002
        """Fill the table `name` by a function that reads the tables `reads`, user by user."""
        fill(self)

    def flow(self, reads: Sequence[str], flow: "Flow") -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        """The rows of a function that reads the tables `reads`, user by user, in their order."""
        yield from flow(self)

    def register(self, name: str, rows: pa.Table) -> None:
        """Copy an Arrow table to the table `name`, keeping its order."""
        self._connection.register("incoming_rows", rows)
        self._connection.execute(
            f"create or replace temp table {_quoted(name)} as select * from incoming_rows"
        )
        self._connection.unregister("incoming_rows")

    def append(self, name: str, rows: pa.Table) -> None:
        """Add the rows of an Arrow table to the end of the table `name`, or create it of them."""
        self._connection.register("incoming_rows", rows)
        self._connection.execute(f"{self._adding(name)} select * from incoming_rows")
        self._connection.unregister("incoming_rows")

    def _adding(self, name: str) -> str:
        """The words before a SELECT whose rows are added to a table, or create it."""
        found = self._connection.execute(
            "select count(*) from duckdb_tables() where table_name = ?", [name]
        ).fetchone()
        is_there = found is not None and found[0]
        return (
            f"insert into {_quoted(name)}" if is_there else f"create temp table {_quoted(name)} as"
        )

    @property
    def scratch(self) -> Path:
        """A folder that is deleted when the database is closed."""
        return Path(self._spill.name) / "inputs"

    def open(self, files: Sequence[InputFile], *, header: bool = True) -> SourceFiles:
        """Open a user's files of the same columns for inspection and `load`.

        `header` says whether the first line of a CSV file holds the column names.

        Raises:
            DataError: a file cannot be read.
        """
        return SourceFiles(self._connection, files, _reading, header)

    def open_table(self, place: Path, table: str | None) -> tuple[SourceFiles, bool]:
        """A table or view of a DuckDB or SQLite file likewise, and whether its rows have an order.

        Raises:
            DataError: it cannot be read, or there is no such table.
        """
        attached = databases.AttachedDatabase(self._connection, place, _reading)
        part, is_ordered = attached.table(table)
        return SourceFiles(self._connection, part, _reading), is_ordered

    def open_query(self, query: Path, given: Path | SourceFiles) -> tuple[SourceFiles, bool]:
        """The rows of a query over such a file, or over files that it names `input`, likewise.

        Raises:
            ConfigError: there is no such file.
            DataError: it is not one SELECT, or cannot be run.
        """
        attached = None
        if isinstance(given, SourceFiles):
            given.whole()
        else:
            attached = databases.AttachedDatabase(self._connection, given, _reading)
        part, is_ordered = databases.query(self._connection, query, attached, _reading)
        return SourceFiles(self._connection, part, _reading), is_ordered

    def load(
        self, name: str, source: SourceFiles, columns: Mapping[str, SourceColumn]
    ) -> tuple[tuple[str, int], ...]:
        """Create the table `name` from opened files, in row order; return each file's row count.

        Column names cannot be bound as parameters, so they are mapped here to the names used in the
        SQL files. Lines of a CSV file that do not parse are skipped and reported by
        checks/rejected_lines.

        Raises:
            DataError: the files cannot be read.
        """
        self.drop(name)
        where = source.parts[0].shown
        counts: list[tuple[str, int]] = []
        before = 0
        for number, (parts, relation) in enumerate(source.mapped(columns)):
            _reading(where, partial(relation.insert_into if number else relation.create, name))
            total = len(self._connection.table(name))
            lone = total - before  # of a text file, whose rows are known only now
            counts += [(p.shown, lone if p.num_rows is None else p.num_rows) for p in parts]
            before = total
        return tuple(counts)

    def drop(self, *names: str) -> None:
        """Drop tables, which frees their memory, and views."""
        for name in names:
            kind = "view" if name in self._views else "table"
            self._connection.execute(f"drop {kind} if exists {_quoted(name)}")
        self._views.difference_update(names)

    def arrow(self, sql_name: str, **parameters: Any) -> pa.Table:
        """All rows of a file as one Arrow table."""
        relation = self._relation(sql_name, parameters)
        return _guarded(sql_name, relation.to_arrow_table)

    def rows(self, sql_name: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a file as dicts; for small results such as a summary or a check."""
        result: list[dict[str, Any]] = self.arrow(sql_name, **parameters).to_pylist()
        return result

    def batches(
        self, sql_name: str, rows_per_batch: int = ROWS_PER_BATCH, **parameters: Any
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a file as Arrow batches, streamed.

        Use the database for nothing else until the iterator is exhausted.
        """
        return self._stream(sql_name, self._relation(sql_name, parameters), rows_per_batch)

    def stored(self, name: str, rows_per_batch: int = ROWS_PER_BATCH) -> Iterator[pa.RecordBatch]:
        """The rows of a table created by `table`, in order, streamed as by `batches`."""
        return self._stream(name, self._connection.table(name), rows_per_batch)

    def whole(self, name: str) -> pa.Table:
        """All rows of a table created by `table` or `register`, as one Arrow table.

        Raises:
            DataError: there is no such table.
        """
        try:
            return self._connection.table(name).to_arrow_table()
        except duckdb.CatalogException as error:
            raise DataError(f"there is no table {name}") from error

    def _stream(
        self, sql_name: str, relation: duckdb.DuckDBPyRelation, rows_per_batch: int
    ) -> Iterator[pa.RecordBatch]:
        reader = _guarded(sql_name, lambda: relation.to_arrow_reader(rows_per_batch))
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (pa.ArrowException, duckdb.Error, RuntimeError) as error:
                raise _explained(f"in sql/{sql_name}.sql", error) from error
            yield batch

    def _read(self, sql_name: str) -> str:
        paths = [folder / f"{sql_name}.sql" for folder in self._folders]
        path = next((path for path in paths if path.is_file()), paths[0])
        text = path.read_text(encoding="utf-8")
        self.sql[sql_name] = hashlib.sha256(text.encode()).hexdigest()
        return text

    def _relation(self, sql_name: str, parameters: Mapping[str, Any]) -> duckdb.DuckDBPyRelation:
        statement = self._read(sql_name)
        self._check_names(sql_name, statement, parameters)
        bound = _bound(parameters)
        return _guarded(sql_name, lambda: self._connection.sql(statement, params=bound))

    def _execute(
        self, sql_name: str, statement: str, parameters: Mapping[str, Any]
    ) -> duckdb.DuckDBPyConnection:
        self._check_names(sql_name, statement, parameters)
        bound = _bound(parameters)
        return _guarded(sql_name, lambda: self._connection.execute(statement, bound))

    def _check_names(self, sql_name: str, statement: str, parameters: Mapping[str, Any]) -> None:
        if statement not in _wanted:
            parsed = self._connection.extract_statements(statement)
            assert len(parsed) == 1, f"sql/{sql_name}.sql holds {len(parsed)} statements, not one"
            _wanted[statement] = set(parsed[0].named_parameters)
        wanted, given = _wanted[statement], set(parameters)
        assert wanted == given, f"sql/{sql_name}.sql wants {sorted(wanted)}, given {sorted(given)}"


def tables_read(statement: str) -> frozenset[str]:
    """The tables that the text of a file of `sql/` names, in lower case as all of them are."""
    code = re.sub(r"--[^\n]*", "", statement)
    return frozenset(_READ.findall(code)) - frozenset(_NAMED.findall(code))


def _bound(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in DuckDB's form: paths as exact names."""
    return {
        name: exactly(value)
        if isinstance(value, Path)
        else [exactly(v) if isinstance(v, Path) else v for v in value]
        if isinstance(value, list)
        else value
        for name, value in parameters.items()
    }


Fill = Callable[[Database], None]
Flow = Callable[[Database], Iterator[pa.RecordBatch]]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0].strip()


def _guarded(sql_name: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except (pa.ArrowException, duckdb.Error, RuntimeError) as error:
        raise _explained(f"in sql/{sql_name}.sql", error) from error


def _reading(path: str, call: Callable[[], T]) -> T:
    """Call a function that reads a user's file: errors of DuckDB there are the file's fault."""
    try:
        return call()
    except (pa.ArrowException, duckdb.Error, RuntimeError) as error:
        explained = _explained(f"reading {path}", error)
        if not isinstance(explained, (DataError, duckdb.Error)):
            raise explained from error
        reason = _first_line(error)
        if "Invalid string encoding" in reason:
            named = re.search(r'file "([^"]+)"', reason)
            file = named.group(1) if named and _SPILL not in named.group(1) else path
            value = re.search(r'"[^"]*"(?= is not valid UTF8)', reason)
            what = f"{value.group()} is not valid UTF-8: " if value else ""
            raise DataError(f"{file}: {what}save binary columns as UTF-8 text") from error
        if "CSV Sniffer" in reason:
            raise DataError(
                f"{path} cannot be cut into columns: give UTF-8 text with a header and one row per "
                "line, separated by a comma, semicolon, tab or |"
            ) from error
        raise DataError(f"{path} cannot be read: {reason}") from error


def _explained(where: str, error: Exception) -> BaseException:
    """The exception to raise instead: limits and files are user errors, the rest are bugs."""
    if isinstance(error, duckdb.InterruptException) or "Query interrupted" in str(error):
        return KeyboardInterrupt()  # a Ctrl-C that came during a query
    if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory" in str(error):
        return EnvironmentProblem(
            f"DuckDB ran out of memory {where} ({_first_line(error)}): raise "
            "--memory_limit, lower --threads, or free disk for its temporary files"
        )
    if "No space left" in str(error):
        return EnvironmentProblem(
            f"the disk of {tempfile.gettempdir()} is full ({_first_line(error)}): free some of it, "
            "or set TMPDIR to a place with more room for DuckDB's temporary files"
        )
    if isinstance(error, (duckdb.IOException, duckdb.InvalidInputException)):
        return DataError(f"the input cannot be read: {_first_line(error)}")
    return error
