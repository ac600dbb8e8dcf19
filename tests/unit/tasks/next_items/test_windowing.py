"""`window` on generated tables: against a slow twin, its determinism, and its files."""

import itertools
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import manifest as manifests
from itrec_dist.data import schema
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import DataError, OutputError
from itrec_dist.tasks.next_items import audit as next_item_audit
from itrec_dist.tasks.next_items.repeats import Repeats
from itrec_dist.tasks.next_items.windows import NextItemsWindows, WindowConfig, window
from tests.cases import slow_after
from tests.windowing_reference import Event, expected

RATED = TableConfig(columns=TableColumns(rating="rating"))


def random_events(seed: int, *, users: int = 14, items: int = 9) -> list[Event]:
    """Shuffled events with many ties in time, items met again, and users with few events."""
    rng = random.Random(seed)
    made = [
        Event(f"u{user}", f"{item}", rng.randrange(12), rng.randrange(1, 6))
        for user in range(users)
        for item in rng.choices(range(items), k=rng.randrange(0, 24))
    ]
    rng.shuffle(made)
    seen: set[tuple[str, str, int]] = set()
    return [e for e in made if (k := (e.user, e.item, e.time)) not in seen and not seen.add(k)]


def write_events(path: Path, events: list[Event]) -> Path:
    columns = {
        "user": [e.user for e in events],
        "item": [e.item for e in events],
        "timestamp": [e.time for e in events],
        "rating": [float(e.rating) for e in events],
    }
    pq.write_table(pa.table(columns), path)
    return path


def read_split(shards: Path, split: str) -> list[dict]:
    files = manifests.read(shards).splits.get(split, ())
    return [row for file in files for row in pq.read_table(shards / file.name).to_pylist()]


@pytest.mark.parametrize("seed", slow_after(1, range(6)))
@pytest.mark.parametrize("protocol", NextItemsWindows.protocols)
def test_windows_equal_those_of_a_slow_reference(tmp_path, protocol, seed):
    events = random_events(seed)
    config = WindowConfig(
        top_items=6,
        min_user_events=6,
        input_length=3,
        target_length=2,
        stride=1 + seed % 3,
        protocol=protocol,
        validation_fraction=0.2,
        test_fraction=0.2 if seed % 2 else 0.0,
        seed=seed,
        num_shards=3,
    )
    wanted = expected(events, config)
    shards = tmp_path / "shards"
    manifest = window("table", write_events(tmp_path / "e.parquet", events), shards, config, RATED)

    items = pq.read_table(shards / schema.ITEMS_FILE).column("source_id").to_pylist()
    users = pq.read_table(shards / schema.USERS_FILE).column("source_id").to_pylist()
    assert items == wanted.items
    rows = [
        (row["window_id"], split, row)
        for split in schema.SPLITS
        for row in read_split(shards, split)
    ]
    assert sorted(number for number, _, _ in rows) == list(range(len(wanted.windows)))
    found = [
        (
            users[row["user_id"] - 1],
            tuple(items[i - 1] for i in row["item_ids"]),
            tuple(items[i - 1] for i in row["target_ids"]),
            row["target_time"],
            split,
        )
        for _, split, row in sorted(rows, key=lambda r: r[0])
    ]
    assert found == wanted.windows
    assert manifest.num_windows("train") == sum(w[4] == "train" for w in wanted.windows)


@pytest.mark.parametrize("protocol", slow_after(1, list(NextItemsWindows.protocols)))
def test_threads_and_shard_names_do_not_change_the_fingerprint(tmp_path, protocol):
    path = write_events(tmp_path / "e.parquet", random_events(3, users=40))
    settings = {"input_length": 3, "target_length": 2, "min_user_events": 6, "protocol": protocol}
    prints = set()
    for number, threads in enumerate((1, 2, 2)):
        config = WindowConfig(threads=threads, **settings)
        out = tmp_path / f"shards{number}"
        prints.add(window("table", path, out, config, RATED).fingerprint)
        prints.add(manifests.read(out).fingerprint)
    assert len(prints) == 1
    other = WindowConfig(stride=3, **settings)
    assert window("table", path, tmp_path / "other", other, RATED).fingerprint not in prints


def test_the_order_of_ties_is_the_order_of_rows(tmp_path):
    events = [Event("a", name, 7, 1) for name in "dbca"]
    config = WindowConfig(
        min_user_events=1, input_length=2, target_length=2, validation_fraction=0.0
    )
    shards = tmp_path / "shards"
    window("table", write_events(tmp_path / "e.parquet", events), shards, config, RATED)
    items = pq.read_table(shards / schema.ITEMS_FILE).column("source_id").to_pylist()
    (row,) = read_split(shards, "train")
    assert [items[i - 1] for i in row["item_ids"] + row["target_ids"]] == list("dbca")


@pytest.fixture
def small(tmp_path):
    """A finished folder of one user with ten events, and the manifest it came with."""
    events = [Event("u", str(n % 5), n, 1 + n % 5) for n in range(10)]
    path = write_events(tmp_path / "e.parquet", events)
    config = WindowConfig(
        min_user_events=1, input_length=4, target_length=2, stride=2, validation_fraction=0.34
    )
    shards = tmp_path / "shards"
    return path, shards, config, window("table", path, shards, config, RATED)


def test_files_have_the_columns_of_the_contract(small):
    _, shards, _, manifest = small
    assert json.loads((shards / schema.MANIFEST_FILE).read_text())["num_items"] == 5
    found = pq.read_schema(shards / manifest.splits["train"][0].name)
    assert [(f.name, str(f.type).replace(" not null", "")) for f in found] == [
        ("window_id", "int64"),
        ("user_id", "int32"),
        ("user_features", "list<element: int32>"),
        ("item_ids", "fixed_size_list<element: int32>[4]"),
        ("ratings", "fixed_size_list<element: float>[4]"),
        ("times", "fixed_size_list<element: int64>[4]"),
        ("target_ids", "fixed_size_list<element: int32>[2]"),
        ("target_ratings", "fixed_size_list<element: float>[2]"),
        ("target_time", "int64"),
    ]


def test_manifest_figures_are_those_of_the_training_windows(small):
    _, shards, _, manifest = small
    rows = read_split(shards, "train")
    ratings = [r for row in rows for r in row["ratings"]]
    mean = sum(ratings) / len(ratings)
    assert manifest.num_windows("train") == 2
    assert manifest.num_windows("validation") == 1
    assert manifest.rating_mean == pytest.approx(mean)
    variance = sum((r - mean) ** 2 for r in ratings) / len(ratings)
    assert manifest.rating_std == pytest.approx(variance**0.5)
    items = pq.read_table(shards / schema.ITEMS_FILE).to_pylist()
    targets = list(itertools.chain.from_iterable(row["target_ids"] for row in rows))
    assert [i["num_train_targets"] for i in items] == [targets.count(i["item_id"]) for i in items]


def test_histories_hold_the_latest_events_and_all_that_was_seen(small):
    _, shards, _, _ = small
    (row,) = pq.read_table(shards / schema.HISTORIES_FILE).to_pylist()
    items = pq.read_table(shards / schema.ITEMS_FILE).column("source_id").to_pylist()
    assert [items[i - 1] for i in row["item_ids"]] == ["1", "2", "3", "4"]
    assert row["ratings"] == [2.0, 3.0, 4.0, 5.0]
    assert row["seen_ids"] == [1, 2, 3, 4, 5]


def test_short_histories_are_padded_on_the_left(tmp_path):
    events = [Event("long", str(n), n, 1) for n in range(9)]
    events += [Event("s", "3", 5, 2), Event("s", "4", 6, 3)]
    config = WindowConfig(
        min_user_events=1, input_length=4, target_length=2, validation_fraction=0.0
    )
    shards = tmp_path / "shards"
    window("table", write_events(tmp_path / "e.parquet", events), shards, config, RATED)
    rows = pq.read_table(shards / schema.HISTORIES_FILE).to_pylist()
    assert rows[0]["item_ids"] == [0, 0, 1, 2]  # "s" comes first: its id is shorter
    assert rows[0]["ratings"] == [0.0, 0.0, 2.0, 3.0]


def test_without_ratings_zeros_are_written_and_said(tmp_path):
    path = write_events(tmp_path / "e.parquet", random_events(1))
    config = WindowConfig(min_user_events=1, input_length=3, target_length=2)
    shards = tmp_path / "shards"
    manifest = window("table", path, shards, config)
    assert (manifest.has_ratings, manifest.rating_mean, manifest.rating_std) == (False, 0.0, 1.0)
    assert all(set(row["ratings"]) == {0.0} for row in read_split(shards, "train"))


def test_a_second_run_refuses_and_overwrite_replaces_the_whole(small):
    path, shards, config, manifest = small
    with pytest.raises(OutputError, match="--overwrite"):
        window("table", path, shards, config, RATED)
    (shards / "train" / "stray.parquet").write_text("")
    again = window("table", path, shards, config, RATED, overwrite=True)
    assert again.fingerprint == manifest.fingerprint
    assert not (shards / "train" / "stray.parquet").exists()
    assert sorted(p.name for p in shards.parent.iterdir()) == ["e.parquet", "shards"]


def test_a_failed_run_leaves_nothing_behind(small):
    path, shards, config, manifest = small
    path.write_bytes(b"no parquet at all")
    with pytest.raises(Exception, match="parquet"):
        window("table", path, shards, config, RATED, overwrite=True)
    assert manifests.read(shards).fingerprint == manifest.fingerprint
    assert sorted(p.name for p in shards.parent.iterdir()) == ["e.parquet", "shards"]


def test_shards_are_even_contiguous_runs(tmp_path):
    path = write_events(tmp_path / "e.parquet", random_events(2, users=60))
    config = WindowConfig(
        min_user_events=5, input_length=3, target_length=2, stride=1, num_shards=7
    )
    shards = tmp_path / "shards"
    manifest = window("table", path, shards, config, RATED)
    sizes = [file.rows for file in manifest.splits["train"]]
    assert len(sizes) == 7
    assert max(sizes) - min(sizes) <= 1
    numbers = [row["window_id"] for row in read_split(shards, "train")]
    assert numbers == sorted(numbers)


def test_a_broken_promise_is_an_error_and_random_windows_promises_nothing():
    wholes = ("targets", "training_events", "num_users")
    counts = dict.fromkeys((*next_item_audit.EXPLANATIONS, *wholes), 0)
    for protocol, promised in next_item_audit.PROMISES.items():
        next_item_audit.LEAKAGE.checked(protocol, "test", counts)
        for name in promised:
            with pytest.raises(AssertionError, match=name):
                next_item_audit.LEAKAGE.checked(protocol, "test", counts | {name: 1})
    assert next_item_audit.PROMISES["random_windows"] == ()
    assert set(next_item_audit.PROMISES) == set(NextItemsWindows.protocols)


def test_repeats_are_kept_dropped_or_refused(tmp_path):
    events = [Event("u", item, time, 1) for time, item in enumerate("abacb")]
    again = write_events(tmp_path / "again.parquet", events)
    twice = write_events(tmp_path / "twice.parquet", [*events, events[0]])
    small = {"min_user_events": 1, "input_length": 2, "target_length": 1, "stride": 1}

    def items(path: Path, repeats: Repeats | None) -> list[str]:
        config = WindowConfig(**small, validation_fraction=0, repeats=repeats)
        made = window("table", path, tmp_path / "out", config, RATED, overwrite=True)
        assert ("repeats" in made.settings) == (repeats is not None)
        names = ["", *pq.read_table(tmp_path / "out" / schema.ITEMS_FILE)["source_id"].to_pylist()]
        first, *rest = read_split(tmp_path / "out", "train")
        ids = [*first["item_ids"], *(row["target_ids"][0] for row in (first, *rest))]
        return [names[i] for i in ids]

    assert items(again, None) == items(again, "keep") == list("abacb")
    assert items(again, "first") == list("abc")
    assert items(twice, "last") == list("acb")
    assert items(twice, "keep") == list("aabacb")
    for repeats, words in ((None, "rows 1 and 6 both"), ("refuse", "rows 1 and 6 both")):
        with pytest.raises(DataError, match=words):
            items(twice, repeats)
    with pytest.raises(DataError, match="user u has 2 events with item a and --repeats is refuse"):
        items(again, "refuse")


def test_steps_name_the_repeats_that_were_dropped(tmp_path):
    events = [Event("u", item, time, 1) for time, item in enumerate("abacb")]
    path = write_events(tmp_path / "t.parquet", events)
    config = WindowConfig(
        min_user_events=1, input_length=1, target_length=1, validation_fraction=0, repeats="first"
    )
    steps = window("table", path, tmp_path / "out", config, RATED).steps
    assert [(step["name"], step["ratings"]) for step in steps] == [
        ("read", 5),
        ("first of each user and item", 3),
        ("of the top 1,000 items", 3),
        ("of users with at least 1 of those", 3),
    ]
