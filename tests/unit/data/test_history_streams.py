"""Histories read again every epoch: each row once, seeded, in bounded memory, for any workers."""

import itertools
import pickle
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist.data import manifest
from itrec_dist.data.batches import as_arrays, from_arrays
from itrec_dist.data.history_buffers import OwnBatches, Stream
from itrec_dist.data.history_feeds import HistoryFeed, HistoryShare, HistoryTable
from itrec_dist.data.history_scan import scan
from itrec_dist.data.history_streams import StreamedHistories
from itrec_dist.data.schema import PAD, TRAIN, VALIDATION
from itrec_dist.data.shards import remote
from itrec_dist.data.shards.first_times import first_times
from itrec_dist.data.shards.splits import (
    FileRows,
    HistoryReader,
    read_history_split,
    split_files,
)
from itrec_dist.data.targets_ahead import Ahead
from itrec_dist.errors import ConfigError, ShardsError
from itrec_dist.storage.uri import Uri
from tests.workers import Workers, same

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
SMALL = 1600  # events that may be held: some buffers of several batches each
ALL = 10**7


@pytest.fixture(scope="module")
def described(history_shards):
    return manifest.read(history_shards)


@pytest.fixture(scope="module")
def rows(history_shards, described):
    return read_history_split(history_shards, described, TRAIN)


def scanned(shards, described, split=TRAIN, places=(0,), ahead=None, files=None):
    ahead = ahead or (Ahead() if split == TRAIN else None)
    files = files or split_files(shards, described, split)
    alone = (0, 1, lambda value: [value])
    return scan(files, HistoryReader(described), np.array(places), ahead, alone)


def epochs(
    found, described, seeds, *, world=1, skip=0, events=SMALL, use="steps", reader=None, **share
):
    """The batches of every worker in each epoch, [worker][epoch][step]."""
    workers = Workers(world)
    width = described.input_length if use == "prefixes" else None
    ahead = None if use == "judged" else Ahead()
    stream = Stream(reader or HistoryReader(described), events, use, width, ahead)
    share = {"batch_size": 6, **share}

    def work(rank):
        own = HistoryShare(rank=rank, world_size=world, **share)
        feed = StreamedHistories(found, stream, own, CPU, workers.sum(rank))
        return [list(feed.epoch(seed, skip)) for seed in seeds]

    return workers.run(work)


def real(batch):
    return batch.window_ids_B[batch.weight_B > 0].tolist()


def learned(batch):
    """Row, distance from its end and item of every target, [N, 3]."""
    ids = batch.step_target_ids_BL
    b, at = ((ids != PAD) & (batch.weight_B > 0)[:, None]).nonzero(as_tuple=True)
    return torch.stack([batch.window_ids_B[b], ids.shape[1] - at, ids[b, at]], dim=1)


def in_order(targets):
    """The same in one order, each as often as it is there."""
    return targets[np.lexsort(targets.T)]


@pytest.mark.parametrize(
    ("world", "share"),
    [(1, {}), (2, {"batch_tokens": 60}), (3, {"batch_tokens": 60, "multiple": 2})],
)
def test_every_target_is_learned_once_on_any_number_of_workers(
    world, share, history_shards, described, rows
):
    found = scanned(history_shards, described)
    lengths, ids = rows.item_ids.lengths, rows.item_ids.values
    number = np.arange(len(ids)) - np.repeat(rows.item_ids.offsets[:-1], lengths)
    wanted = np.stack(
        [np.repeat(rows.window_ids, lengths), np.repeat(lengths, lengths) - number, ids]
    )
    wanted = in_order(wanted.T[number >= np.repeat(rows.num_context, lengths)])
    assert found.num_targets == len(wanted)
    for steps in zip(
        *epochs(found, described, [(0, 1), (0, 2)], world=world, **share), strict=True
    ):
        assert len({len(own) for own in steps}) == 1, "as many steps on every worker"
        given = torch.cat([learned(batch) for own in steps for batch in own]).numpy()
        assert np.array_equal(in_order(given), wanted)
        for step in zip(*steps, strict=True):
            targets = sum(len(learned(batch)) for batch in step)
            assert targets > 0
            assert {batch.denominator for batch in step} == {targets / world}
            assert all(len(b.weight_B) % share.get("multiple", 1) == 0 for b in step)


@pytest.mark.parametrize("use", ["steps", "prefixes"])
def test_batches_follow_from_the_seed_and_change_with_it(use, history_shards, described):
    found = scanned(history_shards, described)
    seeds = [(0, 1), (0, 1), (0, 2), (1, 1)]
    ((first, again, *others),) = epochs(found, described, seeds, use=use, batch_tokens=60)
    for one, two in zip(first, again, strict=True):
        same(one, two)
    orders = {tuple(i for b in epoch for i in real(b)) for epoch in (first, *others)}
    assert len(orders) == 3
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert sum(b == a + 1 for a, b in itertools.pairwise(min(orders))) < len(min(orders)) / 4


@pytest.mark.parametrize(("world", "use"), [(1, "prefixes"), (2, "steps")])
def test_an_epoch_goes_on_where_it_stopped(world, use, history_shards, described):
    found = scanned(history_shards, described)
    whole = epochs(found, described, [(3, 2)], world=world, use=use)
    count = len(whole[0][0])
    for skip in (9, count):
        rest = epochs(found, described, [(3, 2)], world=world, use=use, skip=skip)
        for (own,), (all_of_it,) in zip(rest, whole, strict=True):
            assert len(own) == count - skip
            for one, two in zip(own, all_of_it[skip:], strict=True):
                same(one, two)


def test_what_a_worker_cuts_alone_can_be_done_by_another_process(history_shards, described):
    """It is pickled there, also with a reader of shards at a URI."""
    place = Uri(f"file://{history_shards}")
    for shards in (history_shards, place):
        files, reader = remote.histories(shards, described, TRAIN)
        found = scanned(history_shards, described)
        stream = Stream(reader, SMALL, "steps", None, Ahead())
        own = OwnBatches(tuple(files), found.longest, stream, HistoryShare(6))
        sent = pickle.loads(pickle.dumps(own))
        for one, two in itertools.zip_longest(own.epoch((0, 1)), sent.epoch((0, 1), 0)):
            same(one, from_arrays(as_arrays(two)))


@pytest.mark.parametrize("share", [{}, {"batch_tokens": 60}])
def test_one_file_in_a_buffer_that_holds_it_gives_the_batches_of_memory(
    share, tmp_path, history_shards, described, rows
):
    """So that the losses are the same as well, to the bit."""
    found = scanned(history_shards, described, files=[_joined(history_shards, described, tmp_path)])
    ((streamed,),) = epochs(found, described, [(4, 1)], events=ALL, **share)
    kept = HistoryFeed(
        HistoryTable(rows, CPU, described.target_length), HistoryShare(6, **share), CPU, "steps"
    )
    assert len(streamed) == kept.steps_per_epoch
    for one, two in zip(streamed, kept.epoch((4, 1)), strict=True):
        same(one, two)


def _joined(shards, described, folder):
    """All training files in one."""
    path = folder / "part-00000.parquet"
    files = [f.path for f in split_files(shards, described, TRAIN)]
    pq.write_table(pq.ParquetDataset(files).read(), path)
    return FileRows(path, described.num_windows(TRAIN))


class Counting(HistoryReader):
    """Counts the events that were read."""

    def read(self, files, rows):
        for piece in super().read(files, rows):
            type(self).arrived += len(piece.item_ids.values)
            yield piece


@pytest.mark.parametrize(("events", "share"), [(SMALL, {"batch_tokens": 60}), (2 * SMALL, {})])
def test_no_more_events_are_held_than_allowed(events, share, history_shards, described, rows):
    """What was read and not handed out in batches is held."""
    assert len(rows.item_ids.values) > 2 * events, "or all would fit"
    found = scanned(history_shards, described)
    stream = Stream(Counting(described), events, "steps", None, Ahead())
    feed = StreamedHistories(found, stream, HistoryShare(6, **share), CPU, torch.clone)
    Counting.arrived = given = 0
    lengths = dict(zip(rows.window_ids.tolist(), rows.item_ids.lengths.tolist(), strict=True))
    most = 0
    for batch in feed.epoch((0, 1)):
        most = max(most, Counting.arrived - given)
        given += sum(lengths[row] for row in real(batch))
    assert given == Counting.arrived == len(rows.item_ids.values)
    assert 0 < most <= events


@pytest.mark.parametrize("world", [1, 2, 3])
def test_judged_rows_are_judged_once(world, history_shards, described):
    found = scanned(history_shards, described, VALIDATION)
    judged = epochs(found, described, [None], world=world, use="judged", events=ALL)
    assert len({len(own) for (own,) in judged}) == 1
    ids = [i for (own,) in judged for b in own for i in real(b)]
    rows = read_history_split(history_shards, described, VALIDATION)
    assert sorted(ids) == rows.window_ids.tolist()
    table = HistoryTable(rows, CPU, described.target_length)
    kept = {
        int(batch.window_ids_B[b]): batch.target_ids_BK[b].tolist()
        for batch in HistoryFeed(table, HistoryShare(6), CPU, "judged").epoch(None)
        for b in (batch.weight_B > 0).nonzero().flatten().tolist()
    }
    for (own,) in judged:
        for batch in own:
            for b, row in enumerate(real(batch)):
                assert batch.target_ids_BK[b].tolist() == kept[row]


def test_the_scan_finds_what_the_whole_split_has(history_shards, described, rows):
    places = [0, 3, len(rows) - 1]
    files = split_files(history_shards, described, TRAIN)
    asked = (HistoryReader(described), np.array(places), Ahead())
    workers, told = Workers(2), {}

    def work(rank):
        def collect(value):
            told[rank] = value
            workers._barrier.wait()
            return [told[0], told[1]]

        return scan(files, *asked, (rank, 2, collect))

    for found in workers.run(work):
        assert found.num_rows == len(rows)
        assert found.longest == rows.item_ids.lengths.max() - 1
        wanted = np.bincount(rows.item_ids.lengths - 1)
        assert np.array_equal(found.inputs.sum(axis=0), wanted)
        assert np.array_equal(found.first_times_C, first_times(rows, described.num_items))
        assert found.sampled.window_ids.tolist() == rows.window_ids[places].tolist()
        assert found.sampled.item_ids[1].tolist() == rows.item_ids[3].tolist()


def test_the_number_of_steps_is_known_before(history_shards, described):
    found = scanned(history_shards, described)
    for share in ({}, {"batch_tokens": 60}):
        stream = Stream(HistoryReader(described), SMALL, "steps", None, Ahead())
        feed = StreamedHistories(found, stream, HistoryShare(6, **share), CPU, torch.clone)
        steps = len(list(feed.epoch((0, 1))))
        assert steps == pytest.approx(feed.steps_per_epoch, rel=0.1 if share else 0, abs=0)


def test_what_cannot_be_streamed_is_refused(history_shards, described):
    found = scanned(history_shards, described)
    with pytest.raises(ConfigError, match=r"\d+ shard files.*99 workers.*num_shards"):
        epochs(found, described, [], world=1, batch_size=6) and StreamedHistories(
            found, Stream(HistoryReader(described), ALL, "steps"),
            HistoryShare(99, world_size=99), CPU, torch.clone,
        )  # fmt: skip
    with pytest.raises(ConfigError, match=r"feed.shuffle_events=50 is too small.*at least \d+"):
        epochs(found, described, [(0, 1)], events=50)
    wrong = replace(found, files=tuple(replace(f, rows=f.rows + 1) for f in found.files))
    with pytest.raises(ShardsError, match=r"gave \d+ windows, \d+ are expected"):
        epochs(wrong, described, [(0, 1)])
