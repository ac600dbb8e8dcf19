"""Every mistake in raw input or settings: one sentence that names it, and nothing written."""

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.cli import app
from itrec_dist.data import schema
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.tasks.next_items.windows import WindowConfig, window

SMALL = WindowConfig(
    min_user_events=1, input_length=2, target_length=1, stride=1, validation_fraction=0.0
)
RATED = TableConfig(columns=TableColumns(rating="rating"))


def write_ml_1m(folder: Path, **changed: bytes) -> Path:
    """A tiny folder in MovieLens 1M's format; keywords replace whole files."""
    folder.mkdir(exist_ok=True)
    ratings = b"".join(b"%d::%d::4::%d\n" % (u, m, 9**8 + m) for u in (1, 2) for m in range(1, 7))
    movies = b"".join(b"%d::Film %d (199%d)::Drama|War\n" % (m, m, m) for m in range(1, 7))
    files = {"ratings": ratings, "movies": movies, "users": b"1::F::1::10::1\n2::M::56::3::2\n"}
    for name, content in (files | changed).items():
        (folder / f"{name}.dat").write_bytes(content)
    return folder


def refusal(source: str, path: Path, table: TableConfig | None = None) -> str:
    """The sentence with which windowing refuses; nothing may be left in its place."""
    out = path.parent / "refused"
    with pytest.raises(DataError) as caught:
        window(source, path, out, SMALL, table)
    assert not out.exists()
    assert not list(path.parent.glob(".refused*"))
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_the_small_folder_is_good(tmp_path):
    manifest = window("ml-1m", write_ml_1m(tmp_path / "in"), tmp_path / "out", SMALL)
    assert manifest.num_windows("train") == 8
    assert [f.name for f in manifest.user_features] == ["gender", "age", "occupation"]
    assert manifest.user_features[1].values == ("56+", "Under 18")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"1::7::4", "row 13"),
        (b"1::7::4::5::6", "row 13"),
        (b"1::7::good::5", "row 13"),
        (b"1::7::4::yesterday", "row 13"),
        (b"1::7::nan::5", "row 13 has the rating nan"),
        (b"1::7::inf::5", "row 13 has the rating inf"),
        (b"1::7::::5", "row 13 has no rating"),
        (b"1::7::1e300::5", "row 13 has the rating 1e+300, which is too large"),
        (b"::7::3::5", "row 13 has no user"),
        (b"1::::3::5", "row 13 has no item"),
        (b"1::7::3::", "row 13 has no timestamp"),
        (b"1::7::3::-5", "before 1970"),
        (b"1::7::3::99999999999", "after the year 2200"),
        (b"1::2::5::%d" % (9**8 + 2), "rows 2 and 13 both rate item 2 by user 1"),
        (b"\xff\xfe\x00::7::3::5", "row 13"),
    ],
)
def test_a_bad_rating_is_named_by_file_and_row(tmp_path, line, words):
    folder = write_ml_1m(tmp_path / "in")
    with (folder / "ratings.dat").open("ab") as file:
        file.write(line + b"\n")
    sentence = refusal("ml-1m", folder)
    assert words in sentence
    assert "ratings.dat" in sentence


def test_missing_and_empty_files(tmp_path):
    folder = write_ml_1m(tmp_path / "in")
    (folder / "movies.dat").unlink()
    assert "holds no movies.dat" in refusal("ml-1m", folder)
    assert "is not a folder" in refusal("ml-1m", tmp_path / "nowhere")
    assert "holds no ratings" in refusal("ml-1m", write_ml_1m(tmp_path / "in2", ratings=b""))
    assert "ratings.csv" in refusal("ml-csv", folder)


def test_movies_may_be_utf_8_or_latin_1_but_not_utf_16(tmp_path):
    lines = "".join(f"{m}::Misérables, Les (1995)::Drama\n" for m in range(1, 7))
    for encoding in ("utf-8", "latin-1"):
        folder = write_ml_1m(tmp_path / encoding, movies=lines.encode(encoding))
        window("ml-1m", folder, tmp_path / f"out-{encoding}", SMALL)
        items = pq.read_table(tmp_path / f"out-{encoding}" / schema.ITEMS_FILE).to_pylist()
        assert {i["title"] for i in items} == {"Misérables, Les (1995)"}
        assert {i["year"] for i in items} == {1995}
    folder = write_ml_1m(tmp_path / "utf-16", movies=lines.encode("utf-16"))
    assert "expected encoding, UTF-8 or ISO-8859-1" in refusal("ml-1m", folder)
    folder = write_ml_1m(tmp_path / "10m", movies=lines.encode("latin-1"))
    assert "movies.dat: row 1 is not text in the expected encoding, UTF-8" in refusal(
        "ml-10m", folder
    )


def test_items_and_users_described_twice(tmp_path):
    movies = b"1::A (1990)::War\n2::B (1991)::War\n1::C (1992)::War\n"
    sentence = refusal("ml-1m", write_ml_1m(tmp_path / "in", movies=movies))
    assert "rows 1 and 3" in sentence
    assert "movies.dat" in sentence
    users = b"1::F::1::10::1\n1::M::25::10::1\n"
    assert "user 1" in refusal("ml-1m", write_ml_1m(tmp_path / "in2", users=users))


def test_an_item_without_a_description_is_kept_and_counted(tmp_path):
    movies = b"1::A (1990)::War\n2::B (1991)::War\n"
    folder = write_ml_1m(tmp_path / "in", movies=movies)
    manifest = window("ml-1m", folder, tmp_path / "out", SMALL)
    items = pq.read_table(tmp_path / "out" / schema.ITEMS_FILE).to_pylist()
    assert items[5] == {
        "item_id": 6,
        "source_id": "6",
        "title": "6",
        "year": None,
        "genres": [],
        "feature_codes": [],
        "num_events": 2,
        "num_train_targets": 2,
    }
    assert manifest.source["undescribed_items"] == 4


def test_ml_csv_reads_quotes_half_stars_and_refuses_other_columns(tmp_path):
    (tmp_path / "in").mkdir()
    rows = "".join(f"{u},{m},3.5,{m}\n" for u in (1, 2) for m in range(1, 7))
    (tmp_path / "in/ratings.csv").write_text("userId,movieId,rating,timestamp\n" + rows)
    films = "".join(f'{m},"Film, The ""{m}"" (1999)",Drama|Sci-Fi\n' for m in range(1, 6))
    films += "6,No year,(no genres listed)\n"
    (tmp_path / "in/movies.csv").write_text("movieId,title,genres\n" + films)
    manifest = window("ml-csv", tmp_path / "in", tmp_path / "out", SMALL)
    items = pq.read_table(tmp_path / "out" / schema.ITEMS_FILE).to_pylist()
    assert items[0]["title"] == 'Film, The "1" (1999)'
    assert (items[5]["year"], items[5]["genres"]) == (None, [])
    assert manifest.rating_mean == 3.5
    assert [f.values for f in manifest.item_features] == [("Drama", "Sci-Fi"), ("1990s",)]
    (tmp_path / "in/ratings.csv").write_text("user,movie,stars,at\n" + rows)
    assert "the columns must be 'userId,movieId,rating,timestamp'" in refusal(
        "ml-csv", tmp_path / "in"
    )


def write_table(path: Path, **columns: list) -> Path:
    base = {
        "user": ["a"] * 4 + ["b"] * 4,
        "item": list("xyzwxyzw"),
        "timestamp": list(range(8)),
        "rating": [1.0] * 8,
    }
    pq.write_table(pa.table(base | columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"timestamp": [0, 1, 2, None, 4, 5, 6, 7]}, "row 4 has no timestamp"),
        ({"timestamp": [0, 1, -2, 3, 4, 5, 6, 7]}, "row 3 has the timestamp -2"),
        ({"timestamp": [0.0, 1e15 + 0.5, 2, 3, 4, 5, 6, 7]}, "is too large to be meant"),
        ({"timestamp": ["0", "2020-01-01", *"234567"]}, "is a date and those before it are"),
        ({"timestamp": [0.0, float("nan"), 2, 3, 4, 5, 6, 7]}, "row 2 has no timestamp"),
        ({"timestamp": ["0", "soon", *"234567"]}, "row 2: timestamp 'soon' is neither"),
        ({"timestamp": ["0", "9" * 24, *"234567"]}, "row 2: timestamp 999999999999999999999999 is"),
        ({"timestamp": [0, 2**63 - 1, *range(2, 8)]}, "is too large to be meant"),
        ({"rating": [1.0, float("nan"), *[1.0] * 6]}, "row 2 has the rating nan"),
        ({"rating": ["1", "2", "fine", *"12345"]}, "row 3: rating 'fine' is not a number"),
        ({"user": ["a", None, *"aabbbb"]}, "row 2 has no user"),
        ({"item": ["x", "", *"zwxyzw"]}, "row 2 has no item"),
    ],
)
def test_bad_values_of_a_table(tmp_path, columns, words):
    sentence = refusal("table", write_table(tmp_path / "t.parquet", **columns), RATED)
    assert words in sentence
    assert "t.parquet" in sentence


def test_files_and_columns_of_a_table(tmp_path):
    path = write_table(tmp_path / "t.parquet")
    other = TableConfig(columns=TableColumns(user="visitor"))
    assert "no column 'visitor', its columns are user, item, timestamp, rating" in refusal(
        "table", path, other
    )
    items = TableConfig(items=path, item_features=("brand",))
    assert "no column 'brand'" in refusal("table", path, items)
    assert "there is no file" in refusal("table", tmp_path / "absent.csv")
    (tmp_path / "empty.csv").write_text("")
    assert "is empty" in refusal("table", tmp_path / "empty.csv")
    (tmp_path / "header.csv").write_text("user,item,timestamp\n")
    assert "holds no events" in refusal("table", tmp_path / "header.csv")
    (tmp_path / "t.xlsx").write_text("x")
    assert "unknown kind" in refusal("table", tmp_path / "t.xlsx")
    (tmp_path / "broken.csv").write_text("user,item,timestamp\na,x,1\na,y\na,z,3\n")
    assert "broken.csv: line 3 " in refusal("table", tmp_path / "broken.csv")
    wide = "user,item,timestamp\na,x,1\na,y,2\n".encode("utf-16")
    (tmp_path / "wide.csv").write_bytes(wide)
    assert "wide.csv is not UTF-8 text" in refusal("table", tmp_path / "wide.csv")
    (tmp_path / "fake.parquet").write_text("user,item,timestamp\na,x,1\n")
    assert "fake.parquet" in refusal("table", tmp_path / "fake.parquet")


def test_a_csv_table_keeps_leading_zeros_and_reads_dates(tmp_path):
    rows = "".join(f"007,{i:03d},2020-01-01 00:00:0{i}.25\n" for i in range(5))
    rows += "".join(f"7,{i:03d},2020-01-02\n" for i in range(5))
    (tmp_path / "t.csv").write_text("user,item,timestamp\n" + rows)
    window("table", tmp_path / "t.csv", tmp_path / "out", SMALL)
    users = pq.read_table(tmp_path / "out" / schema.USERS_FILE).column("source_id")
    assert users.to_pylist() == ["7", "007"]
    times = pq.read_table(tmp_path / "out/train")["target_time"].to_pylist()
    moment = datetime.datetime(2020, 1, 1, 0, 0, 2, 250_000, tzinfo=datetime.UTC)
    assert max(times) == datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC).timestamp() * 1e6
    assert moment.timestamp() * 1e6 in times


def test_features_of_a_table_as_lists_and_as_cut_text(tmp_path):
    path = write_table(tmp_path / "t.parquet")
    items = pa.table(
        {
            "item": list("xyz"),
            "genres": [["War", "Ünder"], [], None],
            "tags": ["p | q", "q", ""],
            "name": ["X", None, "Z"],
        }
    )
    pq.write_table(items, tmp_path / "items.parquet")
    (tmp_path / "users.csv").write_text("user,plan\na,free\nb,\n")
    table = TableConfig(
        columns=TableColumns(title="name"),
        items=tmp_path / "items.parquet",
        users=tmp_path / "users.csv",
        item_features=("genres", "tags"),
        user_features=("plan",),
    )
    manifest = window("table", path, tmp_path / "out", SMALL, table)
    assert [(f.name, f.kind, f.values) for f in manifest.item_features] == [
        ("genres", "multi", ("War", "Ünder")),
        ("tags", "multi", ("p", "q")),
    ]
    found = pq.read_table(tmp_path / "out" / schema.ITEMS_FILE).to_pylist()
    by_id = {i["source_id"]: (i["title"], i["genres"], i["feature_codes"]) for i in found}
    assert by_id == {
        "x": ("X", ["War", "Ünder"], [0, 1, 2, 3]),
        "y": ("y", [], [3]),
        "z": ("Z", [], []),
        "w": ("w", [], []),
    }
    users = pq.read_table(tmp_path / "out" / schema.USERS_FILE).to_pylist()
    assert [u["user_features"] for u in users] == [[1], [0]]
    assert manifest.source["undescribed_items"] == 1


def test_a_user_feature_takes_one_value(tmp_path):
    path = write_table(tmp_path / "t.parquet")
    (tmp_path / "users.csv").write_text("user,plan\na,free|paid\n")
    table = TableConfig(users=tmp_path / "users.csv", user_features=("plan",))
    assert "user a 2 values of plan" in refusal("table", path, table)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target_length": 0}, "target_length is 0: give at least 1"),
        ({"input_length": 0}, "input_length"),
        ({"stride": 0}, "stride"),
        ({"top_items": 0}, "top_items"),
        ({"validation_fraction": 0.6, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"validation_fraction": -0.1}, "validation_fraction is -0.1"),
        ({"test_fraction": float("nan")}, "test_fraction is nan"),
        ({"protocol": "random"}, "random_windows, user_disjoint, leave_last, global_time"),
    ],
)
def test_impossible_settings(settings, words):
    with pytest.raises(ConfigError, match=words):
        WindowConfig(**settings)


def test_nothing_left_names_the_filter_and_the_counts(tmp_path):
    path = write_table(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"8 events by 2 users .* at least 15 of those"):
        window("table", path, tmp_path / "out", WindowConfig())
    few = WindowConfig(min_user_events=1)
    with pytest.raises(DataError, match=r"needs 15 events .* longest history has 4"):
        window("table", path, tmp_path / "out", few)


def test_settings_of_a_table_belong_to_table(tmp_path):
    with pytest.raises(ConfigError, match="--source table only"):
        window("ml-1m", write_ml_1m(tmp_path / "in"), tmp_path / "out", SMALL, RATED)
    with pytest.raises(ConfigError, match="no source 'ml-2m'"):
        window("ml-2m", tmp_path, tmp_path / "out", SMALL)
    with pytest.raises(ConfigError, match="needs --items"):
        TableConfig(item_features=("genres",))
    with pytest.raises(ConfigError, match="memory_limit"):
        window("ml-1m", tmp_path / "in", tmp_path / "o", WindowConfig(memory_limit="much"))


def test_the_command_line_prints_one_sentence_and_exits_with_2(tmp_path, capsys):
    folder = write_ml_1m(tmp_path / "in", ratings=b"oops\n")
    out = tmp_path / "out"
    arguments = ["window", "--source", "ml-1m", "--input", str(folder), "--out", str(out)]
    assert app.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("itrec: error: ")
    assert printed.err.count("\n") == 1
    assert "row 1" in printed.err
    assert app.main([*arguments, "--target-length", "0"]) == 2
    write_ml_1m(folder)
    small = ["--min-user-events=1", "--input-length=2", "--target-length=1"]
    assert app.main([*arguments, *small]) == 0
    text = capsys.readouterr().out
    assert "leakage audit" in text
    assert str(out) in text
