"""The base of the MovieLens formats: checks, reads and decodes their files."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from itrec_dist.data import sources
from itrec_dist.data.database import Database
from itrec_dist.data.sources.source import Source
from itrec_dist.data.sources.staging import (
    Staged,
    checksum,
    refuse_rejected,
    register_no_features,
)
from itrec_dist.errors import DataError

YEAR_2200 = 7_258_118_400
"""In seconds; the MovieLens formats have no later timestamp."""

ENCODING_NAMES = {"utf-8": "UTF-8", "latin-1": "ISO-8859-1"}


@dataclass(frozen=True)
class MovieLens(Source):
    """A folder of ratings, movies and possibly users, without settings."""

    name: ClassVar[str]
    """Its name for `--source`."""
    sql: ClassVar[str]
    """Folder under `sql/staging/`."""
    ratings: ClassVar[str]
    """Name of a file in the folder that `--input` names."""
    items: ClassVar[str]
    """Likewise."""
    users: ClassVar[str | None] = None
    """The same for users; None if there is no such file."""
    item_encodings: ClassVar[tuple[str, ...]] = ("utf-8",)
    """Tried in order; the first that decodes the item file is used."""
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Files, and the required first line of each."""

    def stage(self, database: Database, path: Path) -> Staged:
        """Fill the staging tables from a folder in this format.

        Raises:
            DataError: a file is missing or a line of it cannot be read.
        """
        files = [self.ratings, self.items] + ([self.users] if self.users else [])
        _check_folder(self.name, path, files)
        for file, header in self.headers:
            _check_header(path / file, header)
        database.table("ratings", f"staging/{self.sql}/ratings", path=path / self.ratings)
        encoding = _encoding(path / self.items, self.item_encodings)
        items = path / self.items
        database.table("items", f"staging/{self.sql}/items", path=items, encoding=encoding)
        database.table("item_features", "staging/movie_features")
        if self.users:
            described = f"staging/{self.sql}/user_features"
            database.table("user_features", described, path=path / self.users)
        else:
            register_no_features(database, "user")
        refuse_rejected(database)
        return Staged(
            ratings_file=path / self.ratings,
            items_file=items,
            has_ratings=True,
            item_features=(("genres", "multi"), ("decade", "single")),
            user_features=tuple((f, "single") for f in ("gender", "age", "occupation"))
            if self.users
            else (),
            files=tuple(checksum(path / file) for file in files),
            latest_time=YEAR_2200,
            time_unit="seconds",
            more_user_features=(("region", "single"),) if self.users else (),
        )


def _check_folder(name: str, folder: Path, files: list[str]) -> None:
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder: --source {name} reads {', '.join(files)} in one"
        )
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise DataError(
            f"{folder} holds no {' and no '.join(missing)}: --source {name} needs "
            f"{', '.join(files)}; the sources are {', '.join(sources.SOURCES)}"
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
