"""The windows in words, against rows written by hand."""

import json

import numpy as np
import pyarrow.parquet as pq

from itrec_dist.data import manifest
from itrec_dist.data.shards import reader, splits
from itrec_dist.data.shards.arrays import Users, Windows
from itrec_dist.training import samples
from tests.shards_factory import make_shards, random_windows


def windows_of(item_ids, ratings, target_ids):
    count = len(item_ids)
    return Windows(
        window_ids=np.arange(count),
        user_ids=np.arange(1, count + 1, dtype=np.int32),
        user_features=np.zeros((count, 2), dtype=np.int32),
        item_ids=np.array(item_ids, dtype=np.int32),
        ratings=np.array(ratings, dtype=np.float32),
        target_ids=np.array(target_ids, dtype=np.int32),
        target_ratings=np.ones((count, len(target_ids[0])), dtype=np.float32),
        target_time=np.zeros(count, dtype=np.int64),
        times=None,
    )


def described(tmp_path, windows, top):
    shards = tmp_path / "shards"
    found = make_shards(shards, {"train": random_windows()})
    items = reader.read_items(shards, found)
    names = tuple(f"user {i}" for i in range(found.num_users))
    users = Users(names, np.zeros(len(names), np.int64), np.zeros((len(names), 2), np.int32))
    return samples.describe(windows, np.array(top, dtype=np.int64), items, users)


def test_a_window_is_told_with_titles_ratings_and_hits(tmp_path):
    windows = windows_of([[0, 0, 3, 5]], [[0, 0, 4, 2.5]], [[7, 1]])
    (told,) = described(tmp_path, windows, [[1, 3, 9]])
    assert told["user"] == "user 0"
    assert [(m["title"], m["rating"]) for m in told["watched"]] == [
        ("Film 3 (1990)", 4.0), ("Film 5 (1990)", 2.5),
    ]  # fmt: skip
    assert [m["title"] for m in told["actual"]] == ["Film 7 (1990)", "Film 1 (1990)"]
    assert [(m["title"], m["is_hit"], m["is_seen"]) for m in told["predicted"]] == [
        ("Film 1 (1990)", True, False),
        ("Film 3 (1990)", False, True),
        ("Film 9 (1990)", False, False),
    ]
    assert told["watched"][1]["year"] is None  # the table has no year for every fifth film
    assert told["watched"][0]["year"] == 1983
    json.dumps(told, allow_nan=False)


def test_empty_places_are_left_out(tmp_path):
    windows = windows_of([[0, 0], [2, 3]], [[0, 0], [1, 0]], [[1], [2]])
    nothing, some = described(tmp_path, windows, [[1, 0, 0], [0, 0, 0]])
    assert nothing["watched"] == []
    assert len(nothing["predicted"]) == 1
    assert some["predicted"] == []
    assert [m["rating"] for m in some["watched"]] == [1.0, None]  # data without that rating


def test_a_run_shows_the_users_of_its_test_windows(trained, shards):
    told = json.loads((trained / "samples.json").read_text(encoding="utf-8"))
    assert told["split"] == "test"
    found = manifest.read(shards)
    windows = splits.read_split(shards, found, "test")
    users = reader.read_users(shards, found).source_ids
    items = pq.read_table(shards / "items.parquet")["title"].to_pylist()
    positions = np.unique(np.linspace(0, len(windows) - 1, 6).round().astype(int))
    assert len(told["users"]) == len(positions)
    for shown, position in zip(told["users"], positions, strict=True):
        assert shown["user"] == users[windows.user_ids[position] - 1]
        expected = [items[i - 1] for i in windows.target_ids[position]]
        assert [movie["title"] for movie in shown["actual"]] == expected
        assert len(shown["predicted"]) == found.target_length
        titles = {movie["title"] for movie in shown["actual"]}
        assert all(m["is_hit"] == (m["title"] in titles) for m in shown["predicted"])
