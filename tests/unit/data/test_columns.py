"""One declaration of the columns: what is written, read, batched and counted follows from it."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist.data import manifest as manifests
from itrec_dist.data import spec
from itrec_dist.data.batches import TensorTable, micro_batches, whole_batch
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import arrays, reader
from itrec_dist.data.shards.arrays import Windows
from itrec_dist.data.shards.columns import Widths, columns_of
from itrec_dist.data.shards.splits import read_split
from itrec_dist.data.shards.writer import ContentDigest, write_split, write_table
from tests.shards_factory import USER_FEATURES, make_shards, random_windows

CPU = torch.device("cpu")

HAND_MADE = {
    "window_id": [0, 1],
    "user_id": [7, 3],
    "user_features": [[1, 2], [0, 3]],
    "item_ids": [[0, 0, 5], [1, 2, 12]],
    "ratings": [[0.0, 0.0, 3.5], [1.0, 2.0, 5.0]],
    "times": [[0, 0, 978_300_001], [978_300_002, 978_300_002, 2**40]],
    "target_ids": [[6, 5], [1, 1]],
    "target_ratings": [[4.5, 0.5], [2.0, 3.0]],
    "target_time": [978_300_003, 2**41],
}
"""Two windows of three inputs and two targets, as SQL gives them."""

ON_THE_BATCH = {
    "window_id": "window_ids_B", "user_id": "user_ids_B", "user_features": "user_features_BF",
    "item_ids": "item_ids_BL", "ratings": "ratings_BL", "times": "times_BL",
    "target_ids": "target_ids_BK", "target_ratings": "target_ratings_BK",
    "target_time": "target_time_B",
}  # fmt: skip


def written(folder, columns, user_features=USER_FEATURES):
    """A shards folder whose training split is written as `itrec window` writes it."""
    template = random_windows(4, input_length=3, times=True)
    if not user_features:
        template = dataclasses.replace(template, user_features=np.zeros((4, 0), np.int32))
    made = make_shards(folder, {"test": template}, user_features=user_features)
    batch = pa.RecordBatch.from_pydict(columns)
    schema = Widths.of(made).schema(arrays.WINDOW_COLUMNS)
    files = write_split(folder / "train", iter([batch]), schema, [2], ContentDigest())
    return dataclasses.replace(made, splits={**made.splits, "train": files})


@pytest.mark.parametrize("times", [True, False])
def test_every_column_goes_from_the_writer_to_the_batch(tmp_path, times):
    made = written(tmp_path, HAND_MADE)
    windows = read_split(tmp_path, made, "train", times=times)
    batch = whole_batch(windows, CPU)
    for column, name in ON_THE_BATCH.items():
        tensor = getattr(batch, name)
        if not times and column in ("times", "target_time"):
            assert tensor is None
        else:
            assert tensor.tolist() == HAND_MADE[column], column
    assert batch.weight_B.tolist() == [1.0, 1.0]
    picked = TensorTable(windows, CPU).batch(torch.tensor([1]), torch.ones(1), 1.0)
    assert picked.item_ids_BL.tolist() == [[1, 2, 12]]
    assert picked.user_ids_B.tolist() == [3]
    if times:
        assert picked.times_BL.tolist() == [HAND_MADE["times"][1]]
        assert [part.target_time_B.tolist() for part in micro_batches(batch, 2)] == [
            [978_300_003], [2**41],
        ]  # fmt: skip


@pytest.mark.parametrize("user_features", [USER_FEATURES, ()], ids=["F=2", "F=0"])
def test_what_is_written_has_the_declared_schema(tmp_path, user_features):
    columns = HAND_MADE | ({} if user_features else {"user_features": [[], []]})
    if not user_features:
        columns["user_features"] = pa.array([[], []], pa.list_(pa.int32()))
    made = written(tmp_path, columns, user_features)
    found = pq.read_schema(tmp_path / made.splits["train"][0].name)
    F = len(user_features)
    codes = pa.list_(pa.int32(), F) if F else pa.list_(pa.int32())
    assert found == pa.schema(
        {
            "window_id": pa.int64(), "user_id": pa.int32(), "user_features": codes,
            "item_ids": pa.list_(pa.int32(), 3), "ratings": pa.list_(pa.float32(), 3),
            "times": pa.list_(pa.int64(), 3), "target_ids": pa.list_(pa.int32(), 2),
            "target_ratings": pa.list_(pa.float32(), 2), "target_time": pa.int64(),
        }
    )  # fmt: skip
    windows = read_split(tmp_path, made, "train", times=True)
    assert windows.user_features.shape == (2, F)
    assert whole_batch(windows, CPU).user_features_BF.shape == (2, F)


def test_users_and_histories_go_from_the_writer_to_arrays(tmp_path):
    made = make_shards(tmp_path, {"test": random_windows(4, times=True)}, num_users=2)
    widths, digest = Widths.of(made), ContentDigest()
    users = {"user_id": [1, 2], "source_id": ["x", "y"], "num_events": [9, 4]}
    users["user_features"] = [[2, 3], [0, 1]]
    histories = {
        "user_id": [1, 2], "user_features": [[2, 3], [0, 1]],
        "item_ids": [[0, 1, 2, 3], [4, 5, 6, 7]], "ratings": [[0.0, 1, 2, 3], [4.0, 5, 4, 5]],
        "times": [[0, 11, 12, 12], [21, 22, 23, 24]], "seen_ids": [[1, 2, 3], [4, 5, 6, 7, 8]],
    }  # fmt: skip
    for name, content, columns in (
        ("users", users, arrays.USER_COLUMNS), ("histories", histories, arrays.HISTORY_COLUMNS),
    ):  # fmt: skip
        batches = iter([pa.RecordBatch.from_pydict(content)])
        write_table(tmp_path / f"{name}.parquet", batches, widths.schema(columns), digest)
    found = reader.read_users(tmp_path, made)
    assert (found.source_ids, found.num_events.tolist()) == (("x", "y"), [9, 4])
    assert found.user_features.tolist() == [[2, 3], [0, 1]]
    history = reader.read_histories(tmp_path, made)
    for name in ("user_features", "item_ids", "ratings", "times"):
        assert getattr(history, name).tolist() == histories[name], name
    assert [history.seen(i).tolist() for i in (0, 1)] == histories["seen_ids"]


def test_every_column_of_a_window_has_its_tensor():
    tensors = {column.tensor(name) for name, column in columns_of(Windows).items()}
    others = {"weight_B", "denominator"}
    others |= {"step_target_ids_BL", "further_target_ids_BLK", "seen_ids_BS"}  # of histories alone
    others |= {"event_features_BLG", "target_features_BG"}
    assert {field.name for field in dataclasses.fields(Batch)} == tensors | others
    fields = [field.name for field in dataclasses.fields(Windows)]
    assert fields == [*columns_of(Windows), "event_features"]


def test_bytes_of_a_row_are_those_of_the_arrays():
    windows = random_windows(10, times=True)
    widths = Widths(inputs=4, targets=2, user_features=2)
    held = {name: getattr(windows, name) for name in columns_of(Windows)}
    everything = sum(array.nbytes for array in held.values())
    assert widths.row_bytes(arrays.window_columns(times=True)) == everything / 10
    timeless = everything - held["times"].nbytes - held["target_time"].nbytes
    assert widths.row_bytes(arrays.window_columns(times=False)) == timeless / 10


@pytest.mark.parametrize("times", [True, False])
def test_a_model_spec_says_whether_the_data_has_times(tmp_path, times):
    make_shards(tmp_path, {"train": random_windows(times=times)})
    made = manifests.read(tmp_path)
    assert spec.build(made, reader.read_items(tmp_path, made)).has_times is times
