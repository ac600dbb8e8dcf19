"""When each input happened: beside its item, in the user's order, 0 where there is no input."""

from collections.abc import Iterator

import pyarrow as pa
import pytest

from itrec_dist.data.database import Database
from itrec_dist.data.windowing import user_events
from itrec_dist.tasks.next_items import framing

TIED = [(0, 7, 100), (1, 9, 100), (2, 8, 100), (3, 7, 2**33), (4, 6, 2**33), (5, 5, 2**33 + 1)]
"""Place, item and time of one user's events: some happened at the same second."""


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(memory_limit="200MB", threads=1) as opened:
        yield opened


def give(database: Database, table: str, columns: str, *rows: tuple) -> None:
    names = columns.split()
    database.register(table, pa.table({n: [row[i] for row in rows] for i, n in enumerate(names)}))


def found(database: Database, sql_name: str, **parameters) -> list[tuple[list[int], list[int]]]:
    return [(r["item_ids"], r["times"]) for r in database.rows(sql_name, **parameters)]


@pytest.fixture
def tied(database) -> Database:
    """The events in a shuffled order of rows; the place alone tells the order of ties."""
    rows = [(1, place, item, time, 1.0, True) for place, item, time in TIED]
    columns = "user_id place item_id event_time rating is_counted"
    give(database, "sequences", columns, *(rows[i] for i in (4, 1, 3, 0, 5, 2)))
    give(database, "kept_users", "user_id num_events", (1, 6), (2, 2))
    give(database, "users", "user_id user_features", (1, [2]), (2, [0]))
    return database


def test_times_of_windows_follow_the_places_of_the_items(tied):
    columns = "user_id place item_id event_time rating is_counted"
    give(tied, "sequences", columns, *sorted((1, p, i, t, 1.0, True) for p, i, t in TIED))
    columns = "window_id user_id target_place split"
    give(tied, "targets", columns, (0, 1, 3, "train"), (1, 1, 4, "train"))
    framing.windows(tied, input_length=3, target_length=2)
    first, second = tied.whole("windows").to_pylist()
    assert (first["item_ids"], first["times"]) == ([7, 9, 8], [100, 100, 100])
    assert (first["target_ids"], first["target_time"]) == ([7, 6], 2**33)
    assert (second["item_ids"], second["times"]) == ([9, 8, 7], [100, 100, 2**33])


def test_times_of_histories_are_padded_as_the_items_are(tied):
    rows = [(1, p, item, time, 1.0, True) for p, item, time in TIED]
    rows += [(2, 0, 3, 50, 1.0, True), (2, 1, 4, 50, 1.0, True)]
    give(tied, "sequences", "user_id place item_id event_time rating is_counted", *rows[::-1])
    batches = user_events.latest(tied, 4)
    assert [(r["item_ids"], r["times"]) for batch in batches for r in batch.to_pylist()] == [
        ([8, 7, 6, 5], [100, 2**33, 2**33, 2**33 + 1]),
        ([0, 0, 3, 4], [0, 0, 50, 50]),
    ]


def test_times_of_rating_windows_are_of_the_training_ratings_before(tied):
    splits = ["train", "train", "test", "train", "train", "validation"]
    before = [0, 1, 2, 2, 3, 4]
    columns = "window_id user_id place num_before item_id event_time rating split"
    rows = [(p, 1, p, before[p], item, time, float(p + 1), splits[p]) for p, item, time in TIED]
    give(tied, "sequences", columns, *rows[::-1])
    lengths = {"input_length": 3, "ratings_before": 2}
    assert found(tied, "ratings/windows", **lengths) == [
        ([0, 0, 0], [0, 0, 0]),
        ([0, 0, 7], [0, 0, 100]),
        ([0, 7, 9], [0, 100, 100]),
        ([0, 7, 9], [0, 100, 100]),
        ([7, 9, 7], [100, 100, 2**33]),
        ([9, 7, 6], [100, 2**33, 2**33]),
    ]
    tied.table("windows", "ratings/windows", **lengths)
    assert tied.rows("checks/rating_windows", input_length=3) == []
    assert len(tied.rows("checks/rating_windows", input_length=4)) == 6
