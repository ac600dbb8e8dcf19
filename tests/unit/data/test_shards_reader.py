import dataclasses
import json
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import manifest
from itrec_dist.data.shards import arrays, reader, splits, writer
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
        if left is None or right is None:
            assert left is right, field.name
            continue
        assert left.dtype == right.dtype, field.name
        np.testing.assert_array_equal(left, right, err_msg=field.name)


def test_a_split_reads_back_as_written(shards):
    described = manifest.read(shards)
    assert_same(splits.read_split(shards, described, "train"), random_windows(40))
    assert_same(
        splits.read_split(shards, described, "test"), random_windows(7, seed=1, first_id=40)
    )


def test_windows_come_in_canonical_order_whatever_the_files(shards):
    described = manifest.read(shards)
    described.splits["train"] = described.splits["train"][::-1]
    assert_same(splits.read_split(shards, described, "train"), random_windows(40))


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


def test_a_flipped_bit_is_refused_or_changes_nothing(shards):
    part = shards / "train" / "part-00001.parquet"
    table = pq.read_table(part)
    writer.write_table(part, iter(table.to_batches()), table.schema, writer.ContentDigest())
    note_size(shards)
    described = manifest.read(shards)
    intact, whole = part.read_bytes(), splits.read_split(shards, described, "train")
    footer = len(intact) - 8 - int.from_bytes(intact[-8:-4], "little")
    num_refused = 0
    for place in range(4, footer, 20):
        damaged = bytearray(intact)
        damaged[place] ^= 1
        part.write_bytes(damaged)
        try:
            found = splits.read_split(shards, described, "train")
        except ShardsError:
            num_refused += 1
        else:
            assert_same(found, whole)
    assert num_refused > 40


def test_reading_one_block_copies_nothing(shards):
    described = manifest.read(shards)
    table = to_table(random_windows(40), described)
    first = reader.table_to_arrays(table, described).item_ids
    second = reader.table_to_arrays(table, described).item_ids
    assert np.shares_memory(first, second)


def test_data_without_user_features(tmp_path):
    windows = dataclasses.replace(random_windows(9), user_features=np.zeros((9, 0), np.int32))
    described = make_shards(tmp_path, {"train": windows}, user_features=())
    assert_same(splits.read_split(tmp_path, described, "train"), windows)
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
        splits.read_split(shards, manifest.read(shards), split)
    return str(refused.value)


def rewrite(shards, change):
    """Replace the second training file by `change(table)`, its size in the manifest as well."""
    part = shards / "train" / "part-00001.parquet"
    pq.write_table(change(pq.read_table(part)), part)
    note_size(shards)


def note_size(shards):
    """Let the manifest have the size of the second training file."""
    part = shards / "train" / "part-00001.parquet"
    place = shards / "manifest.json"
    content = json.loads(place.read_text())
    content["splits"]["train"][1]["bytes"] = part.stat().st_size
    place.write_text(json.dumps(content))


@pytest.mark.parametrize("content", ["[]", "{", "", '{"format_version": 1}', "null"])
def test_what_is_no_manifest_is_one_sentence(content, tmp_path):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ShardsError, match=r"manifest\.json"):
        manifest.read(tmp_path)


def test_refusals_name_the_place_and_the_mistake(shards):
    assert "no validation windows; it has: train, test" in refusal(shards, "validation")
    rewrite(shards, lambda table: table.drop_columns(["ratings"]))
    assert "lacks the column ratings" in refusal(shards)
    part = shards / "train" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-200])
    assert "part-00001.parquet has" in refusal(shards)
    part.unlink()
    assert "part-00001.parquet is missing" in refusal(shards)


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("window_id", pa.array([0] * 13), "holds a window twice"),
        ("window_id", pa.array([None] * 13, pa.int64()), "has nulls in column window_id"),
        (
            "item_ids",
            pa.array([[1, 2, 13, 4]] * 13, pa.list_(pa.int32(), 4)),
            "from 1 to 13, allowed are 0 to 12",
        ),
        ("item_ids", pa.array([[1, 2, 3]] * 13, pa.list_(pa.int32(), 3)), "fixed_size_list"),
        ("item_ids", pa.array([[1, None, 3, 4]] * 13, pa.list_(pa.int32(), 4)), "has nulls"),
        ("item_ids", pa.array([[1, 2, 3, 4]] * 13, pa.list_(pa.int32())), "has column item_ids"),
    ],
)
def test_wrong_columns_are_refused(shards, column, value, sentence):
    rewrite(shards, lambda t: t.set_column(t.column_names.index(column), column, value))
    assert sentence in refusal(shards)


def test_windows_in_order_are_not_copied_again(tmp_path):
    described = make_shards(tmp_path, {"train": random_windows(20)}, num_files=1)
    table = pq.read_table(tmp_path / described.splits["train"][0].name)
    windows = splits.read_split(tmp_path, described, "train", lambda *_: iter([table]))
    assert np.shares_memory(windows.item_ids, reader.table_to_arrays(table, described).item_ids)


# ---------------------------------------------------------------------------- times


def test_times_are_read_only_where_they_are_asked_for(tmp_path):
    windows = random_windows(40, times=True)
    described = make_shards(tmp_path, {"train": windows})
    assert splits.read_split(tmp_path, described, "train").times is None
    assert_same(splits.read_split(tmp_path, described, "train", times=True), windows)
    assert reader.column_names(described, times=True) == [c.name for c in arrays.WINDOW_COLUMNS]
    assert "times" not in reader.column_names(described, times=False)
    histories = reader.read_histories(tmp_path, described)
    assert ((histories.times > 0) == (histories.item_ids > 0)).all()


def test_shards_of_earlier_versions_have_zero_times(shards):
    described = manifest.read(shards)
    assert not described.has_times
    windows = splits.read_split(shards, described, "train", times=True)
    assert windows.times.shape == (40, 4)
    assert windows.times.dtype == np.int64
    assert not windows.times.any()
    assert not reader.read_histories(shards, described).times.any()


def test_shards_that_should_have_times_and_have_none_are_refused(tmp_path):
    make_shards(tmp_path, {"train": random_windows(26, times=True)})
    rewrite(tmp_path, lambda table: table.drop_columns(["times"]))
    described = manifest.read(tmp_path)
    assert len(splits.read_split(tmp_path, described, "train")) == 26
    with pytest.raises(ShardsError, match="lacks the column times"):
        splits.read_split(tmp_path, described, "train", times=True)


def test_histories_as_windows_have_no_targets(tmp_path):
    described = make_shards(tmp_path, {"train": random_windows(40, times=True)})
    histories = reader.read_histories(tmp_path, described)
    rows = np.array([3, 7])
    windows = histories.windows(rows, times=True)
    assert windows.user_ids.tolist() == [4, 8]
    np.testing.assert_array_equal(windows.item_ids, histories.item_ids[rows])
    np.testing.assert_array_equal(windows.times, histories.times[rows])
    assert windows.target_ids.shape == windows.target_ratings.shape == (2, 0)
    assert histories.windows(rows).times is None
