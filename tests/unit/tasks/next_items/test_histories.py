"""Histories on generated tables: against a slow twin, their invariants, and their files."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import manifest as manifests
from itrec_dist.data import schema
from itrec_dist.data.shards import splits
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import ConfigError, DataError, ShardsError
from itrec_dist.tasks.next_items.histories import HistoryConfig, NextItemsHistories, histories
from tests.cases import slow_after
from tests.histories_reference import Row, expected_histories
from tests.windowing_reference import Event

RATED = TableConfig(columns=TableColumns(rating="rating"))

SETTINGS = {
    "leave_one_out": [{}, {"max_length": 3}, {"repeats": "last"}],
    "leave_last": [
        {"target_length": 2, "max_length": 4, "overlap": 2},
        {"min_user_events": 4, "min_item_events": 5, "core": "iterative", "target_length": 3},
    ],
    "global_time": [
        {"validation_fraction": 0.2, "test_fraction": 0.25},
        {"target_length": 3, "horizon": 2, "max_length": 5, "overlap": 1},
        {"target_length": None, "horizon": 2},
        {"target_length": None, "validation_fraction": 0.4, "test_fraction": 0.3},
    ],
    "user_disjoint": [
        {"validation_fraction": 0.3, "test_fraction": 0.2, "seed": 4, "max_length": 2},
        {"target_length": 4, "repeats": "first", "min_user_events": 3},
    ],
}
CASES = [(protocol, chosen) for protocol, several in SETTINGS.items() for chosen in several]


def random_events(seed: int) -> list[Event]:
    """Shuffled events: ties in time, whole rows that repeat, users with one event or two."""
    rng = random.Random(seed)
    made = [
        Event(user, rng.choice(["1", "2", "10", "x", "y"]), rng.randrange(9), rng.randrange(1, 6))
        for user in ["7", "007", "u", "v", "w", "x1", "x2", "x3"]
        for _ in range(rng.choice([1, 2, 3, 8, 20]))
    ]
    rng.shuffle(made)
    return made


def written(tmp_path: Path, events: list[Event], config: HistoryConfig) -> Path:
    columns = {
        "user": [e.user for e in events],
        "item": [e.item for e in events],
        "timestamp": [e.time for e in events],
        "rating": [float(e.rating) for e in events],
    }
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    shards = tmp_path / "shards"
    histories("table", tmp_path / "events.parquet", shards, config, RATED, overwrite=True)
    return shards


def rows_of(shards: Path) -> list[Row]:
    """All rows in the order of their ids, in terms of the source, as the reader gives them."""
    made = manifests.read(shards)
    items, users = (
        ["", *pq.read_table(shards / file)["source_id"].to_pylist()]
        for file in (schema.ITEMS_FILE, schema.USERS_FILE)
    )
    found: dict[int, Row] = {}
    for split in made.splits:
        rows = splits.read_history_split(shards, made, split)
        for i in range(len(rows)):
            user = users[rows.user_ids[i]]

            def events(ids, times, ratings, user=user) -> tuple[Event, ...]:
                lists = (ids.tolist(), times.tolist(), ratings.tolist())
                return tuple(Event(user, items[n], t, r) for n, t, r in zip(*lists, strict=True))

            shown = events(rows.item_ids[i], rows.times[i], rows.ratings[i])
            held = events(rows.target_ids[i], rows.target_times[i], rows.target_ratings[i])
            context = int(rows.num_context[i])
            targets = shown[context:] if split == "train" else held
            seen = frozenset(items[n] for n in rows.seen_ids[i])
            found[int(rows.window_ids[i])] = Row(user, split, context, shown, targets, seen)
            if split == "train":
                assert not held
    assert sorted(found) == list(range(len(found)))
    return [found[number] for number in range(len(found))]


@pytest.mark.parametrize("seed", slow_after(1, range(3)))
@pytest.mark.parametrize(("protocol", "chosen"), slow_after(6, CASES[::-1]))
def test_histories_equal_those_of_the_slow_twin(tmp_path, protocol, chosen, seed):
    config = HistoryConfig(protocol=protocol, num_shards=2, **chosen)
    events = random_events(seed)
    wanted = expected_histories(events, config)
    shards = written(tmp_path, events, config)
    table = pq.read_table(shards / schema.ITEMS_FILE)
    assert table["source_id"].to_pylist() == wanted.items
    assert table["num_events"].to_pylist() == wanted.num_events
    assert rows_of(shards) == wanted.rows
    targets = Counter(e.item for row in wanted.rows if row.split == "train" for e in row.targets)
    assert table["num_train_targets"].to_pylist() == [targets[item] for item in wanted.items]


@pytest.mark.parametrize("protocol", slow_after(1, list(NextItemsHistories.protocols)))
def test_threads_do_not_change_the_fingerprint(tmp_path, protocol):
    length = {"target_length": 1 if protocol == "leave_one_out" else 2}
    prints = set()
    for threads in (1, 2):
        config = HistoryConfig(protocol, 3, threads=threads, **length)
        prints.add(manifests.read(written(tmp_path, random_events(5), config)).fingerprint)
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("max_length", "overlap"),
    slow_after(4, [(1, 0), (2, 1), (5, 3), (50, 0), (2, 0), (5, 0), (5, 1)]),
)
def test_every_event_but_the_first_is_learned_once_however_histories_are_cut(
    tmp_path, max_length, overlap
):
    config = HistoryConfig(max_length=max_length, overlap=overlap)
    events = random_events(8)
    learned, most = Counter(), 0
    for row in rows_of(written(tmp_path, events, config)):
        if row.split == "train":
            learned.update((row.user, event) for event in row.targets)
            most = max(most, len(row.events))
    wanted = Counter()
    for user in {e.user for e in events}:
        own = sorted((e for e in events if e.user == user), key=lambda e: e.time)
        kept = own[:-2] if len(own) > 2 else own
        wanted.update((user, event) for event in kept[1:])
    assert learned == wanted
    assert most <= max_length + 1


def test_what_is_dropped_stands_in_the_manifest_and_on_the_screen(tmp_path, itrec):
    events = [Event(f"u{u}", f"{i}", i, 1) for u in range(8) for i in range(4)]
    events += [Event("short", "0", 0, 1), Event("u0", "rare", 9, 1)]
    shards = written(tmp_path, events, HistoryConfig(min_user_events=2, min_item_events=2))
    read, left = manifests.read(shards).steps
    assert (read["ratings"], left["ratings"]) == (34, 32)
    assert left["users_share"] == pytest.approx(8 / 9)
    assert left["ratings_share"] == pytest.approx(32 / 34)
    code, out, _ = itrec(
        "window", "--samples", "histories", "--source", "table", "--input",
        tmp_path / "events.parquet", "--out", tmp_path / "other", "--min_user_events", "2",
        "--min_item_events", "2",
    )  # fmt: skip
    assert code == 0
    assert "dropping 5.9% of the events and 11.1% of the users" in out
    made = manifests.read(tmp_path / "other")
    assert (made.samples, made.max_length, made.input_length) == ("histories", 200, 200)


def test_a_user_too_short_to_be_judged_is_learned_from(tmp_path):
    events = [Event("two", "a", 0, 1), Event("two", "b", 1, 1), Event("one", "a", 0, 1)]
    events += [Event("three", item, time, 1) for time, item in enumerate("abc")]
    rows = rows_of(written(tmp_path, events, HistoryConfig()))
    assert [(row.user, row.split, len(row.events)) for row in rows] == [
        ("two", "train", 2),
        ("three", "validation", 1),
        ("three", "test", 2),
    ]
    coverage = {c.split: c for c in manifests.read(tmp_path / "shards").coverage}
    assert (coverage["any"].num_users, coverage["any"].num_users_without) == (3, 1)
    assert (coverage["test"].num_users, coverage["test"].num_users_without) == (3, 2)
    # The first event of "three" is all that training may have of them.
    assert coverage["train"].num_events_without == 2


def test_a_horizon_is_in_the_unit_of_the_source_whatever_unit_is_kept(tmp_path):
    config = HistoryConfig(
        protocol="global_time", target_length=3, horizon=2,
        validation_fraction=0.2, test_fraction=0.2,
    )  # fmt: skip
    whole = random_events(1)
    rows = rows_of(written(tmp_path, whole, config))
    later = [replace(event, time=event.time + 0.5) for event in whole]
    shifted = rows_of(written(tmp_path, later, config))
    assert sum(len(row.targets) for row in rows) > len(rows)

    def items(found: list[Row]) -> list[tuple]:
        return [(r.user, r.split, *(e.item for e in (*r.events, *r.targets))) for r in found]

    assert items(shifted) == items(rows)


def test_repeats_can_be_refused(tmp_path):
    events = [Event("u", "a", 0, 1), Event("u", "b", 1, 1), Event("u", "a", 2, 1)]
    with pytest.raises(DataError, match="user u has 2 events with item a"):
        written(tmp_path, events, HistoryConfig(repeats="refuse"))
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target_length": 2}, "leave_last"),
        ({"target_length": None}, "target_length is null and protocol leave_one_out"),
        ({"overlap": 200}, "less than max_length"),
        ({"horizon": 5}, "global_time"),
        ({"min_item_events": 0}, "at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        HistoryConfig(**given)


def test_a_reader_of_windows_refuses_histories(tmp_path):
    shards = written(tmp_path, random_events(1), HistoryConfig())
    with pytest.raises(ShardsError, match="hold histories"):
        splits.read_split(shards, manifests.read(shards), "train")


def test_rows_that_arrive_in_another_order_are_sorted(tmp_path):
    shards = written(tmp_path, random_events(1), HistoryConfig(num_shards=3))
    made = manifests.read(shards)

    def backwards(files, names):
        for file in reversed(files):
            table = pq.read_table(file, columns=list(names))
            yield table.take(np.arange(len(table))[::-1])

    straight = splits.read_history_split(shards, made, "train")
    turned = splits.read_history_split(shards, made, "train", backwards)
    assert turned.window_ids.tolist() == straight.window_ids.tolist()
    for i in range(len(straight)):
        assert turned.item_ids[i].tolist() == straight.item_ids[i].tolist()
        assert turned.times[i].tolist() == straight.times[i].tolist()


def test_a_task_has_histories_or_says_that_it_has_none(itrec, tmp_path):
    code, _, err = itrec(
        "window", "ratings", "--samples", "histories", "--source", "ml-1m", "--input", tmp_path,
        "--out", tmp_path / "x",
    )  # fmt: skip
    assert code == 2
    assert "the task ratings has no samples 'histories': give --samples windows" in err
