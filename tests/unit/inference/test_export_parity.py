"""Exported models beside their checkpoints: a thousand users, and columns of events as inputs."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

import itrec_dist
from itrec_dist.data import manifest, spec
from itrec_dist.data.doors.memory import Rows
from itrec_dist.data.shards import reader
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.single import InferenceEngine
from itrec_dist.inference.export import folder
from itrec_dist.inference.load import restore
from itrec_dist.inference.served import Served, from_events, from_shards
from itrec_dist.tasks import TASKS
from tests import exported
from tests.small_models import small


def shop(users=300, length=15, seed=0):
    """Events with columns: devices and prices, some missing, and prices that are often equal."""
    rng = np.random.default_rng(seed)
    count = users * length
    prices = rng.integers(1, 60, count) / 10
    devices = rng.choice(["phone", "desk", "fridge"], count)
    is_missing = rng.random((2, count)) < 0.2
    return pa.table(
        {
            "user": np.repeat([f"u{n}" for n in range(users)], length),
            "item": [f"item {n}" for n in rng.integers(0, 30, count)],
            "timestamp": 10**9 + rng.integers(1, 10**4, count).cumsum(),
            "device": pa.array(devices, pa.string(), mask=is_missing[0]),
            "unit price": pa.array(prices, pa.float64(), mask=is_missing[1]),
            "unit_price": rng.integers(0, 9, count),
        }
    )


@pytest.fixture(scope="module")
def shop_shards(tmp_path_factory):
    events = itrec_dist.read(
        shop(),
        event_features=["device"],
        event_numbers=["unit price", "unit_price"],
        time_unit="seconds",
    )
    out = tmp_path_factory.mktemp("shop") / "shards"
    return itrec_dist.split(events, out=out, samples="histories", max_length=12, num_shards=1).path


SERVED = {
    "sasrec": ("history_shards", small("sasrec")),
    "sasrec, told": (
        "history_shards",
        small("sasrec", side_information="both", rating=True, event_context=("gap", "weekday")),
    ),
    "esasrec, linear": ("history_shards", small("esasrec", linear_width=8)),
    "hstu": ("history_shards", small("hstu")),
    "fuxi": ("history_shards", small("fuxi")),
    "gru4rec": ("history_shards", small("gru4rec")),
    "bert4rec": ("history_shards", small("bert4rec")),
    "sasrec, columns": (
        "shop_shards",
        small("sasrec", event_features=("device", "unit price"), event_context=("gap", "hour")),
    ),
    "hstu, columns": ("shop_shards", small("hstu", event_features=("unit price", "unit_price"))),
    "gru4rec, columns": ("shop_shards", small("gru4rec", event_features=("unit price",))),
    "bert4rec, columns": ("shop_shards", small("bert4rec", event_features=("device",))),
    "ite, columns": (
        "shop_shards",
        small("ite", causal=True, event_features=("device", "unit price", "unit_price")),
    ),
    "ite": ("shards", small("ite", side_information="both", repeat_bias=True)),
}


def made(config, shards, trained):
    """A model with weights at random as if it had been trained on some shards."""
    described = manifest.read(shards)
    items = reader.read_items(shards, described)
    run = replace(restore(trained).run, model=config, engine=EngineConfig(precision="fp32"))
    torch.manual_seed(4)
    task = TASKS["next_items"](config, run.loss, spec.build(described, items)).eval()
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    engine = InferenceEngine(task, run.engine, torch.device("cpu"))
    return replace(
        restore(trained), run=run, manifest=described, items=items, task=task, engine=engine
    )


def a_thousand(served):
    """So many users: everybody with beginnings of several lengths of what they did."""
    past, length = served.histories, served.histories.item_ids.shape[1]
    rows = np.arange(1000) % len(past)
    drop = np.arange(1000) // len(past) * 3  # newest events that have not happened yet

    def earlier(column):
        shifted = np.zeros((1000, *column.shape[1:]), dtype=column.dtype)
        for row, (user, events) in enumerate(zip(rows, drop, strict=True)):
            shifted[row, events:] = column[user, : length - events]
        return shifted

    seen = [past.seen(row) for row in rows]
    histories = replace(
        past, user_ids=past.user_ids[rows], user_features=past.user_features[rows],
        item_ids=earlier(past.item_ids), ratings=earlier(past.ratings),
        times=earlier(past.times), event_features=earlier(past.event_features),
        seen_ids=np.concatenate(seen),
        seen_offsets=np.concatenate([[0], np.cumsum([len(ids) for ids in seen])]),
    )  # fmt: skip
    return Served(tuple(f"{user}" for user in range(1000)), histories)


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVED)
@pytest.mark.parametrize("format_", ["torch", "onnx"])
def test_a_thousand_users_get_the_checkpoints_items(format_, name, trained, tmp_path, request):
    if format_ == "onnx":
        pytest.importorskip("onnxscript", reason="needs the extra export")
        pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    shards, config = SERVED[name]
    shards = request.getfixturevalue(shards)
    restored = made(config, shards, trained)
    folder.export(restored, folder.Request(format_, 10), lambda _: "", tmp_path / "model")
    served = a_thousand(from_shards(restored, shards))
    call = exported.loaded(tmp_path / "model", format_)
    difference, same = exported.compared(restored, served, call, k=10)
    assert difference < 1e-5
    assert same == 1.0


@pytest.mark.slow
def test_columns_of_events_are_inputs_by_their_names(trained, shop_shards, tmp_path):
    """Fed from the table itself, with numbers as they are, and of any number of rows and events."""
    model = small("sasrec", event_features=("device", "unit price"))
    restored = made(model, shop_shards, trained)
    folder.export(restored, folder.Request("torch", 10), lambda _: "", tmp_path / "model")
    described = json.loads((tmp_path / "model" / "signature.json").read_text())
    inputs = {port["name"]: (port["dtype"], port["shape"]) for port in described["inputs"]}
    assert inputs == {
        "item_ids": ("int64", ["batch", "history"]),
        "event_device": ("int64", ["batch", "history"]),
        "event_unit_price": ("float64", ["batch", "history"]),
        "left_out": ("int64", ["batch", "left_out"]),
    }
    assert described["event_features"] == [
        {
            "name": "device", "input": "event_device", "kind": "category",
            "values": ["desk", "fridge", "phone"],
        },
        {"name": "unit price", "input": "event_unit_price", "kind": "number"},
    ]  # fmt: skip
    events = shop(users=3, length=5, seed=1).to_pandas()
    events.loc[0, "device"] = "watch"  # which training has not
    index = {source: i for i, source in enumerate(restored.items.source_ids, 1)}
    code = {"desk": 2, "fridge": 3, "phone": 4, "watch": 1}
    given = {
        "item_ids": events["item"].map(index).to_numpy(np.int64),
        "event_device": events["device"].map(code).fillna(0).to_numpy(np.int64),
        "event_unit_price": events["unit price"].to_numpy(np.float64, na_value=np.nan),
    }
    given = {name: value.reshape(3, 5) for name, value in given.items()}
    call = exported.loaded(tmp_path / "model", "torch")
    scores, top, _ = call(given | {"left_out": given["item_ids"]})
    served = from_events(restored, Rows(events), shop_shards)
    assert served.users == ("u0", "u1", "u2")
    np.testing.assert_allclose(
        scores[:, 1:], exported.checkpoint_scores(restored, served), rtol=0, atol=1e-5
    )
    assert (top == exported.recommended(restored, served, 10)).all()
    # Columns count: without them the scores are others.
    without = np.zeros_like(given["event_device"])
    others = call({**given, "event_device": without, "left_out": without})[0]
    assert np.abs(others[:, 1:] - scores[:, 1:]).max() > 1e-3
