"""Batches that actors of Ray make are those of the worker, whatever happens to the actors."""

import itertools
import os
import re
import signal
import socket
import time

import numpy as np
import psutil
import pytest
import torch

from itrec_dist.data import manifest
from itrec_dist.data.history_buffers import Stream
from itrec_dist.data.history_feeds import HistoryShare
from itrec_dist.data.history_scan import scan
from itrec_dist.data.history_streams import StreamedHistories
from itrec_dist.data.schema import TRAIN, VALIDATION
from itrec_dist.data.shards.splits import HistoryReader, split_files
from itrec_dist.data.targets_ahead import Ahead
from itrec_dist.distributed import readers
from itrec_dist.distributed.readers import ClusterReader, read_here, reserve
from itrec_dist.errors import MachineError, ShardsError
from itrec_dist.runs.directory import RunDirectory
from tests.cases import slow_after
from tests.fixtures import call
from tests.passes import Endless, Large, Telling, Worker, dying
from tests.stopped_runs import outcome
from tests.workers import Workers, same

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
CPU = torch.device("cpu")
SMALL = 1600  # events that may be held: some buffers of several batches each


@pytest.fixture
def reader():
    """A CPU of the session to read on."""
    found = reserve(300)
    assert found is not None
    yield found
    found.close()


def feeds(shards, reads, sums, use="steps", told=None):
    """A feed for each of `reads`, which is a worker's."""
    described = manifest.read(shards)
    split = VALIDATION if use == "judged" else TRAIN
    plain = HistoryReader(described) if told is None else Telling(described, told=told)
    ahead = None if use == "judged" else Ahead()
    alone = (0, 1, lambda value: [value])
    files, asked = split_files(shards, described, split), np.array([0])
    found = scan(files, HistoryReader(described), asked, ahead, alone, reads[0])
    width = described.input_length if use == "prefixes" else None
    stream = Stream(plain, SMALL, use, width, ahead)
    shares = [HistoryShare(6, rank=rank, world_size=len(reads)) for rank in range(len(reads))]
    return [
        StreamedHistories(found, stream, share, CPU, sums(share.rank), read)
        for share, read in zip(shares, reads, strict=True)
    ]


@pytest.mark.parametrize(
    ("world", "use"), slow_after(1, [(2, "steps"), (1, "prefixes"), (1, "judged")])
)
def test_batches_are_those_of_the_worker(world, use, history_shards):
    reserved = [reserve(300) for _ in range(world)]
    passes = [(None, 0)] if use == "judged" else [((0, 1), 0), ((0, 2), 0), ((0, 2), 9)]

    def batches(reads):
        workers = Workers(world)
        own = feeds(history_shards, reads, workers.sum, use)
        return workers.run(lambda rank: [list(own[rank].epoch(*one)) for one in passes])

    try:
        here, there = batches([read_here] * world), batches(reserved)
    finally:
        for one in reserved:
            one.close()
    for mine, theirs in zip(itertools.chain(*here), itertools.chain(*there), strict=True):
        assert len(mine) > 9 or use == "judged"
        for one, two in zip(mine, theirs, strict=True):
            same(one, two)
            two.item_ids_BL[:] = 1  # not memory that others read


@pytest.mark.slow
def test_a_reader_that_is_killed_costs_no_batch_and_gives_none_twice(
    reader, history_shards, tmp_path
):
    told = tmp_path / "told"
    (here,) = feeds(history_shards, [read_here], lambda _: torch.clone)
    (feed,) = feeds(history_shards, [reader], lambda _: torch.clone, told=told)
    epoch, wanted = feed.epoch((0, 1)), list(here.epoch((0, 1)))
    own = feed._stream.reader
    given = list(itertools.islice(epoch, 3))
    for _ in range(2):
        os.kill(own.processes[-1], signal.SIGKILL)
        given += itertools.islice(epoch, 40)
    given += epoch
    for one, two in zip(given, wanted, strict=True):
        same(one, two)
    assert os.getpid() not in own.processes
    assert len(set(own.processes)) == 3


@pytest.mark.slow
def test_a_reader_that_always_dies_is_one_sentence(reader):
    with pytest.raises(MachineError, match=r"was lost 4 times in a row.*feed\.readers to worker"):
        list(reader(dying, 0))


def test_a_mistake_that_a_reader_meets_is_raised_in_the_worker(reader, history_shards, tmp_path):
    (feed,) = feeds(history_shards, [reader], lambda _: torch.clone)
    own = feed._own
    gone = own.files[0].path
    object.__setattr__(own.files[0], "path", gone.with_name("gone.parquet"))
    with pytest.raises(ShardsError, match=r"gone\.parquet is missing: window the data again$"):
        list(feed.epoch((0, 1)))


@pytest.mark.slow
def test_a_reader_is_a_few_items_ahead_and_ends_with_its_worker_s_pass(reader, tmp_path):
    items = reader(Endless(tmp_path, 100_000), 5)
    assert [int(next(items)["number"][0]) for _ in range(3)] == [5, 6, 7]
    time.sleep(1)
    assert int((tmp_path / "made").read_text()) < 100
    items.close()
    deadline, process = time.monotonic() + 30, int((tmp_path / "process").read_text())
    while psutil.pid_exists(process):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert int((tmp_path / "made").read_text()) < 100
    again = reader(Endless(tmp_path), 0)
    assert int(next(again)["number"][0]) == 0
    again.close()


@pytest.mark.slow
def test_a_reader_ends_with_its_worker_and_its_cpu_is_free(tmp_path):
    import ray

    worker = ray.remote(Worker).options(num_cpus=0).remote()
    try:
        assert ray.get(worker.begin.remote(tmp_path)) == 0
        process = int((tmp_path / "process").read_text())
        assert psutil.pid_exists(process)
    finally:
        ray.kill(worker)
    deadline, cpus = time.monotonic() + 60, ray.cluster_resources()["CPU"]
    while psutil.pid_exists(process) or ray.available_resources().get("CPU") != cpus:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def bytes_in_store():
    import ray
    from ray._private.internal_api import memory_summary

    shown = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    (found,) = re.findall(r"Plasma memory usage (\d+) MiB", shown)
    return int(found)


@pytest.mark.slow
def test_what_was_read_does_not_stay_in_the_store(reader):
    before = bytes_in_store()
    for _ in range(2):
        assert [int(item["number"][-1]) for item in reader(Large(), 0)] == list(range(100))
    deadline = time.monotonic() + 30
    while bytes_in_store() > before:  # Ray frees what nobody holds once a second
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_a_node_that_does_not_see_the_shards_does_not_read(history_shards, tmp_path):
    assert reserve(300, tmp_path / "elsewhere") is None
    found = reserve(300, history_shards)
    assert found.host == socket.gethostname()
    found.close()


@pytest.mark.slow
def test_without_a_cpu_the_worker_reads_itself(reader, monkeypatch):
    import ray

    items = reader(Large(), 80)
    found = [int(next(items)["number"][0]) for _ in range(3)]
    monkeypatch.setattr(readers, "_START_SECONDS", 2.0)
    everywhere = [node["NodeID"] for node in ray.nodes()]
    nowhere = ClusterReader(away_from=everywhere)._labels
    monkeypatch.setattr(reader, "_labels", nowhere)
    ray.kill(reader._actor)
    found += [int(item["number"][0]) for item in items]
    assert found == list(range(80, 100))
    assert [int(item["number"][0]) for item in reader(Large(), 90)] == list(range(90, 100))
    assert reserve(0.5, away_from=everywhere) is None


@pytest.mark.slow
def test_a_run_whose_histories_are_read_by_the_cluster_is_the_same_run(history_shards, tmp_path):
    runs = []
    for choice in ("worker", "cluster"):
        code, shown, err = call(
            "train", "--shards", history_shards, "--out", tmp_path / choice,
            "--model.kind", "sasrec", "--model.width", 16, "--model.num_layers", 1,
            "--training.epochs", 2, "--training.batch_tokens", 400, "--feed.cache", "none",
            "--feed.shuffle_events", 8000, "--cluster.num_workers", 2, "--cluster.threads", 1,
            "--feed.readers", choice,
        )  # fmt: skip
        assert (code, err) == (0, "")
        assert ("histories are read and cut into batches on" in shown) == (choice == "cluster")
        runs.append(RunDirectory(tmp_path / choice))
    assert outcome(runs[0]) == outcome(runs[1])
