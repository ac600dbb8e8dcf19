"""A path names one file: signs of patterns and `key=value` folders in it mean nothing."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import schema
from itrec_dist.data.database import Database
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import DataError
from itrec_dist.storage import atomic
from itrec_dist.tasks.next_items.windows import WindowConfig, window
from tests.cases import slow_after
from tests.shards_factory import make_shards, random_windows

SMALL = WindowConfig(
    min_user_events=1, input_length=2, target_length=1, stride=1, validation_fraction=0.0
)
RATED = TableConfig(columns=TableColumns(rating="rating"))


def write(path: Path, user: str, ratings: tuple[float, ...] = (2.0, 3.0, 5.0)) -> Path:
    """Three events of one user, as Parquet or CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"user": [user] * 3, "item": list("xyz"), "timestamp": [1, 2, 3], "rating": ratings}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = zip(*columns.values(), strict=True)
        lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_movielens(folder: Path, source: str, user: str) -> Path:
    """Three ratings of one user, by name of the format."""
    folder.mkdir(parents=True)
    rows = [(user, item, 4, 9**8 + item) for item in (1, 2, 3)]
    if source == "ml-100k":
        flags = "|".join("0" * 19)
        files = {
            "u.data": "".join("\t".join(map(str, row)) + "\n" for row in rows),
            "u.item": "".join(f"{i}|Film {i} (1990)||||{flags}\n" for i in (1, 2, 3)),
            "u.user": f"{user}|30|M|writer|12345\n",
        }
    elif source == "ml-csv":
        lines = "".join(",".join(map(str, row)) + "\n" for row in rows)
        films = "".join(f"{i},Film {i} (1990),War\n" for i in (1, 2, 3))
        files = {
            "ratings.csv": "userId,movieId,rating,timestamp\n" + lines,
            "movies.csv": "movieId,title,genres\n" + films,
        }
    else:
        files = {
            "ratings.dat": "".join("::".join(map(str, row)) + "\n" for row in rows),
            "movies.dat": "".join(f"{i}::Film {i} (1990)::War\n" for i in (1, 2, 3)),
            "users.dat": f"{user}::M::25::10::1\n",
        }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def users_of(shards: Path) -> list[str]:
    return pq.read_table(shards / schema.USERS_FILE).column("source_id").to_pylist()


@pytest.mark.parametrize("suffix", slow_after(1, [".parquet", ".csv"]))
@pytest.mark.parametrize(
    ("name", "other"),
    slow_after(
        3, [("events[1]", "events1"), ("day*", "day1"), ("[!a]", "b"), ("q?", "qa"), ("**", "a")]
    ),
)
def test_a_file_s_name_is_no_pattern(tmp_path, name, other, suffix):
    write(tmp_path / f"{other}{suffix}", "wrong")
    path = write(tmp_path / f"{name}{suffix}", "right")
    window("table", path, tmp_path / "out", SMALL, RATED)
    assert users_of(tmp_path / "out") == ["right"]


@pytest.mark.parametrize("source", ["ml-1m", "ml-10m", "ml-100k", "ml-csv"])
def test_a_folder_s_name_is_no_pattern(tmp_path, source):
    write_movielens(tmp_path / "ml1", source, "1")
    folder = write_movielens(tmp_path / "ml[1]", source, "7")
    window(source, folder, tmp_path / "out", SMALL)
    assert users_of(tmp_path / "out") == ["7"]
    assert pq.read_table(tmp_path / "out" / schema.ITEMS_FILE)["year"].to_pylist() == [1990] * 3


def test_tables_of_items_and_users_are_read_by_their_exact_names(tmp_path):
    path = write(tmp_path / "events.csv", "u")
    for name, plan in (("about[1]", "paid"), ("about1", "free")):
        (tmp_path / f"{name}.csv").write_text(f"user,plan\nu,{plan}\n")
        pq.write_table(
            pa.table({"item": list("xyz"), "plan": [plan] * 3}), tmp_path / f"{name}.parquet"
        )
    table = TableConfig(
        items=tmp_path / "about[1].parquet", item_features=("plan",),
        users=tmp_path / "about[1].csv", user_features=("plan",),
    )  # fmt: skip
    manifest = window("table", path, tmp_path / "out", SMALL, table)
    assert [f.values for f in manifest.item_features] == [("paid",)]
    assert [f.values for f in manifest.user_features] == [("paid",)]


def test_our_own_shards_are_read_by_their_exact_names(tmp_path):
    wanted = make_shards(tmp_path / "shards[1]", {"train": random_windows(30, seed=1)})
    make_shards(tmp_path / "shards1", {"train": random_windows(30, seed=2)})
    shutil.copytree(tmp_path / "shards[1]", tmp_path / "plain")
    pairs = []
    for folder in ("shards[1]", "plain"):
        files = [tmp_path / folder / f.name for f in wanted.splits["train"]]
        with Database() as database:
            pairs.append(database.rows("next_items/baselines/cooccurrence", files=files))
    assert pairs[0] == pairs[1]


def test_cleanup_leaves_folders_of_similar_names_alone(tmp_path):
    other = tmp_path / ".run1.old.5"
    other.mkdir()
    atomic.finish_interrupted(tmp_path / "run[1]")
    assert other.is_dir()


def test_a_name_that_no_pattern_can_express_is_refused(tmp_path):
    path = write(tmp_path / "a\\b[1].parquet", "u")
    with pytest.raises(DataError, match="both a backslash and one of"):
        window("table", path, tmp_path / "out", SMALL, RATED)
    window("table", write(tmp_path / "a\\b.parquet", "u"), tmp_path / "out", SMALL, RATED)
    assert users_of(tmp_path / "out") == ["u"]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_folder_with_an_equals_sign_is_no_column(tmp_path, suffix):
    path = write(tmp_path / "user=acme" / "rating=1" / f"t{suffix}", "u")
    window("table", path, tmp_path / "out", SMALL, RATED)
    assert users_of(tmp_path / "out") == ["u"]
    assert pq.read_table(tmp_path / "out" / schema.HISTORIES_FILE)["ratings"].to_pylist() == [
        [3.0, 5.0]
    ]
    absent = TableConfig(columns=TableColumns(user="shop"))
    path = write(tmp_path / "shop=acme" / f"t{suffix}", "u")
    with pytest.raises(DataError, match="has no column 'shop'"):
        window("table", path, tmp_path / "out", SMALL, absent, overwrite=True)


@pytest.mark.parametrize("source", slow_after(1, ["ml-1m", "ml-100k", "ml-csv"]))
def test_a_folder_with_an_equals_sign_is_no_column_of_movielens(tmp_path, source):
    made = []
    for place in ("plain", "gender=F/rating=1/title=X/genre_names=Y/user_source_id=9/action=1"):
        folder = write_movielens(tmp_path / place, source, "7")
        made.append(window(source, folder, tmp_path / "out", SMALL, overwrite=True))
    assert made[0].fingerprint == made[1].fingerprint
    assert made[0].user_features == made[1].user_features


def test_shards_under_a_folder_with_an_equals_sign_give_the_same_pairs(tmp_path):
    place = tmp_path / "item_ids=1" / "target_ids=2"
    manifest = make_shards(place, {"train": random_windows(30)})
    shutil.copytree(place, tmp_path / "plain")
    pairs = []
    for folder in (place, tmp_path / "plain"):
        with Database() as database:
            files = [folder / f.name for f in manifest.splits["train"]]
            pairs.append(database.rows("next_items/baselines/cooccurrence", files=files))
    assert pairs[0] == pairs[1] != []
