"""Given rows, expected rows: the files of sql/windows/ and sql/checks/, one by one."""

import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pytest

from itrec_dist.data.database import Database
from itrec_dist.tasks.next_items import audit, framing


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(memory_limit="200MB", threads=1) as opened:
        yield opened


def give(database: Database, table: str, columns: str, *rows: tuple) -> None:
    """Fill `table` with rows; whole numbers become bigint, as in the source tables."""
    names = columns.split()
    database.register(table, pa.table({n: [row[i] for row in rows] for i, n in enumerate(names)}))


def run(database: Database, sql_name: str, **parameters) -> list[tuple]:
    return [tuple(row.values()) for row in database.rows(sql_name, **parameters)]


def rows_of(database: Database, table: str) -> list[tuple]:
    return [tuple(row.values()) for row in database.whole(table).to_pylist()]


EVENTS = "user_key item_key event_time rating raw_place"
SEQUENCES = "user_id place item_id event_time rating is_counted"


def test_keys_follow_the_length_and_then_the_letters(database):
    give(database, "ratings", "user_source_id", *[(name,) for name in ("10", "9", "b", "a", "9")])
    assert sorted(run(database, "shared/user_keys"), key=lambda r: r[2]) == [
        ("9", "9", 0, 2),
        ("a", "a", 1, 1),
        ("b", "b", 2, 1),
        ("10", "10", 3, 1),
    ]


def test_events_order_by_time_and_then_by_row(database):
    columns = "user_source_id item_source_id event_time rating"
    rows = [("u", "b", 5, 1.0), ("u", "c", 3, 2.0), ("u", "a", 5, None), ("v", "a", 0, 4.0)]
    give(database, "ratings", columns, *rows)
    for kind in ("user", "item"):
        database.table(f"{kind}_keys", f"shared/{kind}_keys")
    database.view("keyed_ratings", "shared/keyed_ratings")
    assert run(database, "shared/events") == [
        (0, 2, 3, 2.0, 0, 1),
        (0, 1, 5, 1.0, 1, 0),
        (0, 0, 5, 0.0, 2, 2),
        (1, 0, 0, 4.0, 0, 3),
    ]


@pytest.mark.parametrize(
    ("validation", "test", "cuts"),
    [(0.2, 0.2, (7, 9)), (0.2, 0.0, (9, 11)), (0.0, 0.2, (9, 9)), (0.0, 0.0, (11, 11))],
)
def test_cuts_give_each_side_its_share_of_raw_ratings(database, validation, test, cuts):
    give(database, "events", "event_time", *[(time,) for time in range(1, 11)])
    database.table("moments", "shared/moments")
    found = run(database, "shared/cuts", validation_fraction=validation, test_fraction=test)
    assert found == [cuts]


def test_cuts_leave_ties_on_one_side(database):
    give(database, "events", "event_time", *[(t,) for t in (1, 1, 1, 7, 7, 7, 7, 7, 7, 9)])
    database.table("moments", "shared/moments")
    assert run(database, "shared/cuts", validation_fraction=0.2, test_fraction=0.0) == [(7, 10)]


def test_users_are_dealt_by_the_digest_of_seed_and_name(database):
    names = [f"user{n}" for n in range(10)]
    give(database, "events", EVENTS, *[(n, 0, 0, 1.0, p) for n in range(10) for p in range(n + 1)])
    give(database, "user_keys", "user_source_id user_key", *[(x, n) for n, x in enumerate(names)])
    database.table("event_users", "next_items/event_users")
    found = run(
        database,
        "next_items/counted/user_disjoint",
        seed=7,
        validation_fraction=0.2,
        test_fraction=0.1,
    )
    ranked = sorted(range(10), key=lambda n: hashlib.md5(f"7:{names[n]}".encode()).hexdigest())
    split = dict(zip(ranked, ["validation"] * 2 + ["test"] + ["train"] * 7, strict=True))
    wanted = [(n, n + 1 if split[n] == "train" else 0, split[n]) for n in range(10)]
    assert sorted(found) == wanted


def test_catalogue_breaks_ties_by_key_and_counts_only_what_may_be_counted(database):
    rows = [(0, item, place, 1.0, place) for place, item in enumerate((3, 3, 1, 2, 2, 0, 0, 0))]
    give(database, "events", EVENTS, *rows)
    give(database, "counted", "user_key num_counted split", (0, 5, "train"))
    database.table("item_counts", "next_items/item_counts")
    assert run(database, "next_items/catalogue", top_items=2) == [(2, 1, 2), (3, 2, 2)]
    assert run(database, "next_items/catalogue", top_items=None) == [
        (2, 1, 2),
        (3, 2, 2),
        (1, 3, 1),
    ]


def test_hold_out_of_leave_last_only_moves_earlier(database):
    give(database, "events", EVENTS, *[(0, item, 0, 1.0, p) for p, item in enumerate((5, 6, 5, 6))])
    give(database, "catalogue", "item_key item_id num_events", (5, 1, 2))
    give(database, "counted", "user_key num_counted split", (0, 4, "x"), (1, 1, "x"))
    found = run(database, "next_items/counted/leave_last", target_length=1)
    assert sorted(found) == [(0, 0, "x"), (1, 1, "x")]
    give(database, "catalogue", "item_key item_id num_events", (6, 1, 2))
    give(database, "counted", "user_key num_counted split", (0, 0, "x"))
    assert run(database, "next_items/counted/leave_last", target_length=1) == [(0, 0, "x")]


def test_sequences_skip_items_outside_the_catalogue(database):
    rows = [(4, i, p, 2.0, p, 90 - p) for p, i in enumerate((9, 8, 9, 7))]
    give(database, "events", f"{EVENTS} source_row", *rows)
    give(database, "catalogue", "item_key item_id num_events", (9, 1, 2), (7, 2, 1))
    give(database, "counted", "user_key num_counted split", (4, 2, "train"))
    framing.keep(database, 3)
    assert run(database, "next_items/kept_users", min_user_events=3) == [(4, 1, 3, 2, "train")]
    assert run(database, "next_items/kept_users", min_user_events=4) == []
    assert rows_of(database, "sequences") == [
        (1, 0, 1, 0, 2.0, True, 90),
        (1, 1, 1, 2, 2.0, False, 88),
        (1, 2, 2, 3, 2.0, False, 87),
    ]


def test_ranges_of_leave_last_and_global_time(database):
    give(database, "kept_users", "user_id num_events split", (1, 9, None), (2, 3, None))
    assert sorted(run(database, "next_items/ranges/leave_last", target_length=2)) == [
        (1, "test", 7, 9),
        (1, "train", 0, 5),
        (1, "validation", 5, 7),
        (2, "test", 1, 3),
        (2, "train", 0, 0),
        (2, "validation", 0, 1),
    ]
    give(database, "sequences", SEQUENCES, *[(1, p, 1, p * 10, 1.0, True) for p in range(5)])
    give(database, "cuts", "validation_from test_from", (20, 31))
    assert sorted(run(database, "next_items/ranges/global_time")) == [
        (1, "test", 4, 5),
        (1, "train", 0, 2),
        (1, "validation", 2, 4),
    ]


TARGETS = {"input_length": 2, "target_length": 2, "stride": 3, "seed": 0, "short_histories": False}


def test_targets_start_after_the_inputs_and_end_in_their_range(database):
    columns = "user_id split first_target end_target"
    ranges = [(1, "train", 0, 8), (1, "test", 8, 10), (2, "train", 0, 3), (2, "test", 1, 4)]
    give(database, "ranges", columns, *ranges)
    found = run(
        database, "next_items/targets", **TARGETS, validation_fraction=0.0, test_fraction=0.0
    )
    assert found == [
        (0, 1, 2, "train"),
        (1, 1, 5, "train"),
        (2, 1, 8, "test"),
        (3, 2, 2, "test"),
    ]


def test_windows_without_a_split_are_dealt_by_digest_in_exact_numbers(database):
    columns = "user_id split first_target end_target"
    give(database, "ranges", columns, *[(user, None, 0, 7) for user in range(1, 11)])
    database.register(
        "ranges",
        pa.table(
            {
                "user_id": range(1, 11),
                "split": pa.nulls(10, pa.string()),
                "first_target": [0] * 10,
                "end_target": [7] * 10,
            }
        ),
    )
    found = run(
        database, "next_items/targets", **TARGETS, validation_fraction=0.25, test_fraction=0.1
    )
    ranked = sorted(range(20), key=lambda n: hashlib.md5(f"0:{n}".encode()).hexdigest())
    split = dict(zip(ranked, ["validation"] * 5 + ["test"] * 2 + ["train"] * 13, strict=True))
    assert [(number, name) for number, _, _, name in found] == [(n, split[n]) for n in range(20)]


def test_short_windows_are_of_beginnings(database):
    columns = "user_id split first_target end_target"
    ranges = [(1, "train", 0, 5), (1, "test", 5, 7), (2, "train", 0, 3), (2, "test", 1, 9),
              (3, "train", 0, 2), (3, "test", 0, 2), (4, "test", 0, 4)]  # fmt: skip
    give(database, "ranges", columns, *ranges)
    settings = TARGETS | {"input_length": 3, "stride": 9, "short_histories": True}
    found = run(
        database, "next_items/targets", **settings, validation_fraction=0.0, test_fraction=0.0
    )
    assert [row[1:] for row in found] == [
        (1, 1, "train"), (1, 2, "train"), (1, 3, "train"), (1, 5, "test"),
        (2, 1, "train"), (2, 1, "test"), (2, 3, "test"), (4, 1, "test"),
    ]  # fmt: skip


@pytest.fixture
def windowed(database):
    """One user of six events, three windows of 2 + 1: the last is for validation."""
    rows = [(1, p, p + 1, 10 * p, float(p), p < 4) for p in range(6)]
    give(database, "sequences", SEQUENCES, *rows)
    columns = "window_id user_id target_place split"
    targets = [(0, 1, 2, "train"), (1, 1, 3, "train"), (2, 1, 4, "validation")]
    give(database, "targets", columns, *targets)
    give(database, "kept_users", "user_id num_events", (1, 6))
    give(database, "users", "user_id user_features", (1, [2, 0]))
    give(database, "catalogue", "item_id", *[(n,) for n in range(1, 7)])
    lengths = {"input_length": 2, "target_length": 1}
    framing.windows(database, **lengths)
    return database


def test_windows_hold_inputs_and_what_follows(windowed):
    assert rows_of(windowed, "windows") == [
        (0, "train", 1, [2, 0], [1, 2], [0.0, 1.0], [0, 10], [3], [2.0], 20),
        (1, "train", 1, [2, 0], [2, 3], [1.0, 2.0], [10, 20], [4], [3.0], 30),
        (2, "validation", 1, [2, 0], [3, 4], [2.0, 3.0], [20, 30], [5], [4.0], 40),
    ]


def test_rating_moments_are_of_training_inputs(windowed):
    ((count, mean, deviation),) = run(windowed, "shared/rating_moments")
    assert count == 4
    assert mean == 1.0
    assert deviation == pytest.approx(0.5**0.5)


def test_leakage_counts_by_hand(windowed):
    lengths = {"input_length": 2, "target_length": 1}
    windowed.table("event_uses", "checks/event_uses", split="validation", **lengths)
    assert [audit.leakage(windowed)] == [
        {
            "targets": 1,
            "targets_in_training_inputs": 0,
            "targets_in_training_targets": 0,
            "targets_counted_in_catalogue": 0,
            "targets_tied_with_training": 0,
            "training_events": 4,
            "training_events_not_before": 0,
            "training_events_after_own": 0,
            "shared_events": 2,
            "num_users": 1,
            "shared_users": 1,
        }
    ]


def test_leakage_finds_what_a_bad_split_lets_through(database):
    """User 1 trains on the events around its target, at its very time; user 2 trains later."""
    rows = [(1, p, 7, (0, 10, 20, 20, 20, 30)[p], 1.0, True) for p in range(6)]
    rows += [(2, p, 7, 100 + p, 1.0, True) for p in range(3)]
    give(database, "sequences", SEQUENCES, *rows)
    columns = "window_id user_id target_place split"
    targets = [(0, 1, 2, "validation"), (1, 1, 4, "train"), (2, 2, 2, "train")]
    give(database, "targets", columns, *targets)
    lengths = {"input_length": 2, "target_length": 1}
    database.table("event_uses", "checks/event_uses", split="validation", **lengths)
    assert [audit.leakage(database)] == [
        {
            "targets": 1,
            "targets_in_training_inputs": 1,
            "targets_in_training_targets": 0,
            "targets_counted_in_catalogue": 1,
            "targets_tied_with_training": 1,
            "training_events": 6,
            "training_events_not_before": 6,
            "training_events_after_own": 3,
            "shared_events": 1,
            "num_users": 1,
            "shared_users": 1,
        }
    ]


def test_checks_pass_on_sound_windows_and_find_unsound_ones(windowed):
    lengths = {"input_length": 2, "target_length": 1}
    assert run(windowed, "checks/window_count") == []
    assert run(windowed, "checks/window_order") == []
    assert run(windowed, "checks/window_numbers") == []
    assert run(windowed, "checks/window_widths", **lengths) == []
    assert run(windowed, "checks/window_places", **lengths) == []
    assert len(run(windowed, "checks/window_widths", input_length=3, target_length=1)) == 3

    columns = "window_id user_id target_place split"
    give(windowed, "targets", columns, (1, 1, 2, "train"), (0, 1, 4, "train"))
    assert run(windowed, "checks/window_count") == [(3, 2)]
    assert len(run(windowed, "checks/window_order")) == 2
    assert len(run(windowed, "checks/window_numbers")) == 2
    assert len(run(windowed, "checks/window_places", **lengths)) == 8  # four corners each

    give(windowed, "catalogue", "item_id", (1,), (2,), (3,))
    assert run(windowed, "checks/window_widths", **lengths) == [(1,), (2,)]


def test_short_windows_are_padded_on_the_left_and_nowhere_else(windowed):
    give(windowed, "targets", "window_id user_id target_place split", (0, 1, 1, "train"))
    lengths = {"input_length": 3, "target_length": 1}
    framing.windows(windowed, **lengths)
    (row,) = rows_of(windowed, "windows")
    assert row[4:9] == ([0, 0, 1], [0.0, 0.0, 0.0], [0, 0, 0], [2], [1.0])
    for check in ("window_widths", "window_places"):
        assert run(windowed, f"checks/{check}", **lengths) == []
    windowed.table("event_uses", "checks/event_uses", split="test", **lengths)
    assert audit.leakage(windowed)["training_events"] == 2
    for wrong in ([0, 1, 1], [1, 0, 0], [1, 1, 1]):
        columns = "window_id split item_ids ratings times target_ids target_ratings"
        give(windowed, "windows", columns, (0, "train", wrong, [0] * 3, [0] * 3, [2], [1.0]))
        assert run(windowed, "checks/window_widths", **lengths) == [(0,)]


def test_padding_is_no_rating(windowed):
    columns = "split item_ids ratings"
    give(windowed, "windows", columns, ("train", [0, 1, 2], [0.0, 4.0, 2.0]))
    assert run(windowed, "shared/rating_moments") == [(2, 3.0, 1.0)]


def test_training_must_lie_before_the_cut(windowed):
    give(windowed, "cuts", "validation_from test_from", (35, 50))
    assert run(windowed, "checks/training_before_cut", target_length=1) == []
    give(windowed, "cuts", "validation_from test_from", (30, 50))
    assert run(windowed, "checks/training_before_cut", target_length=1) == [(1, "train")]
    give(windowed, "cuts", "validation_from test_from", (35, 40))
    assert run(windowed, "checks/training_before_cut", target_length=1) == [(2, "validation")]


def test_vocabularies_number_values_in_order(database):
    give(
        database,
        "user_features",
        "user_source_id feature feature_value",
        ("a", "age", "old"),
        ("a", "sex", "F"),
        ("b", "sex", "M"),
        ("c", "sex", "X"),
        ("d", "sex", "Z"),
    )
    keys = [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    give(database, "user_keys", "user_source_id user_key", *keys)
    kept = [(0, 1, 5, "train"), (1, 2, 6, "train"), (2, 3, 7, "test")]
    give(database, "kept_users", "user_key user_id num_events split", *kept)
    features = ["sex", "age"]
    assert run(database, "shared/user_vocabulary", features=features) == [
        (1, "sex", "F", 1),
        (1, "sex", "M", 2),
        (2, "age", "old", 1),
    ]
    database.table("user_vocabulary", "shared/user_vocabulary", features=features)
    assert run(database, "shared/users", features=features) == [
        (1, "a", 5, [1, 1]),
        (2, "b", 6, [2, 0]),
        (3, "c", 7, [0, 0]),  # a test user's value that no training user has is unknown
    ]


def test_item_columns_are_numbered_through_all_features(database):
    give(
        database,
        "item_features",
        "item_source_id feature feature_value",
        ("x", "decade", "1990s"),
        ("x", "genres", "War"),
        ("x", "genres", "Drama"),
        ("y", "genres", "Noir"),
    )
    give(database, "item_keys", "item_source_id item_key", ("x", 0), ("y", 1))
    give(database, "catalogue", "item_key item_id num_events", (0, 1, 3))
    assert run(database, "shared/item_vocabulary", features=["genres", "decade"]) == [
        (1, "genres", "Drama", 0),
        (1, "genres", "War", 1),
        (2, "decade", "1990s", 2),
    ]


def test_a_file_is_given_exactly_its_parameters(database):
    give(database, "events", "event_time", (1,))
    with pytest.raises(AssertionError, match=r"wants \['test_fraction', 'validation_fraction'\]"):
        database.rows("shared/cuts", validation_fraction=0.1)
    with pytest.raises(AssertionError, match="given"):
        database.rows("shared/cuts", validation_fraction=0.1, test_fraction=0.1, seed=1)
