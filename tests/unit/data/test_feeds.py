import itertools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist.data import feeds as data_feeds
from itrec_dist.data.batches import Share, TensorTable, micro_batches, whole_batch
from itrec_dist.data.feeds import (
    CachedFeed,
    FeedConfig,
    StreamedFeed,
    resolve_cache,
)
from itrec_dist.data.shards.arrays import WINDOW_COLUMNS, Windows
from itrec_dist.data.shards.columns import Widths
from itrec_dist.data.shards.splits import FileRows, WindowReader, read_split, split_files
from itrec_dist.distributed.context import LocalContext
from itrec_dist.errors import ConfigError, ShardsError
from tests.shards_factory import make_shards, random_windows, to_table

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
WORLDS = (1, 2, 4)
READ = LocalContext(CPU).blocks


def cached(windows, batch_size, rank=0, world=1):
    return CachedFeed(TensorTable(windows, CPU), Share(batch_size, rank, world), CPU)


def real_ids(batch):
    return batch.window_ids_B[batch.weight_B > 0].tolist()


def per_step(feeds, seed):
    """The batches of every worker, step by step; all must run the same number of steps."""
    return list(zip(*(list(feed.epoch(seed)) for feed in feeds), strict=True))


def seen_ids(steps):
    return [i for step in steps for batch in step for i in real_ids(batch)]


def same_windows(batch, windows):
    """Whether each row of a batch is the window whose id it carries."""
    row_of = {int(i): row for row, i in enumerate(windows.window_ids)}
    rows = np.array([row_of[int(i)] for i in batch.window_ids_B])
    pairs = (
        (batch.user_ids_B, windows.user_ids), (batch.user_features_BF, windows.user_features),
        (batch.item_ids_BL, windows.item_ids), (batch.ratings_BL, windows.ratings),
        (batch.target_ids_BK, windows.target_ids),
        (batch.target_ratings_BK, windows.target_ratings),
    )  # fmt: skip
    return all(np.array_equal(tensor.numpy(), array[rows]) for tensor, array in pairs)


# ---------------------------------------------------------------------------- cached


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("num_windows", "batch_size"), [(40, 8), (41, 8), (39, 8), (3, 8)])
def test_an_epoch_holds_every_window_once(num_windows, batch_size, world):
    windows = random_windows(num_windows, first_id=100)
    feeds = [cached(windows, batch_size, rank, world) for rank in range(world)]
    steps = per_step(feeds, (3, 1))
    assert sorted(seen_ids(steps)) == list(range(100, 100 + num_windows))
    assert len(steps) == feeds[0].steps_per_epoch == -(-num_windows // batch_size)
    assert all(len(b.weight_B) == batch_size // world for step in steps for b in step)
    assert all(same_windows(b, windows) for step in steps for b in step)


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("num_windows", [40, 41, 33])
@pytest.mark.parametrize("seed", [(0, 1), None])
def test_global_batches_do_not_depend_on_the_number_of_workers(world, num_windows, seed):
    windows = random_windows(num_windows)
    alone = per_step([cached(windows, 8)], seed)
    shared = per_step([cached(windows, 8, rank, world) for rank in range(world)], seed)
    assert [seen_ids([step]) for step in alone] == [seen_ids([step]) for step in shared]


def test_evaluation_is_in_canonical_order():
    windows = random_windows(21)
    assert seen_ids(per_step([cached(windows, 8)], None)) == list(range(21))


def test_the_seed_and_the_epoch_set_the_order():
    feed = cached(random_windows(60), 8)
    orders = {seed: seen_ids(per_step([feed], seed)) for seed in ((0, 1), (0, 2), (1, 1), (1, 2))}
    assert len({tuple(order) for order in orders.values()}) == 4
    assert seen_ids(per_step([feed], (0, 1))) == orders[0, 1]
    first = torch.tensor(orders[0, 1]).float()
    drift = torch.corrcoef(torch.stack([first, torch.arange(60.0)]))[0, 1]
    assert abs(drift) < 0.5, "a permutation of all windows, not of neighbours"


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("num_windows", [40, 41, 45])
def test_weights_and_denominators_make_worker_means_the_global_mean(world, num_windows):
    windows = random_windows(num_windows)
    values = torch.rand(num_windows, dtype=torch.float64)
    feeds = [cached(windows, 8, rank, world) for rank in range(world)]
    for number, step in enumerate(per_step(feeds, (0, 1))):
        real = min(8, num_windows - 8 * number)
        assert {b.denominator for b in step} == {real / world}
        assert sum(b.weight_B.sum().item() for b in step) == real
        assert all(set(b.weight_B.tolist()) <= {0.0, 1.0} for b in step)
        means = [(values[b.window_ids_B] * b.weight_B).sum() / b.denominator for b in step]
        expected = values[seen_ids([step])].mean()
        assert torch.stack(means).mean().item() == pytest.approx(expected.item())


def test_a_batch_that_workers_cannot_share_is_refused():
    with pytest.raises(ConfigError, match=r"10 windows.*4 workers.*multiple of 4"):
        Share(10, 0, 4)
    with pytest.raises(ConfigError):
        Share(0)


def test_batches_of_data_without_user_features():
    windows = random_windows(10)
    bare = replace(windows, user_features=np.zeros((10, 0), np.int32))
    (batch, *_) = cached(bare, 4).epoch(None)
    assert batch.user_features_BF.shape == (4, 0)
    assert torch.equal(batch.item_ids_BL, torch.from_numpy(windows.item_ids[:4]))


def test_whole_batch_is_every_window():
    windows = random_windows(7)
    batch = whole_batch(windows, CPU)
    assert real_ids(batch) == list(range(7))
    assert batch.denominator == 7.0
    assert same_windows(batch, windows)


# ---------------------------------------------------------------------------- streamed


def uneven_shards(folder, rows_of_file):
    """A training split whose files have the given numbers of rows."""
    windows = random_windows(sum(rows_of_file))
    manifest = make_shards(folder, {"train": windows}, num_files=len(rows_of_file))
    starts = np.cumsum([0, *rows_of_file])
    files = []
    for file, start, rows in zip(manifest.splits["train"], starts, rows_of_file, strict=False):
        table = to_table(windows.take(np.arange(start, start + rows)), manifest)
        pq.write_table(table, folder / file.name, row_group_size=5)
        size = (folder / file.name).stat().st_size
        files.append(replace(file, rows=rows, bytes=size))
    return windows, replace(manifest, splits={"train": tuple(files)})


def streamed(folder, manifest, batch_size, rank=0, world=1, *, buffer=16, read=READ):
    files = split_files(folder, manifest, "train")
    return StreamedFeed(
        files, WindowReader(manifest, read), Share(batch_size, rank, world), CPU, buffer
    )


UNEVEN = (1, 40, 7, 13, 2, 9, 30)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("buffer", [1, 16, 10_000])
def test_a_streamed_epoch_holds_every_window_once(tmp_path, world, buffer):
    windows, manifest = uneven_shards(tmp_path, UNEVEN)
    feeds = [streamed(tmp_path, manifest, 8, rank, world, buffer=buffer) for rank in range(world)]
    assert len({feed.steps_per_epoch for feed in feeds}) == 1
    assert feeds[0].num_windows == sum(UNEVEN)
    for epoch in (1, 2, 3):
        steps = per_step(feeds, (0, epoch))
        assert sorted(seen_ids(steps)) == list(range(sum(UNEVEN)))
        assert len(steps) <= feeds[0].steps_per_epoch
        assert all(same_windows(b, windows) for step in steps for b in step)
        for step in steps:
            real = sum(b.weight_B.sum().item() for b in step)
            assert real > 0
            assert {b.denominator for b in step} == {real / world}
            assert {len(b.weight_B) for b in step} == {8 // world}


def test_a_streamed_epoch_is_shuffled_anew_and_repeatably(tmp_path):
    _, manifest = uneven_shards(tmp_path, (30, 30, 30))
    feed = streamed(tmp_path, manifest, 8, buffer=40)
    orders = [seen_ids(per_step([feed], seed)) for seed in ((0, 1), (0, 2), (1, 1), (0, 1))]
    assert orders[0] == orders[3]
    assert len({tuple(order) for order in orders}) == 3
    for order in orders:
        neighbours = sum(b == a + 1 for a, b in itertools.pairwise(order))
        assert neighbours < 15, "rows are mixed within the buffer, not only the files"


@pytest.mark.parametrize("kind", ["cached", "streamed"])
@pytest.mark.parametrize("world", [1, 2])
def test_an_epoch_resumes_where_it_was_left(kind, world, tmp_path):
    windows, manifest = uneven_shards(tmp_path, UNEVEN)
    for rank in range(world):
        feed = cached(windows, 8, rank, world)
        if kind == "streamed":
            feed = streamed(tmp_path, manifest, 8, rank, world)
        whole = list(feed.epoch((3, 2)))
        for skip in (0, 1, 5, len(whole) - 1, len(whole)):
            rest = list(feed.epoch((3, 2), skip=skip))
            assert len(rest) == len(whole) - skip
            for one, other in zip(rest, whole[skip:], strict=True):
                assert one.denominator == other.denominator
                assert torch.equal(one.window_ids_B, other.window_ids_B)
                assert torch.equal(one.weight_B, other.weight_B)


def test_streaming_one_worker_in_canonical_order(tmp_path):
    _, manifest = uneven_shards(tmp_path, UNEVEN)
    feed = streamed(tmp_path, manifest, 8)
    assert seen_ids(per_step([feed], None)) == list(range(sum(UNEVEN)))


def test_blocks_without_rows_do_not_end_a_streamed_epoch(tmp_path):
    _, manifest = uneven_shards(tmp_path, (16, 16))

    def read(files, columns):
        for block in READ(files, columns):
            yield block.slice(0, 0)
            yield block
            yield block.slice(0, 0)

    feed = streamed(tmp_path, manifest, 8, buffer=8, read=read)
    assert sorted(seen_ids(per_step([feed], (0, 1)))) == list(range(32))


def test_fewer_files_than_streaming_workers_are_refused(tmp_path):
    _, manifest = uneven_shards(tmp_path, (16, 16))
    with pytest.raises(ConfigError, match=r"2 shard files.*4 workers.*num_shards.*cache"):
        streamed(tmp_path, manifest, 8, 0, 4)


@pytest.mark.parametrize("change", [-1, 1, 20])
def test_a_streamed_file_of_other_length_is_refused(tmp_path, change):
    _, manifest = uneven_shards(tmp_path, (30, 30))
    files = [FileRows(f.path, f.rows + change) for f in split_files(tmp_path, manifest, "train")]
    feed = StreamedFeed(files, WindowReader(manifest, READ), Share(8), CPU, 16)
    with pytest.raises(ShardsError, match=r"gave \d+ windows, \d+ are expected"):
        list(feed.epoch((0, 1)))


def test_an_empty_shuffle_buffer_is_refused():
    with pytest.raises(ValueError, match=r"feed.shuffle_buffer=0"):
        FeedConfig(shuffle_buffer=0)


# ---------------------------------------------------------------------------- micro-batches


@pytest.mark.parametrize("count", [1, 2, 4])
def test_micro_batches_have_the_loss_and_gradient_of_the_whole(count):
    (*_, short) = cached(random_windows(21), 8).epoch((0, 1))  # 5 windows and 3 fillers
    values = torch.rand(21, dtype=torch.float64, requires_grad=True)

    def mean(batch):
        return (values[batch.window_ids_B].square() * batch.weight_B).sum() / batch.denominator

    parts = list(micro_batches(short, count))
    losses = [mean(part) / count for part in parts]
    assert len(parts) == count
    assert torch.cat([p.window_ids_B for p in parts]).tolist() == short.window_ids_B.tolist()
    whole = mean(short)
    assert sum(losses).item() == pytest.approx(whole.item())
    (given,) = torch.autograd.grad(sum(losses), values)
    (expected,) = torch.autograd.grad(whole, values)
    torch.testing.assert_close(given, expected)


# ---------------------------------------------------------------------------- reading


def equal(one: Windows, other: Windows):
    return all(np.array_equal(vars(one)[name], vars(other)[name]) for name in vars(one))


def test_reading_restores_the_canonical_order_of_any_blocks(tmp_path):
    windows = random_windows(50, first_id=7)
    manifest = make_shards(tmp_path, {"test": windows}, num_files=3)

    def in_any_order(files, columns):
        table = pa.concat_tables(READ(files, columns))
        for start in (30, 0, 17, 40):
            stop = {30: 40, 0: 17, 17: 30, 40: 50}[start]
            yield table.slice(start, stop - start)

    assert equal(read_split(tmp_path, manifest, "test", READ), windows)
    assert equal(read_split(tmp_path, manifest, "test", in_any_order), windows)


def test_an_absent_split_is_refused_naming_those_there(tmp_path):
    manifest = make_shards(tmp_path, {"train": random_windows(), "test": random_windows()})
    with pytest.raises(ShardsError, match="no validation windows; it has: train, test"):
        read_split(tmp_path, manifest, "validation", READ)


def remove(path, windows, manifest):
    path.unlink()


def truncate(path, windows, manifest):
    path.write_bytes(path.read_bytes()[:-100])


def grow(path, windows, manifest):
    pq.write_table(to_table(windows, manifest), path)


@pytest.mark.parametrize("damage", [remove, truncate, grow])
def test_a_file_that_is_not_as_written_is_refused(tmp_path, damage):
    windows = random_windows()
    manifest = make_shards(tmp_path, {"train": windows})
    path = tmp_path / manifest.splits["train"][1].name
    damage(path, windows, manifest)
    with pytest.raises(ShardsError, match=r"part-00001.*window the data again") as refusal:
        read_split(tmp_path, manifest, "train", READ)
    assert "\n" not in str(refusal.value)


def of_same_size(manifest, folder):
    """The manifest as if the files had always been of their present size."""
    files = manifest.splits["train"]
    sized = tuple(replace(f, bytes=(folder / f.name).stat().st_size) for f in files)
    return replace(manifest, splits={"train": sized})


def rewritten(tmp_path, change):
    """Shards whose second file was replaced by `change(table, first table)`."""
    manifest = make_shards(tmp_path, {"train": random_windows()})
    first, second = (tmp_path / f.name for f in manifest.splits["train"])
    pq.write_table(change(pq.read_table(second), pq.read_table(first)), second)
    return of_same_size(manifest, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table, _: table.slice(0, 3), "gave 23 windows, 40 are expected"),
        (lambda table, _: table.slice(0, 0), "gave 20 windows, 40 are expected"),
        (lambda _, first: first, "holds a window twice"),
        (lambda table, _: table.drop_columns(["ratings"]), "lacks the column ratings"),
    ],
)
def test_contents_that_do_not_match_the_manifest_are_refused(tmp_path, change, said):
    manifest = rewritten(tmp_path, change)
    with pytest.raises(ShardsError, match=said):
        read_split(tmp_path, manifest, "train", READ)


def test_a_file_damaged_inside_is_refused(tmp_path):
    manifest = make_shards(tmp_path, {"train": random_windows()})
    path = tmp_path / manifest.splits["train"][0].name
    path.write_bytes(bytes(len(path.read_bytes())))
    with pytest.raises(ShardsError, match=r"part-00000.parquet cannot be read"):
        read_split(tmp_path, manifest, "train", READ)


# ---------------------------------------------------------------------------- cache


def of_windows(tmp_path, num_windows):
    manifest = make_shards(tmp_path, {"train": random_windows()})
    (some, *_) = manifest.splits["train"]
    return replace(manifest, splits={"train": (replace(some, rows=num_windows),)})


def test_an_explicit_cache_is_kept(tmp_path):
    manifest = of_windows(tmp_path, 10**12)
    for asked in ("none", "host", "device"):
        assert resolve_cache(asked, manifest, CPU) == asked


def test_auto_caches_what_fits_a_quarter_of_free_memory(tmp_path, monkeypatch):
    manifest = of_windows(tmp_path, 1000)
    # ids, user, 2 features, 4 inputs and 2 targets with ratings, in words of four bytes
    at_least = 4 * 1000 * (2 + 1 + 2 + 2 * 4 + 2 * 2)
    for free, expected in ((8 * at_least, "host"), (4 * at_least - 1, "none")):
        monkeypatch.setattr(data_feeds.limits, "memory", lambda free=free: (10**15, free))
        assert resolve_cache("auto", manifest, CPU) == expected
    monkeypatch.setattr(data_feeds.limits, "memory", lambda: (8 * at_least, None))
    assert resolve_cache("auto", manifest, CPU) == "host", "a system that does not say what is free"
    monkeypatch.setattr(data_feeds.limits, "memory", lambda: (None, None))
    assert resolve_cache("auto", manifest, CPU) == "none"


def test_columns_of_the_factory_are_those_of_the_contract(tmp_path):
    manifest = make_shards(tmp_path, {"train": random_windows(times=True)})
    written = pq.read_schema(tmp_path / manifest.splits["train"][0].name)
    assert written == Widths.of(manifest).schema(WINDOW_COLUMNS)
