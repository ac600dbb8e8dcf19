"""Given rows, expected rows: how many users and events have no window."""

from collections.abc import Iterator

import pyarrow as pa
import pytest

from itrec_dist.data.database import Database


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(memory_limit="200MB", threads=1) as opened:
        yield opened


def give(database: Database, table: str, columns: str, *rows: tuple) -> None:
    names = columns.split()
    database.register(table, pa.table({n: [row[i] for row in rows] for i, n in enumerate(names)}))


def run(database: Database, sql_name: str, **parameters) -> list[tuple]:
    return [tuple(row.values()) for row in database.rows(sql_name, **parameters)]


COVERED = {"input_length": 2, "target_length": 1}


def cover(database: Database) -> None:
    """User 1 has 8 events, user 2 has 3, user 3 has 2; the last one is for test."""
    kept = [(1, 8), (2, 3), (3, 2)]
    give(database, "kept_users", "user_id num_events", *kept)
    ranges = [(user, "train", 0, size - 1) for user, size in kept]
    ranges += [(user, "test", size - 1, size) for user, size in kept]
    ranges += [(user, "validation", size - 1, size - 1) for user, size in kept]
    give(database, "ranges", "user_id split first_target end_target", *ranges)
    targets = [(1, 2, "train"), (1, 6, "train"), (1, 7, "test"), (2, 2, "test")]
    give(database, "targets", "user_id target_place split", *targets)


def test_coverage_counts_users_and_events_that_no_window_holds(database):
    cover(database)
    found = run(database, "next_items/coverage", **COVERED, is_for_all=True)
    assert found == [
        ("any", 3, 1, 13, 3),  # user 1 lacks place 3 alone, user 3 both of its events
        ("train", 3, 2, 10, 4),
        ("validation", 3, 3, 0, 0),
        ("test", 3, 1, 3, 1),
    ]


def test_coverage_may_count_only_users_with_events_in_the_split(database):
    cover(database)
    found = run(database, "next_items/coverage", **COVERED, is_for_all=False)
    assert [row[:3] for row in found] == [("any", 3, 1), ("train", 3, 2), ("test", 3, 1)]


def test_coverage_of_windows_dealt_at_random_is_of_all_splits_together(database):
    cover(database)
    everything = pa.table(
        {
            "user_id": [1, 2, 3],
            "split": pa.nulls(3, pa.string()),
            "first_target": [0] * 3,
            "end_target": [8, 3, 2],
        }
    )
    database.register("ranges", everything)
    found = run(database, "next_items/coverage", **COVERED, is_for_all=False)
    assert found == [("any", 3, 1, 13, 3)]


def test_coverage_counts_an_event_of_several_windows_once(database):
    give(database, "kept_users", "user_id num_events", (1, 5))
    give(database, "ranges", "user_id split first_target end_target", (1, "train", 0, 5))
    give(database, "targets", "user_id target_place split", *[(1, p, "train") for p in (2, 3, 4)])
    found = run(database, "next_items/coverage", **COVERED, is_for_all=False)
    assert found == [("any", 1, 0, 5, 0), ("train", 1, 0, 5, 0)]


def test_coverage_of_ratings_counts_users_that_a_split_lacks(database):
    dealt = [(1, "train"), (1, "train"), (1, "test"), (2, "train"), (3, "test")]
    give(database, "dealt", "user_key split", *dealt)
    assert run(database, "ratings/coverage", is_for_all=True) == [
        ("any", 3, 0, 5, 0),
        ("train", 3, 1, 3, 0),
        ("test", 3, 1, 2, 0),
    ]
    assert [row[:3] for row in run(database, "ratings/coverage", is_for_all=False)] == [
        ("any", 3, 0),
        ("train", 2, 0),
        ("test", 2, 0),
    ]
