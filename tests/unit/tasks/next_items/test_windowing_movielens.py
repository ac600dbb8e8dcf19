"""MovieLens itself, windowed: the counts that the paper prints, and every protocol's promises."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from itrec_dist.data import schema
from itrec_dist.tasks.next_items import audit as next_item_audit
from itrec_dist.tasks.next_items.windows import NextItemsWindows, WindowConfig, window

FOLDER = os.environ.get("ITREC_MOVIELENS")

pytestmark = [
    pytest.mark.movielens,
    pytest.mark.skipif(
        FOLDER is None, reason="set ITREC_MOVIELENS to a folder that holds ml-1m/ and ml-100k/"
    ),
]


def test_ml_1m_has_the_counts_of_the_paper(tmp_path):
    manifest = window("ml-1m", Path(FOLDER, "ml-1m"), tmp_path / "shards", WindowConfig())
    assert [step["ratings"] for step in manifest.steps] == [1_000_209, 747_869, 746_897]
    assert [step["users"] for step in manifest.steps] == [6_040, 6_040, 5_958]
    assert (manifest.num_items, manifest.num_users) == (1_000, 5_958)
    assert manifest.num_windows("train") + manifest.num_windows("validation") == 69_028
    assert manifest.num_windows("validation") == 6_903
    assert manifest.audit["validation"]["targets_in_training_inputs_share"] == pytest.approx(
        0.83, abs=0.01
    )
    assert [len(f.values) for f in manifest.item_features] == [18, 9]
    assert [len(f.values) for f in manifest.user_features] == [2, 7, 21]
    items = pq.read_table(tmp_path / "shards" / schema.ITEMS_FILE).to_pylist()
    assert (items[0]["title"], items[0]["num_events"]) == ("American Beauty (1999)", 3_428)
    assert items[999]["num_events"] == 319
    assert any(item["title"] == "Alien³ (1992)" for item in items)


@pytest.mark.parametrize("name", ["ml-1m", "ml-100k"])
@pytest.mark.parametrize("protocol", NextItemsWindows.protocols)
def test_every_protocol_keeps_its_promises(tmp_path, name, protocol):
    config = WindowConfig(protocol=protocol, test_fraction=0.1)
    manifest = window(name, Path(FOLDER, name), tmp_path / "shards", config)
    for split in ("validation", "test"):
        assert manifest.num_windows(split) > 500
        counts = manifest.audit[split]
        assert {counts[promise] for promise in next_item_audit.PROMISES[protocol]} <= {0}
        if protocol == "random_windows":
            assert counts["targets_in_training_inputs_share"] > 0.6
