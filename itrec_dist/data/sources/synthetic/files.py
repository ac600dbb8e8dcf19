"""Writes a generated data set block by block: MovieLens-1M's files, or tables in Parquet."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from itrec_dist.data.sources.synthetic.catalogue import Movies
from itrec_dist.data.sources.synthetic.people import AGES, People

Format = Literal["ml-1m", "parquet"]

ITEMS, USERS = "items.parquet", "users.parquet"
USER_FEATURES = ("gender", "age", "occupation")

_USERS_PER_TABLE = 65_536


class Ratings(Protocol):
    """Takes the ratings of one block of users after the other."""

    def write(self, rows: tuple[np.ndarray, ...]) -> None:
        """Append (E,) users, movies, stars and seconds."""


class Writer(Protocol):
    """Writes a data set into a folder."""

    ratings_file: str
    """Its name, by which a folder of this format is known."""
    columns: str
    """What the files hold, a line each, for the README."""

    def describe(self, folder: Path, movies: Movies, people: People) -> None:
        """Write movies and users."""

    def ratings(self, folder: Path) -> AbstractContextManager[Ratings]:
        """The file of ratings, open."""


class _TextRatings:
    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")

    def write(self, rows: tuple[np.ndarray, ...]) -> None:
        lines = zip(*(column.tolist() for column in rows), strict=True)
        text = "".join([f"{u}::{m}::{s}::{t}\n" for u, m, s, t in lines])
        self.file.write(text.encode("ascii"))


class MovieLensFiles:
    """The three text files of MovieLens-1M."""

    ratings_file = "ratings.dat"
    columns = """\
users.dat     UserID::Gender::Age::Occupation::Zip-code   (age: the lowest of its group)
movies.dat    MovieID::Title (Year)::Genre|Genre          (ISO-8859-1; first: leading genre)
ratings.dat   UserID::MovieID::Rating::Timestamp          (1 to 5; seconds since 1970)
"""

    def describe(self, folder: Path, movies: Movies, people: People) -> None:
        """See `Writer`."""
        _write_lines(folder / "movies.dat", movies.lines())
        _write_lines(folder / "users.dat", people.lines())

    @contextmanager
    def ratings(self, folder: Path) -> Iterator[Ratings]:
        """See `Writer`."""
        opened = _TextRatings(folder / self.ratings_file)
        with opened.file:
            yield opened


class _ParquetRatings:
    schema = pa.schema(
        [("user", pa.int64()), ("item", pa.int64()), ("rating", pa.int8()),
         ("timestamp", pa.int64())]
    )  # fmt: skip

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self.writer = writer

    def write(self, rows: tuple[np.ndarray, ...]) -> None:
        arrays = [
            pa.array(column, field.type) for column, field in zip(rows, self.schema, strict=True)
        ]
        self.writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))


class ParquetFiles:
    """Three tables for --source table."""

    ratings_file = "ratings.parquet"
    columns = """\
users.parquet     user, gender, age, occupation, zip      (age: the lowest of its group)
items.parquet     item, title, year, genres               (first: leading genre)
ratings.parquet   user, item, rating, timestamp           (1 to 5; seconds since 1970)
"""

    def describe(self, folder: Path, movies: Movies, people: People) -> None:
        """See `Writer`."""
        items = {
            "item": movies.ids, "title": movies.titles, "year": movies.years,
            "genres": movies.genres(),
        }  # fmt: skip
        pq.write_table(pa.table(items), folder / ITEMS)
        with pq.ParquetWriter(folder / USERS, _users(people, 0, 0).schema) as writer:
            for start in range(0, len(people.mildness), _USERS_PER_TABLE):
                writer.write_table(_users(people, start, start + _USERS_PER_TABLE))

    @contextmanager
    def ratings(self, folder: Path) -> Iterator[Ratings]:
        """See `Writer`."""
        path = folder / self.ratings_file
        with pq.ParquetWriter(path, _ParquetRatings.schema, compression="zstd") as writer:
            yield _ParquetRatings(writer)


WRITERS: dict[Format, Writer] = {"ml-1m": MovieLensFiles(), "parquet": ParquetFiles()}


def _users(people: People, start: int, stop: int) -> pa.Table:
    part = people.part(start, stop)
    gender = np.where(part.is_woman, "F", "M")
    return pa.table(
        {
            "user": pa.array(np.arange(start + 1, start + 1 + len(gender))),
            "gender": pa.array(gender, pa.string()),
            "age": pa.array(AGES[part.age_group]),
            "occupation": pa.array(part.occupation),
            "zip": pa.array([f"{code:05d}" for code in part.zip_code.tolist()], pa.string()),
        }
    )


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("iso-8859-1"))
