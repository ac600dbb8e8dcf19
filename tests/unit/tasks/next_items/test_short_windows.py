"""A rule that is learned on full windows is right for short histories if they are learned from."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist.data import manifest as manifests
from itrec_dist.data import spec as data_spec
from itrec_dist.data.batches import whole_batch
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.errors import DataError
from itrec_dist.losses import LOSSES
from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.tasks.next_items.windows import WindowConfig, window

pytestmark = pytest.mark.usefixtures("one_thread")
ITEMS = 9
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> Path:
    """Each user goes round a circle of items, each from another one and for 12 events."""
    rows = [(u, (u * 4 + n) % ITEMS + 1, n) for u in range(36) for n in range(12)]
    columns = dict(zip(("user", "item", "timestamp"), zip(*rows, strict=True), strict=True))
    path = tmp_path_factory.mktemp("circle") / "events.parquet"
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), path)
    return path


def cut(events: Path, out: Path, **settings) -> Manifest:
    config = WindowConfig(
        min_user_events=1, input_length=4, target_length=1, stride=1, validation_fraction=0.0,
        top_items=None, **settings,
    )  # fmt: skip
    return window("table", events, out, config)


def shares_right(shards: Path) -> list[float]:
    """Right answers after 1, 2, 3 and 4 events, of a model that has learned the windows."""
    made = manifests.read(shards)
    spec = data_spec.build(made, reader.read_items(shards, made))
    torch.manual_seed(1)
    task = NextItems(SasrecConfig(width=16, causal=False, dropout=0.0), LOSSES["ce"](), spec)
    optimizer = torch.optim.Adam(task.parameters(), 0.02)
    batch = whole_batch(read_split(shards, made, "train"), CPU)
    for _ in range(60):
        optimizer.zero_grad()
        task(batch).loss_B.mean().backward()
        optimizer.step()
    names = [int(name) for name in reader.read_items(shards, made).source_ids]
    ids = {name: number for number, name in enumerate(names, start=1)}
    rights = []
    for length in range(1, 5):
        asked = [[(first + n) % ITEMS + 1 for n in range(length)] for first in range(ITEMS)]
        shown = [[0] * (4 - length) + [ids[name] for name in one] for one in asked]
        batch.item_ids_BL[:ITEMS] = torch.tensor(shown)
        top_B = task.eval()(batch).top_ids_BN[:ITEMS, 0].tolist()
        right = [
            names[top - 1] == one[-1] % ITEMS + 1 for top, one in zip(top_B, asked, strict=True)
        ]
        rights.append(sum(right) / ITEMS)
    return rights


def test_beginnings_that_were_learned_are_answered_right(events, tmp_path):
    cut(events, tmp_path / "full")
    cut(events, tmp_path / "short", short_histories=True)
    full, short = (shares_right(tmp_path / name) for name in ("full", "short"))
    assert short == [1.0] * 4
    assert full[3] == 1.0
    assert min(full[:3]) < 0.8


def test_short_users_have_a_window_and_the_setting_leaves_old_fingerprints(events, tmp_path):
    few = pq.read_table(events).filter(pa.compute.field("timestamp") < 3)
    pq.write_table(few, tmp_path / "few.parquet")
    made = cut(tmp_path / "few.parquet", tmp_path / "a", short_histories=True)
    assert made.num_windows("train") == 36 * 2
    assert made.coverage[0].num_users_without == 0
    assert made.settings["short_histories"] is True
    assert "short_histories" not in cut(events, tmp_path / "b").settings


def test_nothing_to_learn_from_is_said_with_the_lengths_that_count(events, tmp_path):
    first = pq.read_table(events).filter(pa.compute.field("timestamp") < 1)
    pq.write_table(first, tmp_path / "first.parquet")
    with pytest.raises(DataError, match=r"needs 2 events in a row \(1 input \+ target_length 1\)"):
        cut(tmp_path / "first.parquet", tmp_path / "a", short_histories=True)
