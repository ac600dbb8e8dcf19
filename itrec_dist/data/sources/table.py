"""Reads a user's own table of users, items and timestamps: files, a database's table, a query.

Owns the settings that map its columns, and refuses unsuitable values. Leaves opening the input to
data/sources/opening.py, what is common to all formats to data/sources/staging.py, and units of
times to data/sources/time_units.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from itrec_dist import config as configuration
from itrec_dist.data.database import Database
from itrec_dist.data.doors.files import Layout, Place
from itrec_dist.data.doors.memory import Rows
from itrec_dist.data.manifest import ORDER
from itrec_dist.data.source_files import SourceColumn
from itrec_dist.data.sources import numbers, plain_events, quotes, time_units
from itrec_dist.data.sources.opening import Door, Opened, load, opened, refuse_ties
from itrec_dist.data.sources.source import Source
from itrec_dist.data.sources.staging import (
    FeatureKind,
    Parts,
    Staged,
    checksum,
    place,
    register_no_features,
    register_no_items,
)
from itrec_dist.data.sources.time_units import TimeUnit
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.storage.uri import Uri


@dataclass(frozen=True)
class TableColumns:
    """The names of the table's columns."""

    user: str = "user"
    """Column of user ids, read as text; also the id column of --users."""
    item: str = "item"
    """Column of item ids, read as text; also the id column of --items."""
    timestamp: str | None = "timestamp"
    """Column of times: numbers of any unit, dates or timestamps (kept in microseconds since 1970,
    in nanoseconds if some are finer; without a zone they are UTC); null if there is only an
    order."""
    order: str | None = None
    """Column of numbers in the order of a user's events: of those at one time, or of all if
    columns.timestamp is null. Without it the order of the rows decides."""
    session: str | None = None
    """Column of session ids: a row without a user belongs to the user session:ID; null refuses such
    a row. To make each session a user, give its column as columns.user instead."""
    rating: str | None = None
    """Column of ratings, as numbers; null if there are none."""
    title: str | None = None
    """Column of titles in --items; null shows the item's id."""
    vector: str | None = None
    """Column of lists of numbers in --items (Parquet), all of one length, such as the vectors that
    a language model gives texts: item features for models over histories; null if there are none.
    """


@dataclass(frozen=True)
class TableConfig(Source):
    """Files and columns of --source table."""

    takes_places: ClassVar[bool] = True
    """URIs and several inputs too."""

    columns: TableColumns = field(default_factory=TableColumns)
    """Column names, such as --columns.user visitor_id."""
    table: str | None = None
    """Table or view to read, if --input is a DuckDB or SQLite file, or a URI such as
    postgresql://host/shop or mysql://host/shop."""
    query: Path | None = None
    """SQL file with one SELECT, whose rows are the events: of DuckDB, over the tables of the file
    --input, or over the table `input`, the files of --input; or of Postgres or MySQL, in the SQL of
    the server that is --input."""
    glob: bool = False
    """Whether --input is a pattern, in which * and [] match names and ** any folders."""
    hive: bool = False
    """Whether folders key=value below --input are columns, as Hive, Spark and Polars write them."""
    items: Uri | Path | None = None
    """File with one row per item."""
    users: Uri | Path | None = None
    """File with one row per user."""
    time_unit: TimeUnit | None = None
    """Unit of times that are numbers, counted from 1970: values that do not look like it are
    refused; null takes the unit in which all of them lie from 1996 to 2100, and numbers of any
    other unit and start as they are."""
    no_user: tuple[str, ...] = ("NA", "N/A", "NULL", "null", "NaN", "nan", "None")
    """Texts in the column of users that mean that there is none, where columns.session is given."""
    header: bool = True
    """Whether the first line of a CSV --input names its columns; if not, their names are column0,
    column1 and so on."""
    item_features: tuple[str, ...] = ()
    """Columns of --items to use as categories, such as '[genres, brand]': lists of text, or text
    with values separated by |."""
    user_features: tuple[str, ...] = ()
    """Columns of --users to use as categories, one value per user."""
    item_numbers: tuple[str, ...] = ()
    """Columns of --items with numbers, such as '[price, year]': each becomes the range, one of
    about ten with as many items, that it lies in, and that a category."""
    user_numbers: tuple[str, ...] = ()
    """Columns of --users with numbers, likewise."""

    event_features: tuple[str, ...] = ()
    """Columns of --input to use as categories of the events, such as '[device, channel]', one value
    per event; with --samples histories."""
    event_numbers: tuple[str, ...] = ()
    """Columns of --input with numbers, such as '[price, quantity]': each becomes the range, one of
    about twenty with as many events of training, that it lies in; with --samples histories."""

    def __post_init__(self) -> None:
        """Refuse feature columns without the table that contains them.

        Raises:
            ConfigError: the message names the missing setting.
        """
        for kind, path, names, numeric in (
            ("item", self.items, self.all_item_features, self.item_numbers),
            ("user", self.users, self.all_user_features, self.user_numbers),
        ):
            setting = f"{kind}_features" if len(names) > len(numeric) else f"{kind}_numbers"
            if names and path is None:
                raise ConfigError(f"{setting} needs --{kind}s, the file that holds {names[0]}")
            if len(set(names)) != len(names):
                also = f" with {kind}_numbers" if numeric else ""
                raise ConfigError(f"{setting}{also} names a column twice: {', '.join(names)}")
        events = self.event_columns
        if twice := [name for name in events if events.count(name) > 1]:
            raise ConfigError(
                f"event_features and event_numbers together name {twice[0]} twice: name it once"
            )
        for name in ("title", "vector"):
            if getattr(self.columns, name) is not None and self.items is None:
                raise ConfigError(f"columns.{name} needs --items, the file that holds it")
        for one, other in (("glob", "hive"), ("table", "query")):
            if getattr(self, one) and getattr(self, other):
                raise ConfigError(f"--{one} and --{other} exclude each other: give one of them")
        self._check_times()

    @property
    def all_item_features(self) -> tuple[str, ...]:
        """Categories, then numbers."""
        return self.item_features + self.item_numbers

    @property
    def all_user_features(self) -> tuple[str, ...]:
        """Categories, then numbers."""
        return self.user_features + self.user_numbers

    @property
    def event_columns(self) -> tuple[str, ...]:
        """Categories, then numbers."""
        return self.event_features + self.event_numbers

    def _check_times(self) -> None:
        columns = self.columns
        if columns.timestamp is not None:
            return
        if columns.order is None:
            raise ConfigError(
                "columns.timestamp and columns.order are both null: name the column that says when "
                "events happened, or the one that says in which order"
            )
        if self.time_unit is not None:
            raise ConfigError(
                f"time_unit is {self.time_unit} and columns.timestamp is null: without times there "
                "is no unit, leave it out"
            )

    def stage(
        self, database: Database, path: Place | Sequence[Place], events: Opened | None = None
    ) -> Staged:
        """Fill the staging tables from a user's table, whose `events` may have been opened before.

        Raises:
            DataError: a file or column is missing, or a value cannot be read.
            EnvironmentProblem: a URI cannot be reached, or the package for it is missing.
        """
        places = (path,) if isinstance(path, (Path, Uri, Rows)) else tuple(path)
        layout: Layout = "glob" if self.glob else "hive" if self.hive else "exact"
        if events is None:
            events = opened(database, Door(layout, self.table, self.query, self.header), places)
        shown = events.shown if self.query else ", ".join(map(str, places))
        parts, facts, rows = self._stage_ratings(database, events)
        unit = ORDER
        if self.columns.timestamp:
            unit = time_units.settled(facts, self.time_unit, shown)
        items = _stage_items(database, self)
        users = _stage_users(database, self)
        numbers.to_ranges(database, self.user_numbers, self.item_numbers)
        multiple = {r["feature"] for r in database.rows("staging/table/multiple_features")}
        kinds: dict[bool, FeatureKind] = {True: "multi", False: "single"}
        return Staged(
            ratings_file=shown,
            items_file=self.items,
            has_ratings=self.columns.rating is not None,
            item_features=tuple((n, kinds[n in multiple]) for n in self.all_item_features),
            user_features=tuple((name, "single") for name in self.all_user_features),
            event_features=(
                *((name, "category") for name in self.event_features),
                *((name, "number") for name in self.event_numbers),
            ),
            files=tuple(map(checksum, (*events.files, *items, *users))),
            latest_time=None,
            ratings_parts=parts,
            time_unit=unit,
            time_scale=time_units.scale(facts),
            source_rows=rows,
            warnings=(*_doubts(database), *time_units.doubts(facts, shown)),
        )

    def _stage_ratings(
        self, database: Database, events: Opened
    ) -> tuple[Parts, Mapping[str, Any], pa.ChunkedArray | None]:
        """Fill `ratings`; returns the files, what their times look like, and where rows stood."""
        columns, ordered = self._mapped(), self.columns.order is not None
        if self.columns.timestamp and not (ordered or self.columns.session or self.event_columns):
            plain = plain_events.stage(database, events, columns)
            if plain is not None:
                return *plain, None
        parts = self._stage_events(database, events, columns)
        how = "ratings" if self.columns.timestamp else "ordered_ratings"
        database.table("ratings", f"staging/table/{how}")
        facts = database.rows("staging/table/time_facts")[0]
        rows = None
        if ordered:
            rows = database.arrow("staging/table/source_rows").column("source_row")
        database.drop("parsed_ratings")
        return parts, facts, rows

    def _mapped(self) -> dict[str, SourceColumn]:
        """How the columns of the events are read, by the names that the SQL files know."""
        columns = self.columns

        def optional(name: str | None) -> tuple[str, ...]:
            return () if name is None else (name,)

        times = optional(columns.timestamp)
        mapped = {
            "user_source_id": SourceColumn("text", (columns.user,)),
            "is_user_inexact": SourceColumn("inexact", (columns.user,)),
            "session_source_id": SourceColumn("text", optional(columns.session)),
            "is_session_inexact": SourceColumn("inexact", optional(columns.session)),
            "item_source_id": SourceColumn("text", (columns.item,)),
            "is_item_inexact": SourceColumn("inexact", (columns.item,)),
            "event_time": SourceColumn("time", times),
            "time_unit": SourceColumn("time_unit" if times else "text", times),
            "event_order": SourceColumn("number", optional(columns.order)),
            "rating": SourceColumn("number", optional(columns.rating)),
        }
        if self.event_columns:
            mapped["feature_texts"] = SourceColumn("texts", self.event_columns)
        return mapped

    def _stage_events(
        self, database: Database, events: Opened, mapped: Mapping[str, SourceColumn]
    ) -> Parts:
        """Fill `parsed_ratings`, in the order of the table, and refuse what cannot be read."""
        columns = self.columns
        parts = load(database, "source_ratings", events, mapped)
        quotes.refuse_unclosed(database, events.source, parts, header=self.header)
        has_sessions = columns.session is not None
        database.table(
            "parsed_ratings",
            "staging/table/parsed_ratings",
            no_user=list(self.no_user) if has_sessions else [],
            has_sessions=has_sessions,
        )
        if self.event_columns:
            self._stage_event_features(database, parts)
        database.drop("source_ratings")
        given = {"has_times": columns.timestamp is not None, "has_order": columns.order is not None}
        for row in database.rows("checks/unreadable_values", **given):
            where = place(parts, row["row_number"])
            raise DataError(f"{where}: {row['reason']}: correct the row")
        for row in database.rows("checks/merged_times"):
            where = place(parts, row["last_row_number"])
            raise DataError(
                f"{where}: user {row['user_source_id']} has timestamps {row['first_time']} and "
                f"{row['last_time']}, which differ by less than a millionth: round them, or give "
                "whole numbers of a smaller unit"
            )
        refuse_ties(database, events)
        return parts

    def _stage_event_features(self, database: Database, parts: Parts) -> None:
        """Fill `event_features`, and refuse numbers that cannot be read."""
        numbers = list(self.event_numbers)
        features = list(self.event_columns)
        for row in database.rows(
            "checks/unreadable_event_numbers", features=features, numbers=numbers
        ):
            raise DataError(
                f"{place(parts, row['row_number'])}: {row['feature']} is {row['feature_value']!r}, "
                "which is no finite number: correct it, leave it empty, or name the column in "
                "--event_features"
            )
        is_number = [name in numbers for name in features]
        database.table("event_features", "staging/table/event_features", is_number=is_number)

    def recorded(self) -> dict[str, Any]:
        """The names of the columns, and how the input was read."""
        doors = {"table": self.table, "query": self.query and self.query.name}
        layout = {"glob": self.glob, "hive": self.hive}
        given = {name: value for name, value in (doors | layout).items() if value}
        return {"columns": configuration.to_dict(self.columns), **given}


def _doubts(database: Database) -> tuple[str, ...]:
    """What is probably not meant in `ratings`, in sentences."""
    users = tuple(
        f"{row['num_rows']:,} of {row['num_all']:,} rows are of the user "
        f"{row['user_source_id']!r}: if that means that there is none, name the column of sessions "
        "with --columns.session, or as --columns.user to make each session a user"
        for row in database.rows("staging/table/suspected_no_user")
    )
    items = tuple(
        f"{row['num_rows']:,} of {row['num_all']:,} rows are of the item "
        f"{row['item_source_id']!r}: if that means that there is none, leave these rows out"
        for row in database.rows("staging/table/suspected_no_item")
    )
    return users + items


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
        "feature_lists": SourceColumn("lists", table.all_item_features),
        "vector": SourceColumn("vector", (columns.vector,) if columns.vector else ()),
    }
    file = opened(database, Door(), [table.items])
    parts = load(database, "source_items", file, described)
    names = list(table.all_item_features)
    for check in ("unnamed_items", "uneven_vectors"):
        for row in database.rows(f"checks/{check}"):
            raise DataError(f"{place(parts, row['row_number'])} {row['reason']}: correct the row")
    for row in database.rows("checks/written_lists", features=names):
        raise DataError(
            f"{place(parts, row['row_number'])}: {row['feature']} is {row['feature_value']!r}, a "
            "list written as text: give Parquet with lists, or text in which | separates values"
        )
    database.table("items", "staging/table/items", features=names)
    database.table("item_features", "staging/table/item_features", features=names)
    database.table("item_vectors", "staging/table/item_vectors")
    database.drop("source_items")
    return file.files


def _stage_users(database: Database, table: TableConfig) -> tuple[Path, ...]:
    if table.users is None:
        register_no_features(database, "user")
        return ()
    described = {
        "user_source_id": SourceColumn("text", (table.columns.user,)),
        "is_inexact": SourceColumn("inexact", (table.columns.user,)),
        "feature_lists": SourceColumn("lists", table.all_user_features),
    }
    file = opened(database, Door(), [table.users])
    parts = load(database, "source_users", file, described)
    for row in database.rows("checks/unnamed_users"):
        raise DataError(f"{place(parts, row['row_number'])} {row['reason']}: correct the row")
    names = list(table.all_user_features)
    database.table("user_features", "staging/table/user_features", features=names)
    database.drop("source_users")
    return file.files
