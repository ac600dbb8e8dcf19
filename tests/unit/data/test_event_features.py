"""Columns of events as features: against a slow twin, in files, and what is refused."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import manifest as manifests
from itrec_dist.data.event_features import RANGES, EventFeature
from itrec_dist.data.history_feeds import as_judged, as_windows
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import reader, splits
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import ConfigError, DataError, ShardsError
from itrec_dist.tasks.next_items.histories import HistoryConfig, histories
from itrec_dist.tasks.next_items.windows import WindowConfig, window
from tests.cases import slow_after

RATED = TableColumns(rating="rating")
BOTH = {"event_features": ("device", "channel"), "event_numbers": ("price",)}
SHORT = HistoryConfig(max_length=5, num_shards=1)
CASES = [
    (0, {"protocol": "leave_last", "target_length": 2, "max_length": 4, "overlap": 2}),
    (5, {"protocol": "global_time", "repeats": "last", "min_item_events": 4, "min_user_events": 2}),
    (2, {"protocol": "user_disjoint", "validation_fraction": 0.3, "test_fraction": 0.3}),
    (3, {"max_length": 3, "repeats": "first", "top_items": 4}),
]


def random_table(seed: int) -> dict[str, list[Any]]:
    """Shuffled events with ties in time, of which the rating is the row's number."""
    rng = random.Random(seed)
    users = [u for u in ("u", "v", "w", "x1", "x2", "x3") for _ in range(rng.choice([1, 4, 9, 30]))]
    rng.shuffle(users)
    prices = [None, math.nan, 0.1, -2.0, 1e300, *(rng.randrange(60) for _ in range(40))]
    return {
        "user": users,
        "item": [rng.choice("abcdef") for _ in users],
        "timestamp": [rng.randrange(30) for _ in users],
        "rating": [float(n) for n in range(len(users))],
        "device": [rng.choice(["ios", "web", " tv", "", None, f"d{rng.random()}"]) for _ in users],
        "channel": [rng.choice([7, 8, None]) for _ in users],
        "price": [rng.choice(prices) for _ in users],
    }


def windowed(folder: Path, table: dict[str, list[Any]], config: HistoryConfig, **given) -> Manifest:
    pq.write_table(pa.table(table), folder / "e.parquet")
    source = TableConfig(columns=RATED, **given)
    return histories("table", folder / "e.parquet", folder / "s", config, source, overwrite=True)


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> tuple[Path, Manifest]:
    """Shards of `random_table(0)` and their manifest. Not to be changed."""
    folder = tmp_path_factory.mktemp("told")
    return folder / "s", windowed(folder, random_table(0), SHORT, **BOTH)


def slow_edges(numbers: list[float]) -> list[float]:
    """The highest number of each range but the last: a range starts at every 20th of the events."""
    last = {}
    for number in sorted(set(numbers)):
        last[sum(other < number for other in numbers) * RANGES // len(numbers)] = number
    return list(last.values())[:-1]


def slow_codes(table: dict[str, list[Any]], training: set[int]) -> list[list[int]]:
    """Of every row of the table, from the rows that training has."""
    columns = []
    for name in ("device", "channel"):
        values = [None if v is None else str(v).strip() or None for v in table[name]]
        known = sorted({values[row] for row in training} - {None})
        columns.append(
            [0 if v is None else known.index(v) + 2 if v in known else 1 for v in values]
        )
    prices = [None if v is None or math.isnan(v) else v for v in table["price"]]
    edges = slow_edges([prices[row] for row in training if prices[row] is not None])
    columns.append([0 if p is None else 2 + sum(edge < p for edge in edges) for p in prices])
    return [list(codes) for codes in zip(*columns, strict=True)]


@pytest.mark.parametrize(("seed", "chosen"), slow_after(2, CASES))
def test_codes_equal_those_of_the_slow_twin_and_move_with_their_events(tmp_path, seed, chosen):
    table = random_table(seed)
    made = windowed(tmp_path, table, HistoryConfig(num_shards=2, **chosen), **BOTH)
    assert made == manifests.read(tmp_path / "s")
    assert [f.name for f in made.event_features] == ["device", "channel", "price"]
    rows = {split: splits.read_history_split(tmp_path / "s", made, split) for split in made.splits}
    codes = slow_codes(table, set(rows["train"].ratings.values.astype(int).tolist()))
    for found in rows.values():
        events = found.ratings.values.astype(int)
        assert found.event_features.values.tolist() == [codes[event] for event in events]
        assert np.array_equal(found.event_features.offsets, found.ratings.offsets)
    latest = reader.read_histories(tmp_path / "s", made)
    is_event_UL = latest.item_ids != 0
    assert latest.event_features[is_event_UL].tolist() == [
        codes[event] for event in latest.ratings[is_event_UL].astype(int)
    ]
    assert not latest.event_features[~is_event_UL].any()
    assert {1} <= set(latest.event_features[..., 0].ravel().tolist())  # unknown in training
    # In Python, as new events are numbered.
    for place, feature in enumerate(made.event_features):
        texts = [None if value is None else str(value).strip() for value in table[feature.name]]
        values = [None if text in ("", "nan") else text for text in texts]
        assert feature.codes(values).tolist() == [row[place] for row in codes]


def test_they_move_with_the_events_of_rows_that_are_judged_or_shown(told):
    rows = splits.read_history_split(*told, "train")
    codes = dict(zip(rows.ratings.values, rows.event_features.values.tolist(), strict=True))
    judged = as_judged(rows.take(np.arange(len(rows))[::-1]))
    shown = as_windows(judged, 5, 1)
    is_event_BL = shown.item_ids != 0
    for ratings, found in (
        (judged.ratings.values, judged.event_features.values),
        (shown.ratings[is_event_BL], shown.event_features[is_event_BL]),
    ):
        assert found.tolist() == [codes[rating] for rating in ratings]
    assert not shown.event_features[~is_event_BL].any()


def test_data_without_them_is_as_before(tmp_path, told):
    shards, made = told
    table = random_table(0)
    ignored = windowed(tmp_path, table, SHORT)
    assert ignored.event_features == ()
    assert ignored.fingerprint != made.fingerprint
    for name in ("train/part-00000.parquet", "test/part-00000.parquet", "histories.parquet"):
        columns = pq.read_schema(tmp_path / "s" / name).names
        assert pq.read_schema(shards / name).names == [*columns, "event_features"]
    rows = splits.read_history_split(tmp_path / "s", ignored, "train")
    assert rows.event_features.values.shape == (len(rows.item_ids.values), 0)
    for name in ("device", "channel", "price"):
        del table[name]
    assert windowed(tmp_path, table, SHORT).fingerprint == ignored.fingerprint


def test_codes_that_no_value_has_are_refused(told):
    shards, made = told
    file = shards / made.splits["train"][0].name
    table = pq.read_table(file)
    column = table.column_names.index("event_features")
    first, *others = table["event_features"].to_pylist()
    for changed, words in (
        ([[99, *first[1:]], *others], "values in device from 0 to 99"),
        ([first[1:], *others], "event_features than 3 for each of item_ids"),
    ):
        spoiled = pa.array(changed, pa.list_(pa.int32()))
        block = table.set_column(column, table.schema.field(column), spoiled)
        with pytest.raises(ShardsError, match=words):
            reader.table_to_history_rows(block, made)


def test_numbers_that_are_none_are_refused_with_their_row(tmp_path):
    table = random_table(0)
    table["price"] = ["1", " 2.5", "", "nan", "2 EUR", *(["3"] * (len(table["price"]) - 5))]
    with pytest.raises(DataError, match=r"row 5: price is '2 EUR', which is no finite number"):
        windowed(tmp_path, table, HistoryConfig(num_shards=1), **BOTH)
    table["price"][4] = "inf"
    with pytest.raises(DataError, match="row 5: price is 'inf'"):
        windowed(tmp_path, table, HistoryConfig(num_shards=1), **BOTH)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match="event_features and event_numbers together name price twice"
    ):
        TableConfig(event_features=("price",), event_numbers=("price",))
    with pytest.raises(DataError, match="no column 'colour'"):
        windowed(tmp_path, random_table(0), HistoryConfig(num_shards=1), event_features=("colour",))
    source = TableConfig(columns=RATED, **BOTH)
    with pytest.raises(ConfigError, match=r"columns of events \(device, channel, price\) are"):
        window("table", tmp_path / "e.parquet", tmp_path / "w", WindowConfig(), source)
    assert not (tmp_path / "w").exists()


def test_codes_of_other_shards_are_translated_by_value():
    mine = EventFeature("device", "category", values=("ios", "web"))
    theirs = EventFeature("device", "category", values=("tv", "web"))
    assert mine.translation(theirs).tolist() == [0, 1, 1, 3]
    number = EventFeature("price", "number", edges=(1.0, 2.0))
    assert number.translation(number).tolist() == [0, 1, 2, 3, 4]
    assert number.translation(EventFeature("price", "number", edges=(1.0, 3.0))) is None
    assert mine.translation(number) is None
