"""A run as a model of MLflow: what its folder says, and that it answers as the run does."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import itrec_dist as itrec
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.trackers import mlflow_model

mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")

pytestmark = pytest.mark.usefixtures("one_thread")

USERS, LENGTH = 12, 6


def shop():
    """Events with dates, and with a column that the model is told."""
    place_UL = np.random.default_rng(0).integers(0, 8, (USERS, LENGTH))
    return pa.table(
        {
            "customer": np.repeat([f"c{n}" for n in range(USERS)], LENGTH),
            "sku": [f"item {place}" for place in place_UL.ravel()],
            "bought_at": np.datetime64("2024-01-01", "us") + np.arange(place_UL.size),
            "device": [f"device {place % 3}" for place in place_UL.ravel()],
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    events = itrec.read(
        shop(), user="customer", item="sku", timestamp="bought_at", event_features=["device"]
    )
    data = itrec.split(events, samples="histories", max_length=20, num_shards=1)
    return itrec.train(
        data, model=itrec.models.GRU4Rec(width=8, event_features=("device",)), loss="softmax",
        out=tmp_path_factory.mktemp("shop") / "run", local=True,
        training={"epochs": 1, "batch_size": 20}, evaluation={"train_sample": 0, "seen": "none"},
        cluster={"threads": 1}, engine={"precision": "fp32"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    written = tmp_path_factory.mktemp("mlflow") / "model"
    mlflow_model.save(RunDirectory(run.path), written)
    return written


@pytest.fixture(scope="module")
def model(folder):
    return mlflow.pyfunc.load_model(str(folder))


def test_the_signature_names_the_columns_of_the_data_and_what_comes_out(model):
    columns = {column.name: column.required for column in model.metadata.signature.inputs}
    assert columns == {"customer": True, "sku": True, "bought_at": True, "device": False}
    assert model.metadata.signature.outputs.to_dict() == [
        {"type": type_, "name": name, "required": True}
        for name, type_ in [
            ("user", "string"), ("rank", "integer"), ("item", "string"), ("title", "string"),
            ("score", "float"),
        ]
    ]  # fmt: skip


def test_nothing_is_pickled_and_no_code_is_kept(folder):
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "model.safetensors", "items.parquet", "input_example.json"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".py", ".pt"))]
    assert not (folder / "data" / "run" / "checkpoints" / "best" / "state").exists()
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


def test_it_answers_as_the_run_does(model, run):
    new = shop().to_pandas()
    pd.testing.assert_frame_equal(model.predict(new), run.recommend(new, k=5))
    some = {"k": 2, "among": ["item 1", "item 3", "item 5"], "without": ["item 3"]}
    pd.testing.assert_frame_equal(model.predict(new, params=some), run.recommend(new, **some))
    of_half = new[: len(new) // 2].assign(more=1.0)
    assert set(model.predict(of_half)["user"]) == {f"c{n}" for n in range(USERS // 2)}


def test_its_own_example_can_be_predicted(model, folder):
    example = model.input_example
    found = model.predict(example)
    assert found["user"].value_counts().to_dict() == {"1": 5, "2": 5}
    # A server is sent the same as JSON.
    sent = json.loads((folder / "serving_input_example.json").read_text())["dataframe_split"]
    pd.testing.assert_frame_equal(model.predict(pd.DataFrame(**sent)), found)


def test_a_column_that_is_told_may_be_left_out_with_a_warning_and_another_may_not(model):
    new = shop().to_pandas()
    with pytest.warns(itrec.errors.ItrecWarning, match="no column device"):
        model.predict(new.drop(columns=["device"]))
    with pytest.raises(mlflow.exceptions.MlflowException, match="bought_at"):
        model.predict(new.drop(columns=["bought_at"]))
