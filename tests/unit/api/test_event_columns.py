"""Columns of events from end to end: learned from, recommended by, and what is missing or new."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import itrec_dist as itrec
from itrec_dist.errors import ItrecWarning, ShardsError

pytestmark = pytest.mark.usefixtures("one_thread")

ITEMS = "abcd"
USERS, LENGTH = 40, 12
SETTINGS = {
    "training": {"epochs": 12, "batch_size": 20},
    "optimizer": {"learning_rate": 0.05},
    "evaluation": {"train_sample": 0, "cutoffs": [1], "seen": "none"},
    "cluster": {"threads": 1},
    "engine": {"precision": "fp32"},
}


def shop(seed: int, users: int = USERS) -> pa.Table:
    """Events whose device says which item comes next, in one of two ways; nothing else does."""
    random = np.random.default_rng(seed)
    place_UL = random.integers(0, len(ITEMS), (users, LENGTH))
    bought_UL = np.roll(place_UL, 1, axis=1)
    return pa.table(
        {
            "user": np.repeat([f"u{n}" for n in range(users)], LENGTH),
            "item": [ITEMS[place] for place in bought_UL.ravel()],
            "timestamp": np.tile(np.arange(LENGTH), users),
            "device": [f"device {place}" for place in place_UL.ravel()],
            "price": place_UL.ravel() * 10.0 + random.random(place_UL.size),
        }
    )


def share_found(top: pa.Table, events: pa.Table) -> float:
    """Of users whose first recommendation is the item that their last event announces."""
    device = dict(zip(events["user"].to_pylist(), events["device"].to_pylist(), strict=True))
    wanted = {user: ITEMS[int(name[-1])] for user, name in device.items()}
    found = dict(zip(top["user"].to_pylist(), top["item"].to_pylist(), strict=True))
    assert found.keys() == wanted.keys()
    return float(np.mean([found[user] == item for user, item in wanted.items()]))


@pytest.fixture(scope="module")
def data() -> itrec.Data:
    events = itrec.read(shop(0), event_features=["device"], event_numbers=["price"])
    return itrec.split(events, samples="histories", max_length=20, num_shards=1)


def trained(data: itrec.Data, out: Path, *names: str) -> itrec.Run:
    model = itrec.models.GRU4Rec(width=16, dropout=0.0, event_features=names)
    return itrec.train(data, model=model, loss="softmax", out=out, local=True, **SETTINGS)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> itrec.Run:
    return trained(data, tmp_path_factory.mktemp("told") / "run", "device")


def test_what_an_event_says_of_the_next_is_learned_and_without_it_is_not(run, data, tmp_path):
    for told, least, most in (
        (run, 0.9, 1.0),
        (trained(data, tmp_path / "by price", "price"), 0.9, 1.0),
        (trained(data, tmp_path / "plain"), 0.0, 0.6),
    ):
        new = shop(1)
        assert least <= share_found(told.recommend(new, k=1), new) <= most
        assert least <= told.evaluate("test")["unmasked/hit_rate@1"] <= most
    assert "device" in repr(run)


def test_the_shards_and_the_same_events_give_the_same(run, tmp_path):
    pq.write_table(shop(0), tmp_path / "events.parquet")
    of_shards = run.recommend(k=3)
    assert run.recommend(tmp_path / "events.parquet", k=3).equals(of_shards)
    assert share_found(run.recommend(k=1), shop(0)) > 0.9


def test_missing_columns_are_missing_values_with_a_warning_and_new_values_unknown(run):
    new = shop(2, users=9)
    absent = new.drop_columns(["device"])
    with pytest.warns(ItrecWarning, match="have no column device: the model takes the values as"):
        top = run.recommend(absent, k=3)
    column = new.column_names.index("device")
    empty = new.set_column(column, "device", pa.array([None] * len(new), pa.string()))
    assert run.recommend(empty, k=3).equals(top)
    strange = new.set_column(column, "device", pa.array(["fridge"] * len(new)))
    assert share_found(run.recommend(strange, k=1), new) < 0.7
    # The model is not told the price, so that nothing is to be warned of.
    run.recommend(new.drop_columns(["price"]), k=1)
    # Lists of items have no features either.
    listed = new["item"].to_pylist()[:LENGTH]
    first = top.slice(0, 3)["item"].to_pylist()
    assert run.recommend([listed], k=3)["item"].to_pylist() == first


@pytest.mark.slow
def test_other_shards_are_met_by_their_values(run):
    """They lack a device of the model's, and have one that it does not know."""
    other = shop(0)
    renamed = [
        {"device 0": "fridge"}.get(name, name) for name in other["device"].to_pylist()
    ]  # fmt: skip
    other = other.set_column(3, "device", pa.array(renamed))
    cut = {"samples": "histories", "max_length": 20, "num_shards": 1}
    given = {"event_features": ["device"], "event_numbers": ["price"]}
    shards = itrec.split(itrec.read(other, **given), **cut)
    with pytest.warns(ItrecWarning, match="other windows"):
        of_shards = run.recommend(data=shards, k=4)
    assert of_shards.equals(run.recommend(other, k=4))
    cheaper = other.set_column(4, "price", pa.array(np.arange(len(other)) * 1.0))
    shards = itrec.split(itrec.read(cheaper, **given), **cut)
    with pytest.raises(ShardsError, match="other ranges of the column 'price'"):
        run.recommend(data=shards, k=4)
    shards = itrec.split(itrec.read(other, event_numbers=["price"]), **cut)
    with pytest.raises(ShardsError, match="no column 'device' of events"):
        run.recommend(data=shards, k=4)
