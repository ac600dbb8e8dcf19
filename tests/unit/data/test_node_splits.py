"""Splits that the processes of a machine share: the same to the bit, read once, held once."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from itrec_dist.data import manifest
from itrec_dist.data.batches import Share, TensorTable
from itrec_dist.data.feeds import cached
from itrec_dist.data.history_feeds import HistoryFeed, HistoryShare, HistoryTable
from itrec_dist.data.shards import splits
from itrec_dist.data.shards.arrays import Ragged
from itrec_dist.data.shards.on_node import NodeSplits
from itrec_dist.errors import ShardsError
from itrec_dist.storage import parquet, shared_arrays
from tests.swept import run_here, sweep_of

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A machine on which nothing was decoded yet."""
    monkeypatch.setenv("ITREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def node(shards, *, shares=True, note=pytest.fail, blocks=parquet.row_groups):
    return NodeSplits(shards, manifest.read(shards), blocks, shares, note)


def nothing_is_read(files, columns=None):
    raise AssertionError(f"{files} are read again")


def plain(values):
    """Every value of a dataclass by name, lists of any length as two."""
    found = {}
    for name, value in vars(values).items():
        if isinstance(value, Ragged):
            found |= {f"{name}.values": value.values, f"{name}.offsets": value.offsets}
        elif value is not None:
            found[name] = np.asarray(value)
    return found


def same(a, b):
    one, two = plain(a), plain(b)
    assert one.keys() == two.keys()
    for name, array in one.items():
        assert (array.dtype, array.shape) == (two[name].dtype, two[name].shape), name
        assert np.array_equal(array, two[name]), name


@pytest.mark.parametrize("times", [False, True])
def test_shared_windows_are_those_of_the_files(times, shards):
    described = manifest.read(shards)
    node(shards).windows("train", times=times)
    shared = node(shards, blocks=nothing_is_read).windows("train", times=times)
    own = splits.read_split(shards, described, "train", times=times)
    if not times:
        own = own.__class__(**{**vars(own), "target_time": np.zeros(len(own), np.int64)})
    same(shared.windows(), own)
    feeds = [cached(w, Share(32, rank=1, world_size=2), CPU) for w in (shared, own)]
    for seed in (None, (3, 1)):
        for one, two in zip(*(feed.epoch(seed) for feed in feeds), strict=True):
            same(one, two)


def test_windows_of_single_ratings_are_shared_too(rated_shards):
    """Without times the type of window_ids has no other column."""
    shared = node(rated_shards).windows("train", times=False)
    own = splits.read_split(rated_shards, manifest.read(rated_shards), "train")
    rows = torch.tensor([5, 0, 7])
    found = [TensorTable(w, CPU).batch(rows, torch.ones(3), 3.0) for w in (shared, own)]
    same(*found)


def test_shared_histories_are_those_of_the_files(history_shards):
    described = manifest.read(history_shards)
    for split in described.splits:
        node(history_shards).histories(split)
        shared = node(history_shards, blocks=nothing_is_read).histories(split)
        own = splits.read_history_split(history_shards, described, split)
        same(shared, own)
        use = "steps" if split == "train" else "judged"
        seed = (0, 1) if split == "train" else None
        feeds = [
            HistoryFeed(
                HistoryTable(rows, CPU, described.target_length), HistoryShare(16), CPU, use
            )
            for rows in (shared, own)
        ]
        for one, two in zip(*(feed.epoch(seed) for feed in feeds), strict=True):
            same(one, two)


def inodes_of(tensors):
    """The files that are mapped where tensors lie; 0 for memory of the process alone."""
    maps = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, inode, *_ = line.split()
        begin, end = (int(text, 16) for text in span.split("-"))
        maps.append((begin, end, int(inode)))
    places = [tensor.data_ptr() for tensor in tensors]
    return [next(inode for a, b, inode in maps if a <= place < b) for place in places]


def inodes_of_feeds(context, windows, histories, shares):
    """A program of a worker: where its tensors of both kinds lie."""
    del context
    table = TensorTable(node(windows, shares=shares).windows("train", times=True), CPU)
    rows = HistoryTable(node(histories, shares=shares).histories("train"), CPU, 1)
    return inodes_of([values for values, _ in table._blocks]), inodes_of(rows._flat.values())


def test_two_processes_hold_the_same_pages(pair, shards, history_shards):
    for one, two in zip(*pair.run(inodes_of_feeds, shards, history_shards, True), strict=True):
        assert one == two
        assert len(set(one)) == 3
        assert 0 not in one
    for found in zip(*pair.run(inodes_of_feeds, shards, history_shards, False), strict=True):
        assert set(found[0] + found[1]) == {0}


def test_the_trials_of_a_sweep_open_every_file_once(shards, tmp_path, monkeypatch):
    opened = []
    plain = parquet.pq.ParquetFile

    def counting(path, *args, **more):
        opened.append(Path(path))
        return plain(path, *args, **more)

    monkeypatch.setattr(parquet.pq, "ParquetFile", counting)
    sweep = sweep_of(shards, tmp_path / "sweep", trials=2, final={"candidates": 0})
    directory, _ = run_here(sweep)
    assert [t.outcome.status for t in directory.trials()] == ["complete"] * 2
    of_splits = [path for path in opened if path.parent != shards]
    described = manifest.read(shards)
    assert sorted(of_splits) == sorted(
        shards / file.name for split in ("train", "validation") for file in described.splits[split]
    )


def test_what_a_process_writes_into_its_arrays_stays_its_own(tmp_path):
    place = tmp_path / "key" / "name"
    made = {"a": np.arange(3.0), "empty": np.zeros((0, 2), np.int32)}
    shared_arrays.shared(place, lambda: made)["a"][:] = 7
    again = shared_arrays.shared(place, pytest.fail)
    assert again["a"].tolist() == [0, 1, 2]
    assert (again["empty"].shape, again["empty"].dtype) == ((0, 2), np.int32)


def test_arrays_that_could_not_be_made_are_made_by_the_next(tmp_path):
    place = tmp_path / "key" / "name"
    with pytest.raises(ShardsError, match="damaged"):
        shared_arrays.shared(place, lambda: (_ for _ in ()).throw(ShardsError("damaged")))
    assert shared_arrays.shared(place, lambda: {"a": np.ones(2)})["a"].sum() == 2


def test_what_nobody_opened_for_a_day_goes_when_other_data_are_decoded(tmp_path):
    now = time.time()
    for key, age in (("old", 90_000), ("recent", 3600)):
        shared_arrays.shared(tmp_path / key / "train", lambda: {"a": np.ones(2)})
        os.utime(tmp_path / key, (now - age, now - age))
    held = shared_arrays.shared(tmp_path / "recent" / "train", pytest.fail)
    shared_arrays.shared(tmp_path / "new" / "train", lambda: {"a": np.ones(2)})
    assert {path.name for path in tmp_path.iterdir()} == {"recent", "new"}
    shutil.rmtree(tmp_path / "recent")
    assert held["a"].sum() == 2, "what is open can be read after it was removed"


def test_a_copy_does_not_hide_that_shards_are_gone(shards, tmp_path):
    place = shutil.copytree(shards, tmp_path / "shards")
    node(place).windows("validation", times=False)
    (place / "validation" / "part-00000.parquet").unlink()
    with pytest.raises(ShardsError, match="is missing: window the data again"):
        node(place).windows("validation", times=False)


def test_a_folder_that_cannot_be_written_is_noted_and_done_without(shards, cache):
    cache.write_text("a file in its place")
    notes = []
    found = node(shards, note=notes.append).windows("validation", times=True)
    same(found.windows(), node(shards, shares=False).windows("validation", times=True).windows())
    (note,) = notes
    assert note.startswith(f"cannot write {cache / 'decoded'}")
    assert note.endswith("every worker and trial holds its own copy of the validation split")
