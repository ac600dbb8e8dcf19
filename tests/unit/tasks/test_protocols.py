"""Every protocol against a second program, on random tables with ties: same samples, same audit."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from itrec_dist.data import manifest as manifests
from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import DataError
from itrec_dist.tasks.next_items.windows import NextItemsWindows, WindowConfig, window
from itrec_dist.tasks.ratings.windows import RatingsWindows, RatingWindowConfig, window_ratings
from tests.cases import slow_after
from tests.histories_reference import without_repeats
from tests.rating_windowing_reference import expected_ratings
from tests.windowing_reference import Event, expected

RATED = TableConfig(columns=TableColumns(rating="rating"))
few = settings(
    deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],  # to shrink a failure takes minutes
)  # fmt: skip


def table(seed: int) -> list[Event]:
    """Shuffled events, dense enough for windows: ties in time, repeats, users with few or none."""
    rng = random.Random(seed)
    made = {
        (user, rng.choice(["1", "2", "10", "x", "y"]), rng.randrange(9)): rng.randrange(1, 6)
        for user in ["7", "007", "u", "v", "w"]
        for _ in range(rng.choice([0, 3, 14, 20]))
    }
    events = [Event(*key, rating) for key, rating in made.items()]
    rng.shuffle(events)
    return events or [Event("u", "x", 1, 1)]


tables = st.integers(0, 10**9).map(table)
shares = st.sampled_from([(0.2, 0.2), (0.25, 0.0), (0.1, 0.3), (0.5, 0.25), (0.0, 0.5)])


def write(path: Path, events: list[Event]) -> Path:
    names = ("user", "item", "time", "rating")
    columns = [[getattr(event, name) for event in events] for name in names]
    pq.write_table(pa.table(columns, names=["user", "item", "timestamp", "rating"]), path)
    return path


def left(events: list[Event], repeats: str | None) -> list[Event]:
    """The events without repeats, in their order."""
    if repeats in (None, "keep"):
        return events
    kept: set[Event] = set()
    for user in {e.user for e in events}:
        history = sorted((e for e in events if e.user == user), key=lambda e: e.time)  # stable
        kept.update(without_repeats(history, repeats))
    return [event for event in events if event in kept]


def rows_of(shards: Path, made: Manifest) -> list[tuple[str, dict[str, Any]]]:
    """All windows with their splits, by id."""
    rows = [
        (split, row)
        for split, files in manifests.read(shards).splits.items()
        for file in files
        for row in pq.read_table(shards / file.name).to_pylist()
    ]
    assert len(rows) == sum(map(made.num_windows, made.splits))
    return sorted(rows, key=lambda found: found[1]["window_id"])


def names_of(shards: Path) -> tuple[list[str], list[str]]:
    """Ids of the source, of items and users."""
    return tuple(
        ["", *pq.read_table(shards / file)["source_id"].to_pylist()]
        for file in (schema.ITEMS_FILE, schema.USERS_FILE)
    )


def counts_of(made: Manifest, wanted: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """The audit without shares and promises."""
    assert made.audit.keys() == wanted.keys()
    return {
        split: {name: made.audit[split][name] for name in counts}
        for split, counts in wanted.items()
    }


@pytest.mark.parametrize("protocol", slow_after(2, NextItemsWindows.protocols))
@few
@given(
    events=tables, share=shares, seed=st.integers(0, 3), stride=st.integers(1, 3),
    lengths=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    top_items=st.sampled_from([2, 4, None]), min_user_events=st.integers(1, 5),
    repeats=st.sampled_from([None, "keep", "first", "last"]), short=st.booleans(),
)  # fmt: skip
def test_windows_of_items(
    tmp_path,
    protocol,
    *,
    events,
    share,
    seed,
    stride,
    lengths,
    top_items,
    min_user_events,
    repeats,
    short,
):
    config = WindowConfig(
        top_items=top_items, repeats=repeats, min_user_events=min_user_events,
        input_length=lengths[0],
        target_length=lengths[1], stride=stride, protocol=protocol, seed=seed,
        validation_fraction=share[0], test_fraction=share[1], num_shards=2, threads=1,
        short_histories=short,
    )  # fmt: skip
    wanted = expected(left(events, repeats), config)
    path, shards = write(tmp_path / "e.parquet", events), tmp_path / "shards"
    event(f"{min(len(wanted.windows), 9)} windows, {len(wanted.audit)} audits")
    if not any(split == "train" for *_, split in wanted.windows):
        with pytest.raises(DataError, match=r"nothing is left|no training window"):
            window("table", path, shards, config, RATED, overwrite=True)
        return
    made = window("table", path, shards, config, RATED, overwrite=True)
    items, users = names_of(shards)
    assert items[1:] == wanted.items
    found = [
        (
            users[row["user_id"]],
            tuple(items[i] for i in row["item_ids"]),
            tuple(items[i] for i in row["target_ids"]),
            row["target_time"],
            split,
        )
        for split, row in rows_of(shards, made)
    ]
    assert found == wanted.windows
    assert counts_of(made, wanted.audit) == wanted.audit


@pytest.mark.parametrize("protocol", slow_after(2, RatingsWindows.protocols))
@few
@given(events=tables, share=shares, seed=st.integers(0, 3), input_length=st.integers(1, 4))
def test_windows_of_ratings(tmp_path, protocol, events, share, seed, input_length):
    config = RatingWindowConfig(
        input_length=input_length, protocol=protocol, seed=seed, validation_fraction=share[0],
        test_fraction=share[1], num_shards=2, threads=1,
    )  # fmt: skip
    wanted = expected_ratings(events, config)
    path, shards = write(tmp_path / "e.parquet", events), tmp_path / "shards"
    event(f"{min(len(wanted.windows), 9)} windows, {len(wanted.audit)} audits")
    if not any(split == "train" for *_, split in wanted.windows):
        with pytest.raises(DataError, match="leaves none of"):
            window_ratings("table", path, shards, config, RATED, overwrite=True)
        return
    made = window_ratings("table", path, shards, config, RATED, overwrite=True)
    items, users = names_of(shards)
    assert items[1:] == wanted.items
    found = [
        (
            users[row["user_id"]],
            tuple(
                (items[i], rating)
                for i, rating in zip(row["item_ids"], row["ratings"], strict=True)
                if i != schema.PAD
            ),
            (items[row["target_ids"][0]], row["target_ratings"][0], row["target_time"]),
            split,
        )
        for split, row in rows_of(shards, made)
    ]
    assert found == wanted.windows
    assert counts_of(made, wanted.audit) == wanted.audit
