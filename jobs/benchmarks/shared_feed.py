"""What the splits of a run cost one machine, for one process and for several that train on them.

    python jobs/benchmarks/shared_feed.py --shards shards [--processes 1 2 4]

Each process builds the feeds of training and validation as a worker on the CPU does, with splits
of its own (as before they were shared) and with shared ones, and reads one epoch of batches. The
memory of all is the sum of their proportional shares (PSS, /proc/PID/smaps_rollup),
in which a page that several processes map counts once; private memory (USS) is what no other has.
Both are given beyond what the same processes have before they read.
"""

import argparse
import itertools
import multiprocessing
import os
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from measuring import machine

from itrec_dist.data import manifest
from itrec_dist.data.batches import Share
from itrec_dist.data.feeds import Feed, cached
from itrec_dist.data.history_feeds import HistoryFeed, HistoryShare, HistoryTable
from itrec_dist.data.schema import TRAIN, VALIDATION
from itrec_dist.data.shards.on_node import NodeSplits
from itrec_dist.storage.parquet import row_groups

CPU = torch.device("cpu")
MB = 1e6


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    print("| splits | processes | memory of all, MB | private of all, MB |")
    print("|---|---:|---:|---:|")
    for shares in (False, True):
        for count in given.processes:
            with tempfile.TemporaryDirectory(prefix="itrec-cache-") as cache:
                os.environ["ITREC_CACHE"] = cache
                print(_row(given.shards.absolute(), count, shares=shares), flush=True)
    print(machine())


def _row(shards: Path, count: int, *, shares: bool) -> str:
    """One line: `count` processes that hold the splits at the same time."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(count)]
    processes = [
        context.Process(target=_hold, args=(theirs, shards, rank, count, shares), daemon=True)
        for rank, (_, theirs) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    ours = [our for our, _ in pipes]
    before = _together(ours, processes)
    for our in ours:
        our.send("read")
    after = _together(ours, processes)
    for our, process in zip(ours, processes, strict=True):
        our.send(None)
        process.join()
    name = "shared" if shares else "own"
    pss, uss = ((b - a) / MB for a, b in zip(before, after, strict=True))
    return f"| {name} | {count} | {pss:,.0f} | {uss:,.0f} |"


def _together(ours: list[Any], processes: list[Any]) -> tuple[int, int]:
    """PSS and USS of all, once each has said that it is where it should be."""
    for our in ours:
        our.recv()
    found = [_memory(process.pid) for process in processes]
    return sum(pss for pss, _ in found), sum(uss for _, uss in found)


def _memory(pid: int) -> tuple[int, int]:
    """PSS and USS of a process in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return 1024 * kilobytes["Pss"], 1024 * private


def _hold(to: Connection, shards: Path, rank: int, count: int, shares: bool) -> None:
    """A worker: says that it is there, reads when it is told to, and holds on."""
    described = manifest.read(shards)
    splits = NodeSplits(shards, described, row_groups, shares, print)
    to.send("there")
    to.recv()
    training, judged = (_feed(splits, split, rank, count) for split in (TRAIN, VALIDATION))
    for _ in itertools.chain(training.epoch((0, 1)), judged.epoch(None)):
        pass
    to.send("read")
    to.recv()


def _feed(splits: NodeSplits, split: str, rank: int, count: int) -> Feed:
    if splits.manifest.samples == "windows":
        packed = splits.windows(split, times=True)
        return cached(packed, Share(512 * count, rank, count), CPU)
    table = HistoryTable(splits.histories(split), CPU, splits.manifest.target_length)
    share = HistoryShare(64 * count, None, 1, rank, count)
    return HistoryFeed(table, share, CPU, "steps" if split == TRAIN else "judged")


if __name__ == "__main__":
    main()
