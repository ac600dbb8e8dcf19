"""Keys that are numbers, and what is read from the order of events: repetitions and ties."""

import itertools
import random
from collections.abc import Iterator

import pyarrow as pa
import pytest

from itrec_dist.data.database import Database
from itrec_dist.tasks.next_items import audit


@pytest.fixture
def database() -> Iterator[Database]:
    with Database(memory_limit="200MB", threads=2) as opened:
        yield opened


def give(database: Database, table: str, columns: str, *rows: tuple) -> None:
    names = columns.split()
    database.register(table, pa.table({n: [row[i] for row in rows] for i, n in enumerate(names)}))


@pytest.mark.parametrize("kind", ["user", "item"])
def test_keys_of_numbers_are_those_of_their_texts(database, kind):
    numbers = (10, -3, 9, 100, 0, 9)
    keys = []
    for ids in (numbers, map(str, numbers)):
        give(database, "ratings", f"{kind}_source_id", *[(value,) for value in ids])
        database.table("keys", f"shared/{kind}_keys")
        found = database.whole("keys").to_pylist()
        keys.append({row[f"{kind}_source_id"]: row[f"{kind}_key"] for row in found})
    assert keys[0] == keys[1] == {"0": 0, "9": 1, "-3": 2, "10": 3, "100": 4}


def test_a_repetition_is_found_with_another_event_in_between(database):
    """Users a and b have the same items at the same times, which repeats nothing."""
    columns = "user_source_id item_source_id event_time rating"
    rows = [(u, i, 5, 1.0) for u, i in ("ax", "bx", "ay", "by")]
    give(database, "ratings", columns, *rows, ("a", "y", 4, 1.0))
    assert repeated(database) == []
    give(database, "ratings", columns, *rows, ("a", "x", 5, 2.0), ("b", "y", 5, 2.0))
    assert repeated(database) == [("a", "x", 5, 1, 5)]


def repeated(database: Database) -> list[tuple]:
    for kind in ("user", "item"):
        database.table(f"{kind}_keys", f"shared/{kind}_keys")
    database.view("keyed_ratings", "shared/keyed_ratings")
    database.table("events", "shared/events")
    return [tuple(row.values()) for row in database.rows("checks/duplicate_ratings")]


@pytest.mark.parametrize("seed", range(4))
def test_uses_and_ties_are_those_counted_event_by_event(database, seed):
    draw = random.Random(seed)
    times = {u: sorted(draw.choices(range(12), k=draw.randint(8, 20))) for u in (1, 2, 3)}
    events = [(u, p, 1, t, 1.0, True) for u in times for p, t in enumerate(times[u])]
    give(database, "sequences", "user_id place item_id event_time rating is_counted", *events)
    inputs, length = 3, 2
    chosen = [(u, p) for u in times for p in range(1, len(times[u]) - 1) if draw.random() < 0.3]
    targets = [(n, u, p, draw.choice(["train", "test"])) for n, (u, p) in enumerate(chosen)]
    give(database, "targets", "window_id user_id target_place split", *targets)
    database.table(
        "event_uses", "checks/event_uses", split="test", input_length=inputs, target_length=length
    )
    uses: dict[tuple[str, str], set[tuple[int, int]]] = {
        key: set() for key in itertools.product(("train", "test"), ("inputs", "targets"))
    }
    for _, user, place, split in targets:
        uses[split, "inputs"] |= {(user, p) for p in range(max(0, place - inputs), place)}
        uses[split, "targets"] |= {(user, p) for p in range(place, place + length)}
    trained = uses["train", "inputs"] | uses["train", "targets"]
    moments = {(user, times[user][place]) for user, place in trained}
    judged = uses["test", "targets"]
    found = audit.leakage(database)
    assert found["targets"] == len(judged)
    assert found["targets_in_training_inputs"] == len(judged & uses["train", "inputs"])
    assert found["targets_in_training_targets"] == len(judged & uses["train", "targets"])
    assert found["training_events"] == len(trained)
    assert found["shared_events"] == len(trained & (judged | uses["test", "inputs"]))
    assert found["targets_tied_with_training"] == sum(
        (user, times[user][place]) in moments for user, place in judged
    )
