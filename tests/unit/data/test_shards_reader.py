import dataclasses
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import manifest, schema
from itrec_dist.data.shards import arrays, reader
from itrec_dist.errors import ShardsError
from tests.shards_factory import make_shards, random_windows, to_table


@pytest.fixture
def shards(tmp_path):
    splits = {"train": random_windows(40), "test": random_windows(7, seed=1, first_id=40)}
    make_shards(tmp_path, splits, num_files=3)
    return tmp_path


def assert_same(a, b):
    for field in fields(arrays.Windows):
        left, right = getattr(a, field.name), getattr(b, field.name)
        assert left.dtype == right.dtype, field.name
        np.testing.assert_array_equal(left, right, err_msg=field.name)


def test_a_split_reads_back_as_written(shards):
    described = manifest.read(shards)
    assert_same(reader.read_split(shards, described, "train"), random_windows(40))
    assert_same(
        reader.read_split(shards, described, "test"), random_windows(7, seed=1, first_id=40)
    )


def test_windows_come_in_canonical_order_whatever_the_files(shards):
    described = manifest.read(shards)
    described.splits["train"] = described.splits["train"][::-1]
    assert_same(reader.read_split(shards, described, "train"), random_windows(40))


def test_slices_and_chunks_of_a_table_become_the_same_rows(shards):
    described = manifest.read(shards)
    windows = random_windows(40)
    table = to_table(windows, described)
    part = reader.table_to_arrays(table.slice(5, 11), described)
    assert_same(part, windows.take(np.arange(5, 16)))
    chunked = pa.concat_tables([table.slice(30, 10), table.slice(0, 3)])
    rows = np.r_[30:40, 0:3]
    assert_same(reader.table_to_arrays(chunked, described), windows.take(rows))
    assert len(reader.table_to_arrays(table.slice(0, 0), described)) == 0


def test_reading_one_block_copies_nothing(shards):
    described = manifest.read(shards)
    table = to_table(random_windows(40), described)
    first = reader.table_to_arrays(table, described).item_ids
    second = reader.table_to_arrays(table, described).item_ids
    assert np.shares_memory(first, second)


def test_data_without_user_features(tmp_path):
    windows = dataclasses.replace(random_windows(9), user_features=np.zeros((9, 0), np.int32))
    described = make_shards(tmp_path, {"train": windows}, user_features=())
    assert_same(reader.read_split(tmp_path, described, "train"), windows)
    assert reader.read_users(tmp_path, described).user_features.shape == (10, 0)


def test_items_users_and_histories(shards):
    described = manifest.read(shards)
    items = reader.read_items(shards, described)
    matrix = items.feature_matrix()
    assert matrix.shape == (13, 5)
    assert matrix.dtype == np.float32
    assert matrix[0].sum() == 0
    for row, genres in zip(matrix[1:], items.genres, strict=True):
        assert {("Comedy", "Drama", "War")[c] for c in np.flatnonzero(row[:3])} == set(genres)
        assert row[3:].sum() == 1
    targets = random_windows(40).target_ids
    assert items.num_train_targets.tolist() == [(targets == i).sum() for i in range(1, 13)]
    assert items.years[4] is None
    users = reader.read_users(shards, described)
    histories = reader.read_histories(shards, described)
    assert len(users) == len(histories) == 10
    for i in range(10):
        assert histories.seen(i).tolist() == sorted(set(histories.item_ids[i].tolist()) - {0})


def refusal(shards, split="train"):
    with pytest.raises(ShardsError) as refused:
        reader.read_split(shards, manifest.read(shards), split)
    return str(refused.value)


def test_refusals_name_the_file_and_the_mistake(shards):
    assert "no validation split; it has: train, test" in refusal(shards, "validation")
    part = shards / "train" / "part-00001.parquet"
    table = pq.read_table(part)
    pq.write_table(table.slice(0, 3), part)
    assert "part-00001.parquet holds 3 rows, 13 are expected" in refusal(shards)
    part.write_bytes(part.read_bytes()[:-200])
    assert "part-00001.parquet cannot be read" in refusal(shards)
    part.unlink()
    assert "part-00001.parquet is missing" in refusal(shards)
    pq.write_table(table.drop_columns([schema.RATINGS]), part)
    assert "lacks the column ratings" in refusal(shards)


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("window_id", pa.array([0] * 13), "holds a window twice"),
        ("window_id", pa.array([None] * 13, pa.int64()), "has nulls in column window_id"),
        ("item_ids", pa.array([[1, 2, 13, 4]] * 13, pa.list_(pa.int32(), 4)), "from 0 to 13"),
        ("item_ids", pa.array([[1, 2, 3]] * 13, pa.list_(pa.int32(), 3)), "fixed_size_list"),
        ("item_ids", pa.array([[1, None, 3, 4]] * 13, pa.list_(pa.int32(), 4)), "has nulls"),
        ("item_ids", pa.array([[1, 2, 3, 4]] * 13, pa.list_(pa.int32())), "has column item_ids"),
    ],
)
def test_wrong_columns_are_refused(shards, column, value, sentence):
    part = shards / "train" / "part-00001.parquet"
    table = pq.read_table(part)
    pq.write_table(table.set_column(table.column_names.index(column), column, value), part)
    assert sentence in refusal(shards)
