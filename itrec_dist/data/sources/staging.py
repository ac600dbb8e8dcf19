"""Reads raw ratings, items and users into the tables that the windows are cut from.

Owns the steps shared by all formats, and refuses invalid input, naming file and row. Every format
ends in the same tables: `ratings`, `items`, `item_features`, `user_features` and, as keys,
`user_keys`, `item_keys` and `events`.
"""

import hashlib
import operator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from itrec_dist.data.database import Database
from itrec_dist.data.event_features import EventFeatureKind
from itrec_dist.data.manifest import Feature
from itrec_dist.errors import DataError

FeatureKind = Literal["single", "multi"]

Parts = tuple[tuple[Path | str, int], ...]
"""Files, by what messages call them, that were read in sequence, each with its number of rows."""


TITLE_WORDS = "title words"
"""Name of the item feature that holds them."""

_WITH_HEADER = (".csv", ".gz", ".tsv")
_ENCODING = "invalid encoding"  # as DuckDB calls it


@dataclass(frozen=True)
class Staged:
    """The result of staging: the features in order, and the files with their checksums."""

    ratings_file: Path | str
    """What messages call it."""
    items_file: Path | str | None
    has_ratings: bool
    item_features: tuple[tuple[str, FeatureKind], ...]
    user_features: tuple[tuple[str, FeatureKind], ...]
    files: tuple[dict[str, Any], ...]
    latest_time: int | None
    event_features: tuple[tuple[str, EventFeatureKind], ...] = ()
    """Columns of the events that are staged, as `event_features`."""
    more_user_features: tuple[tuple[str, FeatureKind], ...] = ()
    """Further staged features, beyond those of the paper's models."""
    ratings_parts: Parts = ()
    """The files of the ratings, if there are several."""
    time_scale: int = 1
    """How many units of `event_time` are one unit of the source's times; microseconds if it has
    dates."""
    time_unit: str = ""
    """Unit of the times; empty if unknown, manifest.ORDER if they are an order alone."""
    source_rows: pa.ChunkedArray | None = None
    """Where each rating stands in its files, counted from 0; None where `ratings` keeps that
    order."""
    warnings: tuple[str, ...] = ()
    """What is doubtful about the data, in sentences."""

    def row(self, row_number: int) -> int:
        """The row of its files, counted from 1, at which a row of `ratings` stands."""
        if self.source_rows is None:
            return row_number
        return int(self.source_rows[row_number - 1].as_py()) + 1

    def place(self, row_number: int) -> str:
        """File and row of a rating, counted from 1 in `ratings`, for error messages."""
        row_number = self.row(row_number)
        return place(self.ratings_parts or ((self.ratings_file, row_number),), row_number)


def place(parts: Parts, row_number: int) -> str:
    """Convert a row number over all parts to a file and its row, counted from 1."""
    *earlier, (last, _) = parts
    for path, num_rows in earlier:
        if row_number <= num_rows:
            return f"{path}: row {row_number}"
        row_number -= num_rows
    return f"{last}: row {row_number}"


def register_no_features(database: Database, kind: Literal["user", "item"]) -> None:
    """Create an empty `user_features` or `item_features`."""
    names = [f"{kind}_source_id", "feature", "feature_value"]
    database.register(
        f"{kind}_features", pa.schema([(n, pa.string()) for n in names]).empty_table()
    )


def register_no_items(database: Database) -> None:
    """Create an empty `items`."""
    columns = {
        "item_source_id": pa.string(),
        "title": pa.string(),
        "release_year": pa.int32(),
        "genres": pa.list_(pa.string()),
    }
    database.register("items", pa.schema(list(columns.items())).empty_table())


def register_no_vectors(database: Database) -> None:
    """Create an empty `item_vectors`, which a source may fill."""
    columns = {"item_source_id": pa.string(), "vector": pa.list_(pa.float32())}
    database.register("item_vectors", pa.schema(list(columns.items())).empty_table())


def key_events(database: Database, staged: Staged, *, may_repeat: bool = False) -> None:
    """Fill `user_keys`, `item_keys` and `events`, refusing invalid ratings.

    `may_repeat` is whether one user may rate one item twice at the same time.

    Raises:
        DataError: no ratings, an impossible value, or a rating or description given twice.
    """
    ratings_file = staged.ratings_file
    for row in database.rows(
        "checks/impossible_ratings",
        latest_time=staged.latest_time,
        has_ratings=staged.has_ratings,
    ):
        raise DataError(f"{staged.place(row['row_number'])} {row['reason']}: correct the row")
    if database.table("user_keys", "shared/user_keys") == 0:
        what = "rating" if staged.has_ratings else "event"
        raise DataError(f"{ratings_file} holds no {what}s: give a file with one {what} per row")
    database.table("item_keys", "shared/item_keys")
    database.view("keyed_ratings", "shared/keyed_ratings")
    database.table("events", "shared/events")
    database.drop("keyed_ratings", "ratings")  # what follows has their memory
    repeated = [] if may_repeat else database.rows("checks/duplicate_ratings")
    for row in sorted(repeated, key=operator.itemgetter("first_row_number")):
        first, last = row["first_row_number"], row["last_row_number"]
        rows = f"{ratings_file}: rows {staged.row(first)} and {staged.row(last)}"
        if len(staged.ratings_parts) > 1:
            rows = f"{staged.place(first)} and {staged.place(last)}"
        raise DataError(
            f"{rows} both rate item {row['item_source_id']} by user {row['user_source_id']} at "
            f"{row['event_time']}: remove one of them, as by drop_duplicates in pandas or SELECT "
            "DISTINCT, or give exact timestamps if both happened"
        )
    for row in database.rows("checks/repeated_descriptions"):
        raise DataError(
            f"{staged.items_file}: rows {row['first_row_number']} and {row['last_row_number']} "
            f"both describe item {row['source_id']}: keep one of them"
        )
    for row in database.rows("checks/repeated_user_features"):
        raise DataError(
            f"the user file gives user {row['source_id']} {row['num_values']} values of "
            f"{row['feature']}: describe each user once, with one value per feature"
        )
    database.register("time_scale", pa.table({"units": [staged.time_scale]}))


def add_title_words(database: Database, staged: Staged, least: int) -> Staged:
    """Make the words that stand in at least `least` titles a feature of the items.

    Raises:
        DataError: there are no titles, or no word stands in that many.
    """
    if TITLE_WORDS in dict(staged.item_features):
        raise DataError(
            f"item_features names a column {TITLE_WORDS}, as the words of titles are called: name "
            "it otherwise, or give title_words 0"
        )
    before = database.rows("shared/num_item_features")[0]["num_rows"]
    after = database.table(
        "item_features", "shared/title_words", words_name=TITLE_WORDS, least=least
    )
    if after == before:
        raise DataError(
            f"no word stands in {least} titles of {staged.items_file or 'the items'}: lower "
            "title_words, give titles (--items and --columns.title), or give title_words 0"
        )
    return replace(staged, item_features=(*staged.item_features, (TITLE_WORDS, "multi")))


def vocabulary(
    database: Database, kind: Literal["user", "item"], features: tuple[tuple[str, FeatureKind], ...]
) -> tuple[Feature, ...]:
    """Fill `user_vocabulary` or `item_vocabulary` and return it in the manifest's form."""
    names = [name for name, _ in features]
    filled = database.arrow(f"shared/{kind}_vocabulary", features=names)
    database.register(f"{kind}_vocabulary", filled)
    rows = filled.select(["feature", "feature_value"]).to_pylist()
    return tuple(
        Feature(name, how, tuple(r["feature_value"] for r in rows if r["feature"] == name))
        for name, how in features
    )


def checksum(path: Path) -> dict[str, Any]:
    """Name, size and SHA-256 of a source file, in the manifest's form."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def refuse_rejected(database: Database) -> None:
    """Raise DataError for the first line of a text file that did not parse, if any."""
    for row in database.rows("checks/rejected_lines"):
        where = f" in column {row['column_name']}" if row["column_name"] else ""
        problem = row["error_type"].lower()
        has_header = Path(row["file_path"]).suffix in _WITH_HEADER  # rows are counted without it
        raise DataError(
            f"{row['file_path']}: {'line' if has_header else 'row'} {row['line']} cannot be read "
            f"({problem}{where}): "
            f"{(row['csv_line'] or '')[:80]!r}{': save the file as UTF-8' * (problem == _ENCODING)}"
        )
