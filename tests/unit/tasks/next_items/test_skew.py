"""Skewed data: a user with a large share of all events, an item in a third of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import manifest as manifests
from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.data.windowing import user_events
from itrec_dist.tasks.next_items.histories import HistoryConfig, histories
from itrec_dist.tasks.next_items.windows import WindowConfig, window

RATED = TableConfig(columns=TableColumns(rating="rating"))
OUTSIDE = 600 * 2**20
"""What the process may hold besides DuckDB: the interpreter, its libraries and a block of users."""

Sequences = dict[int, np.ndarray]


def skewed(path: Path, longest: int, users: int = 60) -> Sequences:
    """Write shuffled events; returns (events, 2) items and times of each user, in order."""
    rng = np.random.default_rng(longest)
    lengths = [longest, *rng.integers(1, 30, users)]
    user = np.repeat(np.arange(len(lengths)), lengths)
    item = np.where(rng.random(len(user)) < 1 / 3, 7, rng.integers(0, 500, len(user)))
    time = np.concatenate([np.arange(length) for length in lengths])
    order = rng.permutation(len(user))
    columns = {"user": user, "item": item, "timestamp": time, "rating": time % 5 + 1}
    pq.write_table(pa.table({name: c[order] for name, c in columns.items()}), path)
    return {u: np.column_stack([item, time])[user == u] for u in range(len(lengths))}


def items_of(shards: Path) -> np.ndarray:
    """Source ids by item_id."""
    ids = pq.read_table(shards / schema.ITEMS_FILE)["source_id"].to_pylist()
    return np.array([-1, *map(int, ids)])


def rows_of(shards: Path, manifest: Manifest) -> list[dict]:
    files = [file.name for split in manifest.splits.values() for file in split]
    rows = [row for name in files for row in pq.read_table(shards / name).to_pylist()]
    return sorted(rows, key=lambda row: row["window_id"])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_events, "EVENTS_PER_BLOCK", 200)
    monkeypatch.setattr(user_events, "CELLS_AT_ONCE", 900)


@pytest.mark.usefixtures("small_blocks")
def test_windows_of_skewed_users_are_slices_of_their_events(tmp_path: Path) -> None:
    sequences = skewed(tmp_path / "e.parquet", 1_000)
    config = WindowConfig(
        top_items=None, min_user_events=8, input_length=5, target_length=2, stride=3
    )
    shards = tmp_path / "shards"
    rows = rows_of(shards, window("table", tmp_path / "e.parquet", shards, config, RATED))
    users = pq.read_table(shards / schema.USERS_FILE)["source_id"].to_pylist()
    items, found = items_of(shards), iter(rows)
    for user in map(int, users):
        history = sequences[user]
        for place in range(5, len(history) - 1, 3):
            row, inputs, targets = next(found), *np.split(history[place - 5 : place + 2], [5])
            assert items[row["item_ids"]].tolist() == inputs[:, 0].tolist()
            assert row["times"] == inputs[:, 1].tolist()
            assert row["ratings"] == (inputs[:, 1] % 5 + 1).tolist()
            assert items[row["target_ids"]].tolist() == targets[:, 0].tolist()
            assert row["target_time"] == targets[0, 1]
    assert next(found, None) is None


@pytest.mark.usefixtures("small_blocks")
def test_histories_of_skewed_users_are_slices_of_their_events(tmp_path: Path) -> None:
    sequences = skewed(tmp_path / "e.parquet", 1_000)
    shards = tmp_path / "shards"
    config = HistoryConfig(max_length=20, overlap=4)
    check_histories(
        sequences, shards, histories("table", tmp_path / "e.parquet", shards, config, RATED)
    )


def check_histories(sequences: Sequences, shards: Path, manifest: Manifest) -> None:
    """All rows against the events, and all events of the user with most of them in some row."""
    users = pq.read_table(shards / schema.USERS_FILE)["source_id"].to_pylist()
    items, learned = items_of(shards), set()
    training = {file.name for file in manifest.splits["train"]}
    for file in (file.name for split in manifest.splits.values() for file in split):
        for row in pq.read_table(shards / file).to_pylist():
            user = int(users[row["user_id"] - 1])
            history, (first, *_, last) = sequences[user], row["times"] * 2
            shown = history[first : last + 1, 0].tolist()
            assert items[row["item_ids"]].tolist() == shown
            assert row["times"] == list(range(first, last + 1))
            if file in training:
                assert row["seen_ids"] == row["target_ids"] == []
                learned |= {t for t in row["times"][row["num_context"] :] if user == 0}
            else:
                assert items[row["target_ids"]].tolist() == history[last + 1 : last + 2, 0].tolist()
                assert row["seen_ids"] == sorted(set(row["seen_ids"]))
                assert set(items[row["seen_ids"]]) == set(history[: last + 1, 0])
    assert learned == set(range(1, len(sequences[0]) - 2))


@pytest.mark.slow
@pytest.mark.parametrize("samples", ["windows", "histories"])
def test_a_user_with_half_a_million_events_stays_within_the_memory_limit(
    tmp_path: Path, samples: str
) -> None:
    sequences = skewed(tmp_path / "e.parquet", 500_000, users=2_000)
    shards = tmp_path / "shards"
    command = [
        sys.executable, "-m", "itrec_dist", "window", "--source", "table", "--samples", samples,
        "--input", str(tmp_path / "e.parquet"), "--columns.rating", "rating",
        "--out", str(shards), "--memory_limit", "300MB", "--threads", "2",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert used.ru_maxrss * 1024 < 300_000_000 + OUTSIDE
    manifest = manifests.read(shards)
    if samples == "histories":
        check_histories(sequences, shards, manifest)
        return
    lengths = [len(history) for history in sequences.values() if len(history) >= 15]
    wanted = sum(len(range(10, length - 4, 10)) for length in lengths)
    assert sum(manifest.num_windows(split) for split in manifest.splits) == wanted
