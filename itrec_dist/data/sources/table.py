"""Reading a table of one's own: any Parquet or CSV of users, items and timestamps.

Owns: the settings that map its columns, and refusing columns and values that do not fit. Leaves
to data/sources/staging.py what is common to all formats.
"""

from dataclasses import dataclass, field
from pathlib import Path

from itrec_dist.data.database import Database, SourceColumn
from itrec_dist.data.sources.staging import (
    FeatureKind,
    Staged,
    checksum,
    refuse_rejected,
    register_no_features,
    register_no_items,
)
from itrec_dist.errors import ConfigError, DataError

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv")


@dataclass(frozen=True)
class TableColumns:
    """What the columns of the table are called."""

    user: str = "user"
    """Who: read as text; also the id column of --users."""
    item: str = "item"
    """What: read as text; also the id column of --items."""
    timestamp: str = "timestamp"
    """When: whole numbers of any unit, or dates or timestamps (taken as microseconds)."""
    rating: str | None = None
    """How much: numbers; null if there are no ratings."""
    title: str | None = None
    """Title column of --items; null shows the item's id."""


@dataclass(frozen=True)
class TableConfig:
    """How `--source table` reads its files."""

    columns: TableColumns = field(default_factory=TableColumns)
    """Names of columns, such as --columns.user visitor_id."""
    items: Path | None = None
    """Parquet or CSV with one row per item."""
    users: Path | None = None
    """Parquet or CSV with one row per user."""
    item_features: tuple[str, ...] = ()
    """Columns of --items to use as categories, such as '[genres, brand]': lists of text, or text
    in which | separates values."""
    user_features: tuple[str, ...] = ()
    """Columns of --users to use as categories, one value per user."""

    def __post_init__(self) -> None:
        """Refuse feature columns without the table that holds them.

        Raises:
            ConfigError: names the setting that is missing.
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


def stage_table(database: Database, path: Path, table: TableConfig) -> Staged:
    """Fill the staging tables from a table of one's own.

    Raises:
        DataError: a file or column is missing, or a value cannot be read.
    """
    columns = table.columns
    ratings = {
        "user_source_id": SourceColumn("text", (columns.user,)),
        "item_source_id": SourceColumn("text", (columns.item,)),
        "event_time": SourceColumn("time", (columns.timestamp,)),
        "rating": SourceColumn("plain", (columns.rating,) if columns.rating else ()),
    }
    _load(database, "source_ratings", path, ratings, texts=(columns.user, columns.item))
    for row in database.rows("checks/unreadable_values"):
        raise DataError(
            f"{path}: row {row['row_number']}: {row['reason']}: give whole numbers or a column of "
            "type timestamp, and ratings that are numbers"
        )
    database.table("ratings", "staging/table/ratings")
    database.drop("source_ratings")
    _stage_items(database, table)
    _stage_users(database, table)
    multiple = {r["feature"] for r in database.rows("staging/table/multiple_features")}
    kinds: dict[bool, FeatureKind] = {True: "multi", False: "single"}
    return Staged(
        ratings_file=path,
        items_file=table.items,
        has_ratings=columns.rating is not None,
        item_features=tuple((name, kinds[name in multiple]) for name in table.item_features),
        user_features=tuple((name, "single") for name in table.user_features),
        files=tuple(
            checksum(file)
            for given in (path, table.items, table.users)
            if given is not None
            for file in _files(given)
        ),
        latest_time=None,
    )


def _stage_items(database: Database, table: TableConfig) -> None:
    if table.items is None:
        register_no_items(database)
        register_no_features(database, "item")
        return
    columns = table.columns
    described = {
        "item_source_id": SourceColumn("text", (columns.item,)),
        "title": SourceColumn("text", (columns.title,) if columns.title else ()),
        "feature_lists": SourceColumn("lists", table.item_features),
    }
    _load(database, "source_items", table.items, described, texts=(columns.item,))
    names = list(table.item_features)
    database.table("items", "staging/table/items", features=names)
    database.table("item_features", "staging/table/item_features", features=names)
    database.drop("source_items")


def _stage_users(database: Database, table: TableConfig) -> None:
    if table.users is None:
        register_no_features(database, "user")
        return
    described = {
        "user_source_id": SourceColumn("text", (table.columns.user,)),
        "feature_lists": SourceColumn("lists", table.user_features),
    }
    _load(database, "source_users", table.users, described, texts=(table.columns.user,))
    names = list(table.user_features)
    database.table("user_features", "staging/table/user_features", features=names)
    database.drop("source_users")


def _load(
    database: Database,
    name: str,
    path: Path,
    columns: dict[str, SourceColumn],
    texts: tuple[str, ...],
) -> None:
    files = _files(path)
    found = database.columns(files)
    wanted = [c for column in columns.values() for c in column.columns]
    missing = [c for c in wanted if c not in found]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r}, its columns are {', '.join(found)}: name the "
            "right ones with --columns, --item_features and --user_features"
        )
    database.load(name, files, columns, texts)
    if files[0].suffix != ".parquet":
        refuse_rejected(database)


def _files(path: Path) -> list[Path]:
    """The file itself, or the Parquet files of a folder by name."""
    if path.is_dir():
        files = sorted(path.glob("*.parquet"))
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
