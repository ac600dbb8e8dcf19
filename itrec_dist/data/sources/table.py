"""Reads a user's own table: any Parquet or CSV file of users, items and timestamps.

Owns the settings that map its columns, and refuses unsuitable columns and values. Leaves what is
common to all formats to data/sources/staging.py.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from itrec_dist import config as configuration
from itrec_dist.data.database import Database
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

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv")


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

    columns: TableColumns = field(default_factory=TableColumns)
    """Column names, such as --columns.user visitor_id."""
    items: Path | None = None
    """Parquet or CSV file with one row per item."""
    users: Path | None = None
    """Parquet or CSV file with one row per user."""
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
        if self.columns.title is not None and self.items is None:
            raise ConfigError("columns.title needs --items, the file that holds it")

    def stage(self, database: Database, path: Path) -> Staged:
        """Fill the staging tables from a user's table.

        Raises:
            DataError: a file or column is missing, or a value cannot be read.
        """
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
        parts = _load(database, "source_ratings", path, ratings, header=self.header)
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
        _stage_items(database, self)
        _stage_users(database, self)
        multiple = {r["feature"] for r in database.rows("staging/table/multiple_features")}
        kinds: dict[bool, FeatureKind] = {True: "multi", False: "single"}
        return Staged(
            ratings_file=path,
            items_file=self.items,
            has_ratings=columns.rating is not None,
            item_features=tuple((name, kinds[name in multiple]) for name in self.item_features),
            user_features=tuple((name, "single") for name in self.user_features),
            files=tuple(
                checksum(file)
                for given in (path, self.items, self.users)
                if given is not None
                for file in _files(given)
            ),
            latest_time=None,
            ratings_parts=parts,
            time_scale=time_scale,
        )

    def recorded(self) -> dict[str, Any]:
        """The names of the columns."""
        return {"columns": configuration.to_dict(self.columns)}


def _stage_items(database: Database, table: TableConfig) -> None:
    if table.items is None:
        register_no_items(database)
        register_no_features(database, "item")
        return
    columns = table.columns
    described = {
        "item_source_id": SourceColumn("text", (columns.item,)),
        "is_inexact": SourceColumn("inexact", (columns.item,)),
        "title": SourceColumn("text", (columns.title,) if columns.title else ()),
        "feature_lists": SourceColumn("lists", table.item_features),
    }
    parts = _load(database, "source_items", table.items, described)
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


def _stage_users(database: Database, table: TableConfig) -> None:
    if table.users is None:
        register_no_features(database, "user")
        return
    described = {
        "user_source_id": SourceColumn("text", (table.columns.user,)),
        "is_inexact": SourceColumn("inexact", (table.columns.user,)),
        "feature_lists": SourceColumn("lists", table.user_features),
    }
    parts = _load(database, "source_users", table.users, described)
    for row in database.rows("checks/unnamed_users"):
        raise DataError(f"{place(parts, row['row_number'])} {row['reason']}: correct the row")
    names = list(table.user_features)
    database.table("user_features", "staging/table/user_features", features=names)
    database.drop("source_users")


def _load(
    database: Database,
    name: str,
    path: Path,
    columns: dict[str, SourceColumn],
    *,
    header: bool = True,
) -> Parts:
    source = database.open(_files(path), header=header)
    _refuse_missing(source, path, [c for column in columns.values() for c in column.columns])
    parts = database.load(name, source, columns)
    if source.is_text:
        refuse_rejected(database)
    return parts


def _refuse_missing(source: SourceFiles, path: Path, wanted: list[str]) -> None:
    for part in source.parts:
        for name in wanted:
            if len(same := source.named(part, name)) > 1:
                raise DataError(
                    f"{part.path} has {len(same)} columns {name!r} ({', '.join(same)}): rename all "
                    "but one, since which of them is meant cannot be told"
                )
        missing = [c for c in wanted if c not in part.types]
        if not missing:
            continue
        if source.is_text and any(_is_number(name) for name in part.types):
            raise DataError(
                f"{path} has no header, its first line is {', '.join(part.types)}: put the names of"
                " the columns there, or give --header false and --columns.user column0 and so on"
            )
        raise DataError(
            f"{part.path} has no column {missing[0]!r}, its columns are {', '.join(part.types)}: "
            "name the right ones with --columns, --item_features and --user_features"
        )


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def _in_natural_order(path: Path) -> list[tuple[int, int | str]]:
    """Sort key that puts part-2 before part-10."""
    pieces = re.split(r"([0-9]+)", path.name)
    return [(0, int(piece)) if n % 2 else (1, piece) for n, piece in enumerate(pieces)]


def _files(path: Path) -> list[Path]:
    """The file itself, or the Parquet files of a folder in natural order of their names."""
    if path.is_dir():
        files = sorted(sorted(path.glob("*.parquet")), key=_in_natural_order)
        if not files:
            raise DataError(f"{path} holds no *.parquet: give a file, or a folder of Parquet files")
        return files
    if not path.is_file():
        raise DataError(f"there is no file {path}: give a {' or '.join(SUFFIXES)} file")
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path} is of an unknown kind: give a {' or '.join(SUFFIXES)} file")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty: give a file with a header and one row per event")
    if path.suffix in (".csv", ".tsv"):
        with path.open("rb") as file:
            if b"\0" in file.read(4096):  # UTF-16 and the like
                raise DataError(f"{path} is not UTF-8 text: save it as UTF-8")
    return [path]
