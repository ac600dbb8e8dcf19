"""Measures points for `cost_model.py`, and adds them to its file of points.

    python jobs/benchmarks/cost_points.py --out jobs/benchmarks/results/cost_points.csv \\
        --scratch FOLDER --parts '[feed, step, exchange, checkpoint]'

Each is the median of several, in seconds of a processor and with one thread of torch: other
programs change these little. `run` is what is held out: `itrec window`, and `itrec train` by two
workers under torchrun, as the processor time of both in three epochs less that in one. Windowing is
measured by `windowing_cost.py`.
"""

import csv
import functools
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from cost_model import EPOCH, FIT, HELD_OUT, Point, Work
from windowing_cost import cost, draw

from itrec_dist.config import Parser
from itrec_dist.data.history_feeds import HistoryFeed, HistoryShare, HistoryTable
from itrec_dist.data.shards.arrays import HistoryRows, Ragged
from itrec_dist.data.spec import DataSpec
from itrec_dist.distributed.context import LocalContext
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.engines.single import SingleEngine
from itrec_dist.losses.sampled_softmax import SampledSoftmaxConfig
from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.runs.checkpoints.manager import CheckpointManager
from itrec_dist.runs.checkpoints.training_state import Position, Provenance
from itrec_dist.runs.checkpoints.writer import CheckpointConfig, CheckpointWriter
from itrec_dist.runs.directory import LAST, RunDirectory
from itrec_dist.system import environment
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.training.loop import train_step

CPU = torch.device("cpu")
USUAL = Work(items=20_000, width=64, layers=2, length=50, positions=2000, drawn=256)
STEPS = (
    USUAL,
    *(replace(USUAL, width=width) for width in (32, 128)),
    *(replace(USUAL, layers=layers) for layers in (1, 4)),
    *(replace(USUAL, length=length) for length in (20, 200)),
    *(replace(USUAL, positions=positions) for positions in (500, 8000)),
    *(replace(USUAL, items=items) for items in (2000, 200_000)),
    *(replace(USUAL, drawn=drawn) for drawn in (32, 1024)),
    replace(USUAL, items=100_000, width=128, layers=1),
    replace(USUAL, items=50_000, width=32, layers=4, length=100, positions=4000),
)
FEEDS = tuple(
    Work(length=length, positions=positions)
    for length in (20, 50, 200)
    for positions in (1000, 8000, 64_000)
)
TABLES = tuple(
    Work(items=items, width=64, layers=1, length=10) for items in (2000, 20_000, 200_000, 1_000_000)
)
WORKERS = 2
_TIMES = 5


def step(work: Work) -> float:
    """A step of one worker."""
    engine = _engine(work)
    feed = _feed(replace(work, positions=work.positions * (_TIMES + 2)), work.positions)
    took = []
    for batch in feed.epoch((0, 1)):
        started = time.process_time()
        train_step(engine, batch)
        took.append(time.process_time() - started)
    return statistics.median(took[2:])


def feed(work: Work) -> float:
    """A batch of histories from memory."""
    held = _feed(replace(work, positions=20 * work.positions), work.positions)
    took, started = [], time.process_time()
    for _ in held.epoch((0, 1)):
        took.append(time.process_time() - started)
        started = time.process_time()
    return statistics.median(took[1:])


def exchange(work: Work) -> float:
    """The sum of all weights' gradients over two workers."""
    with tempfile.TemporaryDirectory() as folder:
        queue: Any = mp.get_context("spawn").SimpleQueue()
        mp.spawn(_sum, (Path(folder) / "meet", work.numbers, queue), nprocs=WORKERS)
        return statistics.mean(queue.get() for _ in range(WORKERS))


def _sum(rank: int, meet: Path, numbers: int, queue: Any) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=WORKERS)
    gradient, took = torch.zeros(numbers), []
    for _ in range(2 * _TIMES):
        started = time.process_time()
        dist.all_reduce(gradient)
        took.append(time.process_time() - started)
    queue.put(statistics.median(took[1:]))
    dist.barrier()
    dist.destroy_process_group()


def checkpoint(scratch: Path, work: Work) -> float:
    """A checkpoint, from the copy of the state to the last flush."""
    engine = _engine(work)
    (batch,) = _feed(replace(work, positions=100), 100).epoch((0, 1))
    train_step(engine, batch)
    took = []
    for number in range(3):
        run = RunDirectory(scratch / f"checkpoint-{number}")
        run.path.mkdir(parents=True)
        items = run.path / "items.parquet"
        for empty in (items, run.config, run.manifest):
            empty.write_bytes(b"")
        writer = CheckpointWriter(run, items, CheckpointConfig())
        of = Provenance("single", 1, fingerprint="none", is_streamed=False)
        manager = CheckpointManager(run, writer, of, engine, LocalContext(CPU, threads=1))
        started = time.process_time()
        manager.save([LAST], Position(step=1), {})
        if lost := manager.close():
            sys.exit(lost)
        took.append(time.process_time() - started)
        shutil.rmtree(run.path)
    return statistics.median(took)


def _engine(work: Work) -> SingleEngine:
    spec = DataSpec(
        input_length=work.length, target_length=1, num_items=work.items, num_users=1,
        num_train_windows=work.items, user_cardinalities=(), rating_mean=0.0, rating_std=1.0,
        rating_min=0.0, rating_max=1.0, has_times=False,
        item_features_VF=torch.zeros(work.items + 1, 0),
        target_counts_C=torch.ones(work.items, dtype=torch.int64),
    )  # fmt: skip
    model = SasrecConfig(width=work.width, num_layers=work.layers)
    task = NextItems(model, SampledSoftmaxConfig(num_negatives=max(work.drawn, 1)), spec)
    return SingleEngine(task, EngineConfig(precision="fp32"), OptimizerConfig(), 100, CPU)


def _feed(work: Work, positions: int) -> HistoryFeed:
    """Histories of one length in batches of so many positions."""
    count, length = work.positions // work.length, work.length + 1
    rng, offsets = np.random.default_rng(0), np.arange(count + 1) * length
    ids = rng.integers(1, max(work.items, 1) + 1, count * length).astype(np.int32)
    events = Ragged(ids, offsets)
    nothing = Ragged(np.zeros(0, dtype=np.int32), np.zeros(count + 1, dtype=np.int64))
    rows = HistoryRows(
        window_ids=np.arange(count), user_ids=np.ones(count, dtype=np.int32),
        user_features=np.zeros((count, 0), dtype=np.int32),
        num_context=np.ones(count, dtype=np.int32), item_ids=events,
        ratings=Ragged(np.ones(len(ids), dtype=np.float32), offsets),
        times=Ragged(np.zeros(len(ids), dtype=np.int64), offsets), seen_ids=nothing,
        target_ids=nothing, target_ratings=nothing, target_times=nothing,
        event_features=Ragged(np.zeros((len(ids), 0), dtype=np.int32), offsets),
    )  # fmt: skip
    share = HistoryShare(positions // work.length)
    return HistoryFeed(HistoryTable(rows, CPU, 1), share, CPU, "steps")


def run(scratch: Path) -> Iterator[Point]:
    """What is held out: windowing, and an epoch with a checkpoint, by the commands."""
    length, tokens, width = 30, 8192, 96
    shards, out = scratch / "shards", scratch / "run"
    for events, users in ((2_500_000, 17_000), (600_000, 4100)):  # the few are trained on
        ratings = scratch / f"ratings-{events}.parquet"
        if not ratings.exists():
            draw(ratings, events, users, 40_000)
        shutil.rmtree(shards, ignore_errors=True)
        spent = cost([
            sys.executable, "-m", "itrec_dist", "window", "--source", "table", "--input",
            str(ratings), "--out", str(shards), "--samples", "histories", "--columns.rating",
            "rating", "--top_items", "null", "--protocol", "user_disjoint",
            "--validation_fraction", "0.001", "--test_fraction", "0.001", "--max_length",
            str(length), "--threads", "2", "--memory_limit", "1GB",
        ])  # fmt: skip
        yield Point("windowing", HELD_OUT, Work(ratings=_rows(ratings)), spent.cpu)
    two = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
        str(WORKERS), "-m", "itrec_dist", "train", "--shards", str(shards), "--out", str(out),
        "--overwrite", "--model.kind", "sasrec", "--model.width", str(width),
        "--model.num_layers", "2", "--loss", "sampled_softmax", "--engine.precision", "fp32",
        "--training.batch_tokens", str(tokens), "--evaluation.train_sample", "0",
        "--evaluation.judge_test", "false", "--cluster.threads", "1", "--training.epochs",
    ]  # fmt: skip
    one, three = (cost([*two, epochs]).cpu for epochs in ("1", "3"))
    steps = RunDirectory(out).events("start")[0]["steps_per_epoch"]
    work = Work(
        items=40_000, width=width, layers=2, length=length, positions=tokens // WORKERS,
        drawn=256, workers=WORKERS, steps=steps,
    )  # fmt: skip
    yield Point(EPOCH, HELD_OUT, work, (three - one) / 2)


def _rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def _write(out: Path, points: Iterator[Point], commit: str) -> None:
    """Add each point as soon as it is measured."""
    sizes = [field.name for field in fields(Work)]
    names = ["part", "use", *sizes, "seconds", "command", "commit"]
    is_new = not out.exists()
    with out.open("a", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, names, lineterminator="\n")
        if is_new:
            rows.writeheader()
        for point in points:
            given = {name: value or "" for name, value in asdict(point.work).items()}
            rows.writerow(
                {"part": point.part, "use": point.use, **given, "seconds": f"{point.seconds:.4g}",
                 "command": "cost_points.py", "commit": commit}
            )  # fmt: skip
            file.flush()


def main() -> None:
    """Measure the parts that were asked for."""
    parser = Parser("cost_points.py", __doc__ or "")
    parser.add_argument("--out", type=Path, required=True, help="CSV file that is added to.")
    parser.add_argument("--scratch", type=Path, required=True, help="Folder for what is written.")
    parser.add_argument(
        "--parts", type=list[Literal["feed", "step", "exchange", "checkpoint", "run"]],
        default=["feed", "step", "exchange", "checkpoint", "run"], help="What to measure.",
    )  # fmt: skip
    given = parser.parse(sys.argv[1:])
    given.scratch.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    measures: dict[str, tuple[Callable[[Work], float], tuple[Work, ...]]] = {
        "feed": (feed, FEEDS),
        "step": (step, STEPS),
        "exchange": (exchange, tuple(replace(work, workers=WORKERS) for work in TABLES)),
        "checkpoint": (functools.partial(checkpoint, given.scratch), TABLES),
    }
    commit = environment.record(seed=0)["git"]["commit"][:12]
    for part in given.parts:
        if part == "run":
            _write(given.out, run(given.scratch), commit)
            continue
        measure, works = measures[part]
        points = (Point(part, FIT, work, measure(work)) for work in works)
        _write(given.out, points, commit)


if __name__ == "__main__":
    main()
