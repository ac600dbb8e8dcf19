"""The MovieLens formats: their files, and how each is staged."""

from dataclasses import dataclass, field
from pathlib import Path

from itrec_dist.data.database import Database
from itrec_dist.data.sources.staging import (
    Staged,
    checksum,
    refuse_rejected,
    register_no_features,
)
from itrec_dist.errors import DataError

YEAR_2200 = 7_258_118_400
"""Seconds: the MovieLens formats have no later timestamp."""


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


ENCODING_NAMES = {"utf-8": "UTF-8", "latin-1": "ISO-8859-1"}


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
    database.table("ratings", f"staging/{known.sql}/ratings", path=folder / known.ratings)
    encoding = _encoding(folder / known.items, known.item_encodings)
    database.table(
        "items", f"staging/{known.sql}/items", path=folder / known.items, encoding=encoding
    )
    database.table("item_features", "staging/movie_features")
    if known.users:
        database.table(
            "user_features", f"staging/{known.sql}/user_features", path=folder / known.users
        )
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
