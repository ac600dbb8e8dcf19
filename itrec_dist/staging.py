"""Reading raw ratings, items and users into the tables that the windows are cut from.

Owns: the known formats, which files they consist of, and refusing what cannot be meant, naming
file and row. Every format ends in the same five tables: `ratings`, `items`, `item_features`,
`user_features` and, as keys, `user_keys`, `item_keys` and `events`.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from itrec_dist.database import Database
from itrec_dist.errors import DataError
from itrec_dist.manifest import Feature

YEAR_2200 = 7_258_118_400
"""Seconds: the MovieLens formats have no later timestamp."""

FeatureKind = Literal["single", "multi"]


@dataclass(frozen=True)
class Format:
    """A known raw format; file names are relative to the folder that `--input` names."""

    sql: str
    """Folder under `sql/staging/`."""
    ratings: str
    items: str
    users: str | None
    item_encodings: tuple[str, ...]
    """Tried in order; the first in which the item file decodes is taken."""
    headers: dict[str, str] = field(default_factory=dict)
    """First line that a file must have."""


FORMATS = {
    "ml-1m": Format("ml_dat", "ratings.dat", "movies.dat", "users.dat", ("utf-8", "latin-1")),
    "ml-10m": Format("ml_dat", "ratings.dat", "movies.dat", None, ("utf-8",)),
    "ml-100k": Format("ml_100k", "u.data", "u.item", "u.user", ("utf-8", "latin-1")),
    "ml-csv": Format(
        "ml_csv",
        "ratings.csv",
        "movies.csv",
        None,
        ("utf-8",),
        {"ratings.csv": "userId,movieId,rating,timestamp", "movies.csv": "movieId,title,genres"},
    ),
}
"""The MovieLens formats by the name that `--source` takes."""

_WITH_HEADER = (".csv", ".gz", ".tsv")

ENCODING_NAMES = {"utf-8": "UTF-8", "latin-1": "ISO-8859-1"}


@dataclass(frozen=True)
class Staged:
    """What staging found: the features in order, and the files with their checksums."""

    ratings_file: Path
    items_file: Path | None
    has_ratings: bool
    item_features: tuple[tuple[str, FeatureKind], ...]
    user_features: tuple[tuple[str, FeatureKind], ...]
    files: tuple[dict[str, Any], ...]
    latest_time: int | None
    more_user_features: tuple[tuple[str, FeatureKind], ...] = ()
    """Staged as well, for those who want more than what the paper's models are told."""


def stage_movielens(database: Database, name: str, folder: Path) -> Staged:
    """Fill the staging tables from a folder in one of FORMATS.

    Raises:
        DataError: a file is missing or a line of it cannot be read.
    """
    known = FORMATS[name]
    files = [known.ratings, known.items] + ([known.users] if known.users else [])
    _check_folder(name, folder, files)
    for file, header in known.headers.items():
        _check_header(folder / file, header)
    database.table("ratings", f"staging/{known.sql}/ratings", path=str(folder / known.ratings))
    encoding = _encoding(folder / known.items, known.item_encodings)
    path = str(folder / known.items)
    database.table("items", f"staging/{known.sql}/items", path=path, encoding=encoding)
    database.table("item_features", "staging/movie_features")
    if known.users:
        path = str(folder / known.users)
        database.table("user_features", f"staging/{known.sql}/user_features", path=path)
    else:
        register_no_features(database, "user")
    refuse_rejected(database)
    return Staged(
        ratings_file=folder / known.ratings,
        items_file=folder / known.items,
        has_ratings=True,
        item_features=(("genres", "multi"), ("decade", "single")),
        user_features=tuple((f, "single") for f in ("gender", "age", "occupation"))
        if known.users
        else (),
        files=tuple(checksum(folder / file) for file in files),
        latest_time=YEAR_2200,
        more_user_features=(("region", "single"),) if known.users else (),
    )


def register_no_features(database: Database, kind: Literal["user", "item"]) -> None:
    """Fill `user_features` or `item_features` with no rows."""
    names = [f"{kind}_source_id", "feature", "feature_value"]
    database.register(
        f"{kind}_features", pa.schema([(n, pa.string()) for n in names]).empty_table()
    )


def register_no_items(database: Database) -> None:
    """Fill `items` with no rows."""
    columns = {
        "item_source_id": pa.string(),
        "title": pa.string(),
        "release_year": pa.int32(),
        "genres": pa.list_(pa.string()),
    }
    database.register("items", pa.schema(list(columns.items())).empty_table())


def key_events(database: Database, staged: Staged) -> None:
    """Fill `user_keys`, `item_keys` and `events`, refusing ratings that cannot be meant.

    Raises:
        DataError: no ratings, an impossible value, or a rating or description given twice.
    """
    ratings_file = staged.ratings_file
    for row in database.rows(
        "checks/impossible_ratings",
        latest_time=staged.latest_time,
        has_ratings=staged.has_ratings,
    ):
        raise DataError(f"{ratings_file}: row {row['row_number']} {row['reason']}: correct the row")
    if database.table("user_keys", "windows/user_keys") == 0:
        raise DataError(f"{ratings_file} holds no ratings: give a file with one rating per row")
    database.table("item_keys", "windows/item_keys")
    database.table("events", "windows/events")
    for row in database.rows("checks/duplicate_ratings"):
        raise DataError(
            f"{ratings_file}: rows {row['first_row_number']} and {row['last_row_number']} both "
            f"rate item {row['item_source_id']} by user {row['user_source_id']} at "
            f"{row['event_time']}: keep one of them"
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
    database.drop("ratings")


def vocabulary(
    database: Database, kind: Literal["user", "item"], features: tuple[tuple[str, FeatureKind], ...]
) -> tuple[Feature, ...]:
    """Fill `user_vocabulary` or `item_vocabulary` and return it as the manifest has it."""
    names = [name for name, _ in features]
    database.table(f"{kind}_vocabulary", f"windows/{kind}_vocabulary", features=names)
    rows = database.rows(f"windows/{kind}_vocabulary", features=names)
    return tuple(
        Feature(name, how, tuple(r["feature_value"] for r in rows if r["feature"] == name))
        for name, how in features
    )


def checksum(path: Path) -> dict[str, Any]:
    """Name, size and SHA-256 of a source file, as the manifest has them."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def _check_folder(name: str, folder: Path, files: list[str]) -> None:
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: --source {name} reads {', '.join(files)} in one")
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise DataError(
            f"{folder} holds no {' and no '.join(missing)}: --source {name} needs "
            f"{', '.join(files)}; the sources are {', '.join(FORMATS)}, table"
        )


def _check_header(path: Path, header: str) -> None:
    with path.open("rb") as file:
        first = file.readline(4096).decode("utf-8-sig", errors="replace").strip()
    if first.replace('"', "") != header:
        raise DataError(
            f"{path}: row 1 is {first[:80]!r}, the columns must be {header!r}: give a file of this "
            "format, or --source table with its --columns"
        )


def _encoding(path: Path, encodings: tuple[str, ...]) -> str:
    content = path.read_bytes()
    expected = " or ".join(ENCODING_NAMES[e] for e in encodings)
    for encoding in encodings:
        try:
            content.decode(encoding)
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            continue
        if b"\0" in content:  # UTF-16 and the like decode as ISO-8859-1, into NULs
            line = content.count(b"\n", 0, content.index(b"\0")) + 1
            break
        return encoding
    raise DataError(
        f"{path}: row {line} is not text in the expected encoding, {expected}: convert the file"
    )


def refuse_rejected(database: Database) -> None:
    """Raise DataError for the first line of a text file that did not parse, if there is one."""
    for row in database.rows("checks/rejected_lines"):
        where = f" in column {row['column_name']}" if row["column_name"] else ""
        problem = row["error_type"].lower()
        has_header = Path(row["file_path"]).suffix in _WITH_HEADER  # rows are counted without it
        raise DataError(
            f"{row['file_path']}: {'line' if has_header else 'row'} {row['line']} cannot be read "
            f"({problem}{where}): "
            f"{(row['csv_line'] or '')[:80]!r}"
        )
