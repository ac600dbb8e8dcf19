"""Windowing by buckets of users against windowing at once: the same shards, the same manifest."""

import dataclasses
import itertools
import pickle
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.config import shipped_files
from itrec_dist.data.database import tables_read
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.data.windowing import buckets, totals
from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.histories import HistoryConfig, NextItemsHistories
from itrec_dist.tasks.next_items.windows import NextItemsWindows, WindowConfig
from itrec_dist.tasks.ratings.windows import RatingsWindows
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
    config: WindowConfig | HistoryConfig,
    events: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples, spill = SAMPLES[type(config)], tmp_path / "spill"
    spill.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spill))
    made = [
        one.write("table", events, tmp_path / name, config, RATED)
        for name, one in (("once", samples), ("buckets", samples.on(HereAndNow)))
    ]
    assert not list(spill.iterdir())
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


def never() -> HereAndNow:
    raise AssertionError("no cluster is joined")


def test_what_is_done_in_one_process_is_refused_before_a_cluster_is_joined(
    events: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="task ratings are cut in one process: leave out --distr"):
        RatingsWindows().on(never)
    histories = NextItemsHistories().on(never)
    table = dataclasses.replace(RATED, event_features=("rating",))
    with pytest.raises(ConfigError, match=r"columns of events \(rating\) are numbered in one"):
        histories.write("table", events, tmp_path / "out", HistoryConfig(), table)
    assert not (tmp_path / "out").exists()


def test_an_address_without_a_cluster_to_join_is_refused(itrec, events: Path, tmp_path: Path):
    place = ("--input", events, "--out", tmp_path / "out", "--address", "auto")
    code, _, err = itrec("window", "--source", "table", *place)
    assert code == 2
    assert err == (
        "itrec: error: --address auto names a Ray cluster, which --distributed uses: give both or "
        "none\n"
    )


def test_every_table_that_a_file_reads_is_found_and_stands_in_its_header() -> None:
    files = sorted(shipped_files.sql_folder().rglob("*.sql"))
    assert files
    for path in files:
        text = path.read_text(encoding="utf-8")
        lines = itertools.takewhile(lambda line: line.startswith("--"), text.splitlines())
        header = " ".join(lines)
        named = set(re.findall(r"\w+", header.partition("Reads:")[2]))
        assert tables_read(text) <= named, path


def test_counts_of_parts_are_added() -> None:
    values = np.array([1.0, 4.0, 4.0, 5.0, 2.5])
    parts = [
        {"num_ratings": len(part), "rating_mean": part.mean(), "rating_std": part.std()}
        for part in (values[:2], values[2:])
    ]
    parts.append({"num_ratings": 0, "rating_mean": None, "rating_std": None})
    assert totals.moments(parts) == pytest.approx((values.mean(), values.std()))
    assert totals.moments(parts[2:]) == (0.0, 0.0)
    assert totals.added([{"a": 1, "b": 2}, {"a": 3, "b": 0}]) == {"a": 4, "b": 2}
    ends = [{"rating_min": 2.0, "rating_max": 3.0}, {"rating_min": None, "rating_max": None}]
    assert totals.scale([*ends, {"rating_min": 1.0, "rating_max": 2.0}]) == (1.0, 3.0)
