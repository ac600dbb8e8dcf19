"""Given files, expected rows: the files of sql/staging/."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from itrec_dist.data.database import Database


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(memory_limit="200MB", threads=1) as opened:
        yield opened


def stage(database: Database, tmp_path: Path, sql_name: str, content: str, **parameters) -> list:
    path = tmp_path / "source"
    path.write_bytes(content.encode(parameters.get("encoding", "utf-8")))
    rows = database.rows(f"staging/{sql_name}", path=path, **parameters)
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize(
    ("sql_name", "content"),
    [
        ("ml_dat/ratings", "7::x::4.5::12\n7::y::1::3\n"),
        ("ml_100k/ratings", "7\tx\t4.5\t12\r\n7\ty\t1\t3\r\n"),
        ("ml_csv/ratings", "userId,movieId,rating,timestamp\n7,x,4.5,12\n7,y,1,3\n"),
    ],
)
def test_ratings_keep_the_order_of_the_file(database, tmp_path, sql_name, content):
    assert stage(database, tmp_path, sql_name, content) == [("7", "x", 12, 4.5), ("7", "y", 3, 1.0)]


def test_a_line_that_does_not_parse_is_skipped_and_reported(database, tmp_path):
    assert (
        len(stage(database, tmp_path, "ml_dat/ratings", "7::x::4::12\n7::y\n\n7::z::u::3\n")) == 1
    )
    (rejected,) = database.rows("checks/rejected_lines")
    assert (rejected["line"], rejected["error_type"]) == (2, "MISSING COLUMNS")
    assert rejected["csv_line"] == "7::y"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_movies_of_ml_1m(database, tmp_path, encoding):
    content = (
        "1::Misérables, Les (1995)::Drama|Musical\n"
        "2::2001 (Director's (1968) Cut) (1999)::\n"
        '3::"Quoted" (19)::(no genres listed)\n'
    )
    assert stage(database, tmp_path, "ml_dat/items", content, encoding=encoding) == [
        ("1", "Misérables, Les (1995)", 1995, ["Drama", "Musical"]),
        ("2", "2001 (Director's (1968) Cut) (1999)", 1999, []),
        ("3", '"Quoted" (19)', None, []),
    ]


def test_movies_of_ml_100k_read_their_flags(database, tmp_path):
    flags = ["0"] * 19
    flags[4] = flags[18] = "1"
    unknown = ["1"] + ["0"] * 18
    content = f"5|Babe (1995)|01-Jan-1995||http://x|{'|'.join(flags)}\n"
    content += f"6|unknown||||{'|'.join(unknown)}\n"
    assert stage(database, tmp_path, "ml_100k/items", content, encoding="latin-1") == [
        ("5", "Babe (1995)", 1995, ["Children's", "Western"]),
        ("6", "unknown", None, []),
    ]


def test_ages_of_ml_100k_fall_into_the_ranges_of_ml_1m(database, tmp_path):
    ages = {
        "17": "Under 18",
        "18": "18-24",
        "24": "18-24",
        "25": "25-34",
        "34": "25-34",
        "35": "35-44",
        "44": "35-44",
        "45": "45-49",
        "49": "45-49",
        "50": "50-55",
        "55": "50-55",
        "56": "56+",
    }
    content = "".join(f"{age}|{age}|M|writer|12345\n" for age in ages) + "u||F||\n"
    rows = stage(database, tmp_path, "ml_100k/user_features", content)
    assert {user: value for user, feature, value in rows if feature == "age"} == ages
    assert [row for row in rows if row[0] == "u"] == [("u", "gender", "F")]


def test_codes_of_ml_1m_are_decoded(database, tmp_path):
    content = "1::F::1::10::48067\n2::M::99::77::x\n"
    assert stage(database, tmp_path, "ml_dat/user_features", content) == [
        ("1", "gender", "F"),
        ("1", "age", "Under 18"),
        ("1", "occupation", "K-12 student"),
        ("1", "region", "4"),
        ("2", "gender", "M"),
        ("2", "age", "99"),
        ("2", "occupation", "77"),
        ("2", "region", "x"),
    ]


def test_movie_features_are_genres_and_decades(database):
    columns = {"item_source_id": ["1", "2"], "release_year": [1999, None]}
    database.register("items", pa.table(columns | {"genres": [["War", "Drama"], ["War"]]}))
    rows = [tuple(row.values()) for row in database.rows("staging/movie_features")]
    assert sorted(rows) == [
        ("1", "decade", "1990s"),
        ("1", "genres", "Drama"),
        ("1", "genres", "War"),
        ("2", "genres", "War"),
    ]
