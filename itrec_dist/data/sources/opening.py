"""Opens the rows of a user's table through the door that the settings name.

Owns the refusals that concern a whole input: doors that do not fit it, columns that it lacks, rows
without an order. Leaves the doors themselves to data/doors/.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from itrec_dist.data.database import Database
from itrec_dist.data.doors import databases, lakes, servers
from itrec_dist.data.doors.files import Layout, Place, found
from itrec_dist.data.doors.memory import Rows
from itrec_dist.data.source_files import SourceColumn, SourceFiles
from itrec_dist.data.sources.staging import Parts, refuse_rejected
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.storage.uri import Uri


@dataclass(frozen=True)
class Door:
    """How an input is read; see the settings of the same names."""

    layout: Layout = "exact"
    table: str | None = None
    query: Path | None = None
    header: bool = True


@dataclass(frozen=True)
class Opened:
    """A source, the files on this machine that it reads, and whether its rows have an order."""

    source: SourceFiles
    files: tuple[Path, ...]
    is_ordered: bool = True

    @property
    def shown(self) -> str:
        """What messages call it."""
        return self.source.parts[0].shown


def opened(database: Database, door: Door, places: Sequence[Place]) -> Opened:
    """The rows of a database, or of files, as they are or by a query.

    Raises:
        ConfigError: the door does not fit the inputs.
        DataError: an input cannot be read.
        EnvironmentProblem: a URI cannot be reached, or the package for it is missing.
    """
    queries = () if door.query is None else (door.query,)
    for place in places:
        if not (databases.is_database(place) or servers.is_server(place)):
            continue
        if len(places) > 1 or door.layout != "exact":
            raise ConfigError(
                f"{place} is a database: give it alone, without --glob and --hive, and join it "
                "with other data in a --query"
            )
        if isinstance(place, Uri):
            return _of_server(database, place, door)
        if door.query is None:
            source, is_ordered = database.open_table(place, door.table)
        else:
            source, is_ordered = database.open_query(door.query, place)
        return Opened(source, (place, *queries), is_ordered)
    for one in places:
        if not isinstance(one, Rows) and (kind := lakes.lake_of(one)) is not None:
            if len(places) > 1 or door.layout != "exact" or door.table is not None:
                raise ConfigError(
                    f"{one} is one table, of {kind}: give it alone, without --table, --glob and "
                    "--hive"
                )
            source, is_ordered = database.open([lakes.rows(one, kind, database.scratch)]), False
            if door.query is not None:
                source, is_ordered = database.open_query(door.query, source)
            return Opened(source, queries, is_ordered)
    read = found(places, door.layout, database.scratch)
    if door.table is not None:
        raise ConfigError(
            f"--table {door.table} names a table of a database, and {places[0]} is none: give a "
            "DuckDB or SQLite file, or a URI such as postgresql://host/shop"
        )
    source, paths = database.open(read, header=door.header), tuple(file.path for file in read)
    if door.query is None:
        return Opened(source, paths)
    source, is_ordered = database.open_query(door.query, source)
    return Opened(source, (*paths, *queries), is_ordered)


def _of_server(database: Database, place: Uri, door: Door) -> Opened:
    """A table, or the rows of a query, whose order only a query has."""
    if door.query is None:
        file = servers.table(place, door.table, database.scratch)
        return Opened(database.open([file]), (), is_ordered=False)
    file, is_ordered = servers.query(place, door.query, database.scratch)
    source = database.open([file])
    if source.parts[0].num_rows == 0:
        raise DataError(f"{door.query} gives no rows: correct the query, or give other data")
    return Opened(source, (door.query,), is_ordered)


def load(
    database: Database, name: str, given: Opened, columns: Mapping[str, SourceColumn]
) -> Parts:
    """Create the table `name` with the mapped columns.

    Raises:
        DataError: a column is missing, or a line or value cannot be read.
    """
    source = given.source
    _refuse_missing(source, [c for column in columns.values() for c in column.columns])
    parts = database.load(name, source, columns)
    if any(part.is_text for part in source.parts):
        refuse_rejected(database)
    return parts


def refuse_ties(database: Database, given: Opened) -> None:
    """Refuse events of one user and time in `parsed_ratings` if nothing tells their order.

    Raises:
        DataError: there are some; the message names the first.
    """
    if given.is_ordered:
        return
    for row in database.rows("checks/tied_events"):
        raise DataError(
            f"{given.shown} gives user {row['user_source_id']} {row['num_events']} events at "
            f"{row['event_time']} and no order of them: give --columns.order, or a --query with an "
            "ORDER BY, by time and then by what tells events of one time apart"
        )


def _refuse_missing(source: SourceFiles, wanted: list[str]) -> None:
    for part in source.parts:
        for name in wanted:
            if len(same := source.named(part, name)) > 1:
                raise DataError(
                    f"{part.shown} has {len(same)} columns {name!r} ({', '.join(same)}): rename "
                    "all but one, since which of them is meant cannot be told"
                )
        missing = [c for c in wanted if c not in part.types]
        if not missing:
            continue
        if part.is_text and any(_is_number(name) for name in part.types):
            raise DataError(
                f"{part.shown} has no header, its first line is {', '.join(part.types)}: put the "
                "names of the columns there, or give --header false and --columns.user column0 and "
                "so on"
            )
        raise DataError(
            f"{part.shown} has no column {missing[0]!r}, its columns are {', '.join(part.types)}: "
            "name the right ones with --columns and the lists of features and numbers"
        )


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False
