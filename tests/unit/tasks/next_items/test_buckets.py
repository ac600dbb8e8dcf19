"""Windowing by buckets of users against windowing at once: the same shards, the same manifest."""

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.data.windowing import buckets
from itrec_dist.tasks.next_items.histories import HistoryConfig, NextItemsHistories
from itrec_dist.tasks.next_items.windows import NextItemsWindows, WindowConfig
from tests.cases import slow_after

RATED = TableConfig(columns=TableColumns(rating="rating"))
SAMPLES = {WindowConfig: NextItemsWindows(), HistoryConfig: NextItemsHistories()}
SMALL: dict[str, Any] = {"input_length": 4, "target_length": 2, "stride": 3, "min_user_events": 5}
SETTINGS: list[WindowConfig | HistoryConfig] = [
    WindowConfig(top_items=30, test_fraction=0.2, **SMALL),
    HistoryConfig(target_length=None, protocol="global_time", min_item_events=9, repeats="first"),
    WindowConfig(top_items=25, protocol="leave_last", repeats="last", **SMALL),
    WindowConfig(protocol="user_disjoint", test_fraction=0.2, short_histories=True, **SMALL),
    WindowConfig(protocol="global_time", test_fraction=0.2, **SMALL),
    HistoryConfig(max_length=8, overlap=3, top_items=20),
    HistoryConfig(
        protocol="leave_last", target_length=2, min_item_events=14, min_user_events=9,
        core="iterative",
    ),
    HistoryConfig(protocol="user_disjoint", target_length=3, repeats="last", max_length=5),
    HistoryConfig(
        protocol="random_windows", target_length=2, window_inputs=4, window_stride=3,
        min_user_events=9, max_length=20, top_items=30,
    ),
]  # fmt: skip


class HereAndNow:
    """A cluster of this process, which passes on what a worker elsewhere would get."""

    workers = 2

    def put(self, rows: pa.Table) -> pa.Table:
        return rows

    def start(self, function: Callable[..., Any], *arguments: Any, results: int = 1) -> list[Any]:
        called, given = pickle.loads(pickle.dumps((function, arguments)))
        found = called(*given)
        return [found] if results == 1 else list(found)

    def get(self, ref: Any) -> Any:
        return ref


@pytest.fixture(autouse=True)
def _small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "EVENTS_PER_BUCKET", 400)
    monkeypatch.setattr(buckets, "_RATINGS_PER_PART", 700)
    monkeypatch.setattr(buckets, "ROWS_PER_BATCH", 50)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shuffled ratings with ties in time, a user with two fifths of them, an item in a third."""
    rng = np.random.default_rng(5)
    lengths = [500, *rng.integers(1, 30, 60)]
    user = rng.permutation(np.repeat(rng.permutation(len(lengths)) * 7, lengths))
    item = np.where(rng.random(len(user)) < 1 / 3, 7, rng.integers(0, 60, len(user)))
    time = rng.integers(0, 400, len(user))
    rows = pa.table(
        {"user": user, "item": item, "timestamp": time, "rating": rng.random(len(user))}
    )
    once = rows.group_by(["user", "item", "timestamp"], use_threads=False).aggregate(
        [("rating", "first")]
    )
    path = tmp_path_factory.mktemp("events") / "e.parquet"
    pq.write_table(once.rename_columns(rows.column_names), path)
    return path


def files_of(shards: Path) -> dict[str, pa.Table]:
    return {
        str(path.relative_to(shards)): pq.read_table(path) for path in shards.rglob("*.parquet")
    }


@pytest.mark.parametrize("config", slow_after(0, SETTINGS))
def test_buckets_write_what_one_process_does(
    config: WindowConfig | HistoryConfig, events: Path, tmp_path: Path
) -> None:
    samples = SAMPLES[type(config)]
    made = [
        one.write("table", events, tmp_path / name, config, RATED)
        for name, one in (("once", samples), ("buckets", samples.on(HereAndNow)))
    ]
    once, bucketed = made
    assert bucketed.fingerprint == once.fingerprint
    assert files_of(tmp_path / "buckets").keys() == files_of(tmp_path / "once").keys()
    assert all(
        table.equals(files_of(tmp_path / "once")[name])
        for name, table in files_of(tmp_path / "buckets").items()
    )
    assert bucketed.rating_std == pytest.approx(once.rating_std, rel=1e-12)
    assert bucketed.rating_mean == pytest.approx(once.rating_mean, rel=1e-12)
    alike = {"rating_std": 0.0, "rating_mean": 0.0, "sql": {}}
    assert dataclasses.replace(bucketed, **alike) == dataclasses.replace(once, **alike)
