"""What it costs to read histories again in every epoch, beside keeping them in memory.

    python jobs/benchmarks/stream_cost.py memory SHARDS [SHARDS ...] [--events 1000000]
    python jobs/benchmarks/stream_cost.py rate SHARDS
    python jobs/benchmarks/stream_cost.py step SHARDS [--steps 200]
    python jobs/benchmarks/stream_cost.py readers SHARDS [--steps 200] [--sleep 0.05]
    python jobs/benchmarks/stream_cost.py loss SHARDS --scratch FOLDER [--events 800000]

`memory`: the largest resident size of a worker, which builds the feeds of a run, reads an epoch of
training and all of validation and test, in a process of its own.
`rate`: events per second of processor time, from Parquet files to tensors. `raw` turns the row
groups of the same files into tensors, with no order and no batches.
`step`: the feed's processor time for the first batches of an epoch, beside that of steps of SASRec
on the same batches; and the time to the first batch of the next epoch.
`readers`: the same batches made in the worker and in an actor of Ray here, in turns: what
is left of the feed in the worker's process, what steps wait for it that take no processor (as on a
GPU; they sleep), and the largest resident size of the worker. RAY_ADDRESS joins a cluster.
`loss`: losses of two epochs from some seeds, shuffled over all rows and in buffers.

Times are of the processor, of all threads together: machines that others use change them little.
"""

import argparse
import itertools
import multiprocessing
import os
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import machine

from itrec_dist.data import manifest
from itrec_dist.data import spec as data_spec
from itrec_dist.data.feeds import Feed, FeedConfig
from itrec_dist.data.schema import TEST, TRAIN, VALIDATION
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.on_node import NodeSplits
from itrec_dist.data.shards.splits import split_files
from itrec_dist.distributed.context import LocalContext
from itrec_dist.distributed.readers import Read, Readers, reserve
from itrec_dist.engines import kind_of
from itrec_dist.launch.cluster import join
from itrec_dist.losses.sampled_softmax import SampledSoftmaxConfig
from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage.parquet import row_groups
from itrec_dist.system import environment
from itrec_dist.tasks import TASKS
from itrec_dist.training import worker
from itrec_dist.training.config import ClusterConfig, EvaluationConfig, RunConfig, check, prepare
from itrec_dist.training.history_splits import HistorySplits
from itrec_dist.training.loop import TrainingConfig, train_step

MB = 1e6
EPOCH = (0, 1)


def main() -> None:
    """Measure one of them and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["memory", "rate", "step", "readers", "loss"])
    parser.add_argument("shards", type=Path, nargs="+")
    parser.add_argument("--events", type=int, default=FeedConfig().shuffle_events)
    parser.add_argument("--tokens", type=int, default=12_800)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--sleep", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--scratch", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    ways = {"memory": _memory, "rate": _rate, "step": _step, "readers": _readers, "loss": _loss}
    ways[given.what](given)
    print(machine())


def run_of(given: Any, shards: Path, cache: str, seed: int = 0, out: Path = Path("none")) -> Any:
    """A run of SASRec: small for `loss`, else of a usual size."""
    is_small = given.what == "loss"
    return RunConfig(
        shards=shards, out=out, seed=seed,
        model=SasrecConfig(width=32 if is_small else 64, num_layers=1 if is_small else 2),
        loss=SampledSoftmaxConfig(),
        training=TrainingConfig(epochs=2, batch_tokens=given.tokens),
        feed=FeedConfig(cache=cache, shuffle_events=given.events),
        evaluation=EvaluationConfig(judge_test=not is_small, train_sample=0),
        cluster=ClusterConfig(threads=1),
    )  # fmt: skip


def feeds_of(run: RunConfig, context: LocalContext | None = None) -> dict[str, Feed]:
    """The feeds of a worker that is alone."""
    context = context or LocalContext(torch.device("cpu"), threads=1)
    described = manifest.read(run.shards)
    splits = NodeSplits(run.shards, described, context.blocks, shares=False, note=print)
    built = HistorySplits(run, described, context, steps=True)
    return built.read(splits, run.feed.cache, num_sampled=6)


def drain(batches: Iterable[Any]) -> int:
    """Read all; returns how many there are."""
    return sum(1 for _ in batches)


# ------------------------------------------------------------------------------ memory


def _memory(given: Any) -> None:
    print(
        "| shards | training events | cache | at the start, MB | peak, MB | beyond the start, MB |"
    )
    print("|---|---:|---|---:|---:|---:|")
    context = multiprocessing.get_context("spawn")
    for shards, cache in itertools.product(given.shards, ("host", "none")):
        ours, theirs = context.Pipe()
        process = context.Process(target=_read_all, args=(theirs, given, shards, cache))
        process.start()
        start, peak = ours.recv()
        process.join()
        events = next(c.num_events for c in manifest.read(shards).coverage if c.split == TRAIN)
        row = f"| {shards.name} | {events:,} | {cache} | {start / MB:,.0f} | {peak / MB:,.0f} |"
        print(f"{row} {(peak - start) / MB:,.0f} |", flush=True)


def _read_all(to: Any, given: Any, shards: Path, cache: str) -> None:
    """A worker: an epoch of training, and everything that is judged after it."""
    torch.set_num_threads(1)
    start = _peak()
    feeds = feeds_of(run_of(given, shards, cache))
    drain(feeds[TRAIN].epoch(EPOCH))
    for split in (VALIDATION, TEST):
        drain(feeds[split].epoch(None))
    to.send((start, _peak()))


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# -------------------------------------------------------------------------------- rate


def _rate(given: Any) -> None:
    (shards,) = given.shards
    described = manifest.read(shards)
    files = [file.path for file in split_files(shards, described, TRAIN)]
    names = reader.history_column_names(described)

    def raw() -> None:
        for block in row_groups(files, names):
            rows = reader.table_to_history_rows(block, described)
            for column in vars(rows).values():
                torch.from_numpy(np.ascontiguousarray(getattr(column, "values", column)))

    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

    feeds = {cache: feeds_of(run_of(given, shards, cache))[TRAIN] for cache in ("none", "host")}
    ways: dict[str, Callable[[], Any]] = {
        "raw": raw,
        "read and cut, no batches": lambda: drain(feeds["none"]._own.buffers(EPOCH)),
        "streamed": lambda: drain(feeds["none"].epoch(EPOCH)),
        "cached": lambda: drain(feeds["host"].epoch(EPOCH)),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            found[name].append(spent(way))
    events = next(c.num_events for c in described.coverage if c.split == TRAIN)
    print("| way | events per second of processor time, median | lowest - highest | of raw |")
    print("|---|---:|---:|---:|")
    base = statistics.median(found["raw"])
    for name, seconds in found.items():
        rates = sorted(events / s for s in seconds)
        middle = statistics.median(seconds)
        span = f"{rates[0]:,.0f} - {rates[-1]:,.0f}"
        print(f"| {name} | {events / middle:,.0f} | {span} | {base / middle:.2f} |")


def spent(work: Callable[[], Any]) -> float:
    """Processor time of all threads of this process, in seconds."""
    started = time.process_time()
    work()
    return time.process_time() - started


# -------------------------------------------------------------------------------- step


def _step(given: Any) -> None:
    (shards,) = given.shards
    run = run_of(given, shards, "none")
    feeds = feeds_of(run)
    feed = feeds[TRAIN]
    context = LocalContext(torch.device("cpu"), threads=1)
    described = manifest.read(shards)
    items = reader.read_items(shards, described)
    torch.manual_seed(0)
    task = TASKS[run.model.task](run.model, run.loss, data_spec.build(described, items))
    engine = kind_of(run.engine, 1)(task, run.engine, run.optimizer, 1000, context.device)
    engine.train(True)

    epoch = feed.epoch(EPOCH)
    waited, began = _first(epoch)
    steps: list[float] = []
    waits: list[float] = []
    for _ in range(given.steps):
        at = time.perf_counter()
        batch = next(epoch)
        waits.append(time.perf_counter() - at)
        steps.append(_thread_seconds(lambda batch=batch: train_step(engine, batch)))
    epoch.close()
    whole = spent(lambda: drain(feed.epoch(EPOCH)))
    again, cost = _first(feed.epoch((0, 2)))
    step, count = statistics.mean(steps[5:]), feed.steps_per_epoch
    per_batch = whole / count
    print("| figure | |")
    print("|---|---:|")
    for name, value in (
        ("steps of an epoch", f"{count:,}"),
        ("a step without the feed, s of processor time, mean", f"{step:.4f}"),
        ("the feed per step over a whole epoch, s of processor time", f"{per_batch:.4f}"),
        ("the feed, of a step with it", f"{per_batch / (step + per_batch):.1%}"),
        ("what a step waited for its batch, s, median and highest",
         f"{statistics.median(waits):.4f}, {max(waits):.4f}"),
        ("to the first batch of the first epoch, s (of processor time)",
         f"{waited:.2f} ({began:.2f})"),
        ("to the first batch of the second epoch, s (of processor time)",
         f"{again:.2f} ({cost:.2f})"),
        ("which is of an epoch's steps, both in processor time", f"{cost / (count * step):.2%}"),
    ):  # fmt: skip
        print(f"| {name} | {value} |")


def _first(epoch: Any) -> tuple[float, float]:
    """Seconds to the first batch: on the clock, and of the processor."""
    at, cpu = time.perf_counter(), time.process_time()
    next(epoch)
    return time.perf_counter() - at, time.process_time() - cpu


def _thread_seconds(work: Callable[[], Any]) -> float:
    """Processor time of this thread, beside which another one reads ahead."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


# ----------------------------------------------------------------------------- readers


class _OnRay(LocalContext):
    """A worker alone whose batches an actor of Ray makes."""

    def reader(self, _: Readers, __: Path | None) -> tuple[Read, str | None]:
        found = reserve(600)
        assert found is not None
        return found, None


def _readers(given: Any) -> None:
    (shards,) = given.shards
    context = multiprocessing.get_context("spawn")
    found: dict[str, list[tuple[float, ...]]] = {"in the worker": [], "in an actor": []}
    for turn in range(given.rounds):
        ways = list(found)
        for way in ways if turn % 2 == 0 else reversed(ways):  # nobody is always the second
            ours, theirs = context.Pipe()
            process = context.Process(target=_read_somewhere, args=(theirs, given, shards, way))
            process.start()
            theirs.close()  # or its end would not be noticed
            found[way].append(ours.recv())
            process.join()
            print(way, *(f"{value:.4f}" for value in found[way][-1]), flush=True)
    print("| figure | in the worker | in an actor | ratio |")
    print("|---|---:|---:|---:|")
    for number, name in enumerate(_READ):
        here, there = (statistics.median(run[number] for run in runs) for runs in found.values())
        print(f"| {name} | {here:.4g} | {there:.4g} | {there / here:.2f} |")


_READ = (
    "an epoch of batches: processor time in the worker's process, s",
    "the same, on the clock, s",
    "a step: processor time in the worker's process, s",
    "a step: wait for its batch, median, s",
    "all steps: wait for batches, of the time on the clock",
    "largest resident size of the worker, beyond that before its feeds, MB",
)


def _read_somewhere(to: Any, given: Any, shards: Path, way: str) -> None:
    torch.set_num_threads(1)
    run = run_of(given, shards, "none")
    if way == "in an actor":
        join(os.environ.get("RAY_ADDRESS"))
    start = _peak()
    context = (_OnRay if way == "in an actor" else LocalContext)(torch.device("cpu"), 1)
    feed = feeds_of(run, context)[TRAIN]
    drain(itertools.islice(feed.epoch(EPOCH), 50))  # what is started first, and once
    at = time.perf_counter()
    cpu = spent(lambda: drain(feed.epoch(EPOCH)))
    clock = time.perf_counter() - at
    waits: list[float] = []
    epoch = feed.epoch((0, 2))
    next(epoch)
    began, at = time.process_time(), time.perf_counter()
    for _ in range(given.steps):
        asked = time.perf_counter()
        next(epoch)
        waits.append(time.perf_counter() - asked)
        time.sleep(given.sleep)
    beside, whole = time.process_time() - began, time.perf_counter() - at
    epoch.close()
    to.send(
        (cpu, clock, beside / given.steps, statistics.median(waits), sum(waits) / whole,
         (_peak() - start) / MB)
    )  # fmt: skip


# -------------------------------------------------------------------------------- loss


def _loss(given: Any) -> None:
    (shards,) = given.shards
    print("| seed | shuffled | loss of training, by epoch | validation loss | NDCG@10 |")
    print("|---:|---|---|---|---|")
    for seed, cache in itertools.product(given.seeds, ("host", "none")):
        run = run_of(given, shards, cache, seed, given.scratch / f"{cache}-{seed}")
        prepare(run, check(run, 1), environment.record(run.seed))
        worker.run_worker(run, LocalContext(torch.device("cpu"), threads=1))
        epochs = RunDirectory(run.out).events("epoch")
        figures = [
            [e["loss"] for e in epochs],
            [e["validation"]["loss"] for e in epochs],
            [e["validation"]["masked"]["ndcg@10"] for e in epochs],
        ]
        shuffled = "all rows" if cache == "host" else "in buffers"
        row = " | ".join(", ".join(f"{v:.4f}" for v in values) for values in figures)
        print(f"| {seed} | {shuffled} | {row} |", flush=True)


if __name__ == "__main__":
    main()
