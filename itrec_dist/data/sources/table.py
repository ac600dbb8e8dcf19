"""Reads a user's own table of users, items and timestamps: files, a database's table, a query.

Owns the settings that map its columns, and refuses unsuitable columns and values. Leaves where rows
come from to data/doors/, and what is common to all formats to data/sources/staging.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from itrec_dist import config as configuration
from itrec_dist.data.database import Database
from itrec_dist.data.doors import databases
from itrec_dist.data.doors.files import InputFile, Layout, found
from itrec_dist.data.source_files import SourceColumn, SourceFiles
from itrec_dist.data.sources.source import Source
from itrec_dist.data.sources.staging import (
    FeatureKind,
    Parts,
    Staged,
    checksum,
    place,
    refuse_rejected,
    register_no_features,
    register_no_items,
)
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.storage.uri import Uri

Place = Path | Uri


@dataclass(frozen=True)
class TableColumns:
    """The names of the table's columns."""

    user: str = "user"
    """Column of user ids, read as text; also the id column of --users."""
    item: str = "item"
    """Column of item ids, read as text; also the id column of --items."""
    timestamp: str = "timestamp"
    """Column of times: numbers of any unit, dates or timestamps (kept in microseconds since 1970,
    or in nanoseconds if some are finer)."""
    rating: str | None = None
    """Column of ratings, as numbers; null if there are none."""
    title: str | None = None
    """Column of titles in --items; null shows the item's id."""


@dataclass(frozen=True)
class TableConfig(Source):
    """Files and columns of --source table."""

    takes_places: ClassVar[bool] = True

    columns: TableColumns = field(default_factory=TableColumns)
    """Column names, such as --columns.user visitor_id."""
    table: str | None = None
    """Table or view to read, if --input is a DuckDB or SQLite file, or a URI such as
    postgresql://host/shop or mysql://host/shop."""
    query: Path | None = None
    """SQL file with one SELECT of DuckDB, over the tables of the database --input, or over the
    table `input`, the files of --input; its rows are the events."""
    glob: bool = False
    """Whether --input is a pattern, in which * and [] match names and ** any folders."""
    hive: bool = False
    """Whether folders key=value below --input are columns, as Hive, Spark and Polars write them."""
    items: Uri | Path | None = None
    """File with one row per item."""
    users: Uri | Path | None = None
    """File with one row per user."""
    header: bool = True
    """Whether the first line of a CSV --input names its columns; if not, their names are column0,
    column1 and so on."""
    item_features: tuple[str, ...] = ()
    """Columns of --items to use as categories, such as '[genres, brand]': lists of text, or text
    with values separated by |."""
    user_features: tuple[str, ...] = ()
    """Columns of --users to use as categories, one value per user."""

    def __post_init__(self) -> None:
        """Refuse feature columns without the table that contains them.

        Raises:
            ConfigError: the message names the missing setting.
        """
        for kind, path, names in (
            ("item", self.items, self.item_features),
            ("user", self.users, self.user_features),
        ):
            if names and path is None:
                raise ConfigError(
                    f"{kind}_features needs --{kind}s, the file that holds {names[0]}"
                )
            if len(set(names)) != len(names):
                raise ConfigError(f"{kind}_features names a column twice: {', '.join(names)}")
        for one, other in (("glob", "hive"), ("table", "query")):
            if getattr(self, one) and getattr(self, other):
                raise ConfigError(f"--{one} and --{other} exclude each other: give one of them")
        if self.columns.title is not None and self.items is None:
            raise ConfigError("columns.title needs --items, the file that holds it")

    def stage(self, database: Database, path: Place | Sequence[Place]) -> Staged:
        """Fill the staging tables from a user's table.

        Raises:
            DataError: a file or column is missing, or a value cannot be read.
            EnvironmentProblem: a URI cannot be reached, or an extension of DuckDB is missing.
        """
        places = [path] if isinstance(path, (Path, Uri)) else list(path)
        shown = str(self.query or ", ".join(map(str, places)))
        columns = self.columns
        ratings = {
            "user_source_id": SourceColumn("text", (columns.user,)),
            "is_user_inexact": SourceColumn("inexact", (columns.user,)),
            "item_source_id": SourceColumn("text", (columns.item,)),
            "is_item_inexact": SourceColumn("inexact", (columns.item,)),
            "event_time": SourceColumn("time", (columns.timestamp,)),
            "time_unit": SourceColumn("time_unit", (columns.timestamp,)),
            "rating": SourceColumn("number", (columns.rating,) if columns.rating else ()),
        }
        opened = _opened(database, self, places)
        parts = _load(database, "source_ratings", opened, ratings)
        database.table("parsed_ratings", "staging/table/parsed_ratings")
        database.drop("source_ratings")
        for row in database.rows("checks/unreadable_values"):
            where = place(parts, row["row_number"])
            raise DataError(f"{where}: {row['reason']}: correct the row")
        for row in database.rows("checks/merged_times"):
            where = place(parts, row["last_row_number"])
            raise DataError(
                f"{where}: user {row['user_source_id']} has timestamps {row['first_time']} and "
                f"{row['last_time']}, which differ by less than a millionth: round them, or give "
                "whole numbers of a smaller unit"
            )
        time_scale = int(database.rows("staging/table/time_scale")[0]["units"])
        database.table("ratings", "staging/table/ratings", time_scale=time_scale)
        database.drop("parsed_ratings")
        if not opened.is_ordered:
            _refuse_ties(database, opened)
        items = _stage_items(database, self)
        users = _stage_users(database, self)
        multiple = {r["feature"] for r in database.rows("staging/table/multiple_features")}
        kinds: dict[bool, FeatureKind] = {True: "multi", False: "single"}
        return Staged(
            ratings_file=shown,
            items_file=self.items,
            has_ratings=columns.rating is not None,
            item_features=tuple((name, kinds[name in multiple]) for name in self.item_features),
            user_features=tuple((name, "single") for name in self.user_features),
            files=tuple(map(checksum, (*opened.files, *items, *users))),
            latest_time=None,
            ratings_parts=parts,
            time_scale=time_scale,
        )

    def recorded(self) -> dict[str, Any]:
        """The names of the columns, and how the input was read."""
        doors = {"table": self.table, "query": self.query and self.query.name}
        layout = {"glob": self.glob, "hive": self.hive}
        given = {name: value for name, value in (doors | layout).items() if value}
        return {"columns": configuration.to_dict(self.columns), **given}


@dataclass(frozen=True)
class _Opened:
    """A source, the files on this machine that it reads, and whether its rows have an order."""

    source: SourceFiles
    files: tuple[Path, ...]
    is_ordered: bool = True


def _opened(database: Database, table: TableConfig, places: Sequence[Place]) -> _Opened:
    """The events: of a database, or of files, as they are or by a query."""
    of_databases = [place for place in places if databases.is_database(place)]
    queries = () if table.query is None else (table.query,)
    if of_databases:
        place = of_databases[0]
        if len(places) > 1 or table.glob or table.hive:
            raise ConfigError(
                f"{place} is a database: give it alone, without --glob and --hive, and join it "
                "with other data in a --query"
            )
        files = (place, *queries) if isinstance(place, Path) else queries
        if table.query is None:
            source, is_ordered = database.open_table(place, table.table)
        else:
            source, is_ordered = database.open_query(table.query, place)
        return _Opened(source, files, is_ordered)
    layout: Layout = "glob" if table.glob else "hive" if table.hive else "exact"
    read = found(places, layout, database.scratch)
    if table.table is not None:
        raise ConfigError(
            f"--table {table.table} names a table of a database, and {places[0]} is none: give a "
            "DuckDB or SQLite file, or a URI such as postgresql://host/shop"
        )
    source, paths = database.open(read, header=table.header), tuple(file.path for file in read)
    if table.query is None:
        return _Opened(source, paths)
    source, is_ordered = database.open_query(table.query, source)
    return _Opened(source, (*paths, *queries), is_ordered)


def _refuse_ties(database: Database, opened: _Opened) -> None:
    for row in database.rows("checks/tied_events"):
        where, user = opened.source.parts[0].shown, row["user_source_id"]
        raise DataError(
            f"{where} gives user {user} {row['num_events']} events at {row['event_time']} and no "
            "order of them: give a --query with an ORDER BY, by time and then by what tells "
            "events of one time apart"
        )


def _stage_items(database: Database, table: TableConfig) -> tuple[Path, ...]:
    if table.items is None:
        register_no_items(database)
        register_no_features(database, "item")
        return ()
    columns = table.columns
    described = {
        "item_source_id": SourceColumn("text", (columns.item,)),
        "is_inexact": SourceColumn("inexact", (columns.item,)),
        "title": SourceColumn("text", (columns.title,) if columns.title else ()),
        "feature_lists": SourceColumn("lists", table.item_features),
    }
    opened = _described(database, table.items)
    parts = _load(database, "source_items", opened, described)
    names = list(table.item_features)
    for row in database.rows("checks/unnamed_items"):
        raise DataError(f"{place(parts, row['row_number'])} {row['reason']}: correct the row")
    for row in database.rows("checks/written_lists", features=names):
        raise DataError(
            f"{place(parts, row['row_number'])}: {row['feature']} is {row['feature_value']!r}, a "
            "list written as text: give Parquet with lists, or text in which | separates values"
        )
    database.table("items", "staging/table/items", features=names)
    database.table("item_features", "staging/table/item_features", features=names)
    database.drop("source_items")
    return opened.files


def _stage_users(database: Database, table: TableConfig) -> tuple[Path, ...]:
    if table.users is None:
        register_no_features(database, "user")
        return ()
    described = {
        "user_source_id": SourceColumn("text", (table.columns.user,)),
        "is_inexact": SourceColumn("inexact", (table.columns.user,)),
        "feature_lists": SourceColumn("lists", table.user_features),
    }
    opened = _described(database, table.users)
    parts = _load(database, "source_users", opened, described)
    for row in database.rows("checks/unnamed_users"):
        raise DataError(f"{place(parts, row['row_number'])} {row['reason']}: correct the row")
    names = list(table.user_features)
    database.table("user_features", "staging/table/user_features", features=names)
    database.drop("source_users")
    return opened.files


def _described(database: Database, place: Place) -> _Opened:
    """A table of items or users."""
    files: list[InputFile] = found([place], "exact", database.scratch)
    return _Opened(database.open(files), tuple(file.path for file in files))


def _load(
    database: Database, name: str, opened: _Opened, columns: dict[str, SourceColumn]
) -> Parts:
    source = opened.source
    _refuse_missing(source, [c for column in columns.values() for c in column.columns])
    parts = database.load(name, source, columns)
    if any(part.is_text for part in source.parts):
        refuse_rejected(database)
    return parts


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
            "name the right ones with --columns, --item_features and --user_features"
        )


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False
