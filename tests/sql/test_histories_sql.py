"""Given rows, expected rows: the files of sql/next_items/histories/ that cut and place, by hand."""

from collections.abc import Iterator

import pytest

from itrec_dist.data.database import Database
from itrec_dist.tasks.next_items import framing
from tests.sql.test_windows_sql import EVENTS, SEQUENCES, give, run

FOLDER = "next_items/histories"
RANGES = "user_id split first_target end_target"


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(memory_limit="200MB", threads=1) as opened:
        yield opened


def targets_of(database: Database, *, step: int, context: int, max_length: int) -> list[tuple]:
    database.table("judged", f"{FOLDER}/judged/leave_last")
    name = f"{FOLDER}/targets"
    database.table("targets", name, step=step, context=context, max_length=max_length)
    return run(database, name, step=step, context=context, max_length=max_length)


def test_last_events_are_held_out_of_those_who_keep_one(database):
    columns = "user_key user_id num_events num_counted split"
    give(database, "kept_users", columns, (0, 1, 5, 0, ""), (1, 2, 4, 0, ""), (2, 3, 1, 0, ""))
    found = run(database, f"{FOLDER}/ranges/leave_last", target_length=2)
    assert sorted(found) == [
        (1, "test", 3, 5), (1, "train", 0, 1), (1, "validation", 1, 3),
        (2, "test", 4, 4), (2, "train", 0, 4), (2, "validation", 4, 4),
        (3, "test", 1, 1), (3, "train", 0, 1), (3, "validation", 1, 1),
    ]  # fmt: skip


def test_long_histories_are_cut_from_the_newest_event_on(database):
    give(database, "ranges", RANGES, (1, "train", 0, 8), (1, "test", 8, 10), (2, "train", 0, 1))
    assert targets_of(database, step=3, context=1, max_length=3) == [
        (0, 1, "train", 0, 1, 2),
        (1, 1, "train", 1, 2, 5),
        (2, 1, "train", 4, 5, 8),
        (3, 1, "test", 5, 8, 10),
    ]
    assert targets_of(database, step=2, context=2, max_length=3)[:4] == [
        (0, 1, "train", 0, 1, 2),
        (1, 1, "train", 0, 2, 4),
        (2, 1, "train", 2, 4, 6),
        (3, 1, "train", 4, 6, 8),
    ]


def test_rows_hold_their_events_and_targets(database):
    give(database, "sequences", SEQUENCES, *[(1, p, 10 - p, p * 5, p / 2, True) for p in range(6)])
    give(database, "kept_users", "user_id num_events", (1, 6))
    give(database, "users", "user_id user_features", (1, [3]))
    give(database, "ranges", RANGES, (1, "train", 0, 3), (1, "test", 4, 6))
    targets_of(database, step=3, context=1, max_length=2)
    framing.histories(database)
    trained, judged = database.whole("windows").to_pylist()
    assert trained["item_ids"] == [10, 9, 8]
    assert (trained["num_context"], trained["target_ids"], trained["seen_ids"]) == (1, [9, 8], [])
    assert judged["item_ids"] == [8, 7]
    assert judged["times"] == [10, 15]
    assert judged["ratings"] == [1.0, 1.5]
    assert (judged["target_ids"], judged["target_times"]) == ([6, 5], [20, 25])
    assert judged["seen_ids"] == [7, 8, 9, 10]
    assert [row["target_ids"] for row in database.rows(f"{FOLDER}/split", split="train")] == [[]]
    assert [row["target_ids"] for row in database.rows(f"{FOLDER}/split", split="test")] == [[6, 5]]


def test_the_horizon_and_the_length_end_the_targets_of_a_date(database):
    give(database, "cuts", "validation_from test_from", (10, 20))
    give(database, "time_scale", "units", (1,))
    times = (1, 10, 12, 13, 20, 29)
    give(database, "sequences", SEQUENCES, *[(1, p, 1, t, 0.0, True) for p, t in enumerate(times)])
    ranges = [(1, "train", 0, 1), (1, "validation", 1, 4), (1, "test", 4, 6)]
    give(database, "ranges", RANGES, *ranges, (2, "validation", 0, 1))

    def judged(**given) -> list[tuple]:
        return sorted(run(database, f"{FOLDER}/judged/global_time", **given))

    assert judged(target_length=1, horizon=None) == [(1, "test", 4, 5), (1, "validation", 1, 2)]
    assert judged(target_length=9, horizon=3) == [(1, "test", 4, 5), (1, "validation", 1, 3)]
    assert judged(target_length=None, horizon=None) == [(1, "test", 4, 6), (1, "validation", 1, 4)]
    assert judged(target_length=None, horizon=9) == [(1, "test", 4, 5), (1, "validation", 1, 4)]
    assert judged(target_length=2, horizon=9) == [(1, "test", 4, 5), (1, "validation", 1, 3)]
    give(database, "time_scale", "units", (2,))
    assert judged(target_length=9, horizon=1) == [(1, "test", 4, 5), (1, "validation", 1, 2)]
    assert judged(target_length=9, horizon=5) == [(1, "test", 4, 6), (1, "validation", 1, 4)]


def test_infrequent_items_go_before_infrequent_users(database):
    events = [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1)]
    places = {0: iter(range(9)), 1: iter(range(9)), 2: iter(range(9))}
    rows = [(u, i, 0, 1.0, next(places[u]), 9 - i) for u, i in events]
    give(database, "events", f"{EVENTS} source_row", *rows)
    database.table("event_items", "next_items/event_items")
    database.table("frequent_items", f"{FOLDER}/frequent_items", min_item_events=2)
    found = run(database, f"{FOLDER}/filtered", min_user_events=2)
    assert sorted(found) == [(0, 0, 0, 1.0, 0, 9), (0, 1, 0, 1.0, 1, 8)]


def test_repeats_leave_the_first_or_the_last(database):
    rows = [(0, i, t, 1.0, t, 9 - t) for t, i in enumerate((4, 5, 4, 6))]
    give(database, "events", f"{EVENTS} source_row", *rows)
    first = run(database, "next_items/repeats", keeps_last=False)
    assert sorted((place, item, row) for _, item, _, _, place, row in first) == [
        (0, 4, 9), (1, 5, 8), (2, 6, 6),
    ]  # fmt: skip
    last = run(database, "next_items/repeats", keeps_last=True)
    assert sorted((place, item, row) for _, item, _, _, place, row in last) == [
        (0, 5, 8), (1, 4, 7), (2, 6, 6),
    ]  # fmt: skip


def test_the_catalogue_has_every_item_and_counts_those_of_training(database):
    give(database, "events", EVENTS, *[(0, i, 0, 1.0, p) for p, i in enumerate((3, 1, 1, 2, 3))])
    give(database, "counted", "user_key num_counted split", (0, 3, None))
    database.table("item_counts", f"{FOLDER}/item_counts")
    assert sorted(run(database, f"{FOLDER}/catalogue", top_items=None), key=lambda r: r[1]) == [
        (1, 1, 2),
        (3, 2, 1),
        (2, 3, 0),
    ]


def test_checks_name_events_that_are_learned_twice_or_never(database):
    give(database, "ranges", RANGES, (1, "train", 0, 4))
    columns = "window_id user_id split start_place first_target end_target"
    give(database, "targets", columns, (0, 1, "train", 0, 1, 4))
    assert run(database, "checks/history_targets") == []
    give(database, "targets", columns, (0, 1, "train", 0, 1, 3), (1, 1, "train", 0, 2, 3))
    assert sorted(run(database, "checks/history_targets")) == [(1, 2, 2), (1, 3, None)]


def test_checks_name_rows_whose_lists_do_not_agree(database):
    columns = (
        "window_id split num_context item_ids ratings times target_ids target_ratings "
        "target_times seen_ids"
    )
    good = ("train", 1, [1, 2], [0.0, 0.0], [0, 1], [2], [0.0], [1], [])
    judged = ("test", 2, [1, 2], [0.0, 0.0], [0, 1], [3], [0.0], [1], [1, 2])
    short = ("test", 2, [1, 2], [0.0], [0, 1], [3], [0.0], [1], [1, 2])
    empty = ("train", 2, [1, 2], [0.0, 0.0], [0, 1], [], [], [], [])
    unseen = (*judged[:-1], [])
    rows = [(n, *row) for n, row in enumerate((good, judged, short, empty, unseen))]
    give(database, "windows", columns, *rows)
    assert run(database, "checks/history_rows", max_length=3, target_length=1) == [(2,), (3,), (4,)]
