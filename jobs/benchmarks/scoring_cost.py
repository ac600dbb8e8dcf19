"""What a batch of recommendations costs: users per second of one and two workers, and memory.

A small SASRec is trained on generated data, and histories of N and of 8 N users are drawn at random
from its items. `itrec recommend --workers` serves them in processes of its own, one worker and two
in turns. The rate is that of the parts as they appear, without the start of the workers and the
sorting of the events, which stand beside it. Memory is the highest resident size that was seen of
the command's own process and of a worker. A part holds 16,384 users at most, from 65,536 users a
worker on: below that workers take less.

What two workers can reach here is what two commands reach that run side by side, a worker each, and
share nothing but the machine.

    python jobs/benchmarks/scoring_cost.py --scratch FOLDER --out PAGE
"""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import Target, Way, machine, table, take_turns

from itrec_dist.cli.app import main as itrec
from itrec_dist.config import Parser
from itrec_dist.data.sources.synthetic import SyntheticConfig, generate
from itrec_dist.tasks.next_items.histories import HistoryConfig, histories

_TIMES = 8
_PLANNED = 10_000_000
_LENGTH = 50
_MEMORY_LIMIT = "128MB"  # of DuckDB: 8 N users are more than it holds, so that it has to spill
_EVENTS = 30  # of a user, on average
_USERS_AT_A_TIME = 65_536
_SECONDS_BETWEEN_LOOKS = 0.2
TARGETS = {"2 workers": Target("1 worker", 1.7)}


@dataclass
class Peak:
    """Highest resident sizes, in bytes."""

    driver: int = 0
    worker: int = 0


@dataclass(frozen=True)
class Batch:
    """What one call of the command took."""

    rate: float
    """Users per second of all workers, while parts appeared."""
    whole_seconds: float
    """With the sorting of the events and the start of Ray and of the workers."""
    peak: Peak


def main() -> int:
    """Train, draw, serve, and write the page."""
    parser = Parser("scoring_cost", "Measures batches of recommendations on a cluster.")
    parser.add_argument("--scratch", type=Path, required=True, help="Folder for data and runs.")
    parser.add_argument("--out", type=Path, required=True, help="Page to write.")
    parser.add_argument("--users", type=int, default=65_536, help="N.")
    parser.add_argument("--rounds", type=int, default=1, help="Turns of one and two workers.")
    given = parser.parse(sys.argv[1:])
    scratch: Path = given.scratch
    scratch.mkdir(parents=True, exist_ok=True)
    run = _trained(scratch)
    few = _drawn(scratch / "few.parquet", given.users, run)
    many = _drawn(scratch / "many.parquet", _TIMES * given.users, run)
    kept: dict[str, list[Batch]] = {}

    def way(name: str, events: Path, workers: int) -> Way:
        def measure() -> list[float]:
            kept.setdefault(name, []).append(batch(scratch, run, events, workers))
            return [kept[name][-1].rate]

        return measure

    def side_by_side() -> list[float]:
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(batch, scratch, run, many, 1, f"side-{n}") for n in range(2)]
        return [sum(each.result().rate for each in both)]

    one, two, apart = "1 worker", "2 workers", "2 commands side by side, 1 worker each"
    small = f"1 worker, {given.users:,} users"
    way(small, few, 1)()
    rates = take_turns(
        {one: way(one, many, 1), two: way(two, many, 2), apart: side_by_side}, given.rounds
    )
    lines = [
        f"{machine()}. {_TIMES * given.users:,} users, about {_EVENTS} events each.", "",
        *table(rates, one, TARGETS, "users/s"), "",
        *_memory({f"{one}, {_TIMES * given.users:,} users": kept[one],
                  f"{two}, {_TIMES * given.users:,} users": kept[two], small: kept[small]}), "",
        *(_planned(name, rates[name]) for name in (one, two)),
    ]  # fmt: skip
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(given.out.read_text(encoding="utf-8"))
    return 0


def batch(scratch: Path, run: Path, events: Path, workers: int, name: str = "parts") -> Batch:
    """Serve the users of `events` by so many workers, to the folder of that name."""
    out = scratch / name
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable, "-m", "itrec_dist", "recommend", str(run), "--histories", str(events),
        "--out", str(out), "--workers", str(workers), "-k", "10",
        "--memory_limit", _MEMORY_LIMIT,
    ]  # fmt: skip
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        peak, stop = Peak(), threading.Event()
        watch = threading.Thread(target=_watch, args=(process.pid, peak, stop.is_set))
        watch.start()
        code = process.wait()
        stop.set()
        watch.join()
    assert code == 0, f"the command ended with {code}"
    whole = time.monotonic() - started
    cut = json.loads((out / "_request.json").read_text())["cut"]
    written = sorted(path.stat().st_mtime for path in out.glob("part-*.parquet"))
    steady = written[workers - 1 :]  # every worker has been started and has done one
    assert len(steady) > 1, "there are too few users for a rate: give more --users"
    rate = (len(steady) - 1) * cut["users_per_part"] / (steady[-1] - steady[0])
    return Batch(rate, whole, peak)


def _watch(driver: int, peak: Peak, is_over: Callable[[], bool]) -> None:
    while not is_over():
        try:
            process = psutil.Process(driver)
            peak.driver = max(peak.driver, process.memory_info().rss)
            for child in process.children(recursive=True):
                if child.cmdline()[:1] and child.cmdline()[0].startswith("ray::MapWorker"):
                    peak.worker = max(peak.worker, child.memory_info().rss)
        except (psutil.Error, IndexError):  # it has just ended
            pass
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _memory(batches: dict[str, list[Batch]]) -> list[str]:
    def mib(size: int) -> str:
        return f"{size / 2**20:,.0f}"

    lines = [
        "| batch | peak of the driver, MiB | peak of a worker, MiB | whole command, s |",
        "|---|---:|---:|---:|",
    ]
    for name, found in batches.items():
        driver, worker = (max(getattr(b.peak, n) for b in found) for n in ("driver", "worker"))
        seconds = min(b.whole_seconds for b in found)
        lines.append(f"| {name} | {mib(driver)} | {mib(worker)} | {seconds:,.0f} |")
    return lines


def _planned(name: str, rates: list[float]) -> str:
    rate = sorted(rates)[len(rates) // 2]
    return f"{name}: {_PLANNED:,} users in {_PLANNED / rate / 3600:.2f} h at {rate:,.0f} users/s."


def _trained(scratch: Path) -> Path:
    """A SASRec of two blocks and width 64 over histories of up to 50 events, after an epoch."""
    run = scratch / "run"
    if not run.exists():
        generate(SyntheticConfig(users=2000, movies=2000, seed=1), scratch / "ratings")
        histories(
            "ml-1m", scratch / "ratings", scratch / "shards", HistoryConfig(max_length=_LENGTH)
        )
        code = itrec([
            "train", "--local", "--shards", str(scratch / "shards"), "--out", str(run),
            "--model.kind", "sasrec", "--model.width", "64", "--model.num_layers", "2",
            "--training.epochs", "1", "--engine.precision", "fp32",
        ])  # fmt: skip
        assert code == 0, "the model could not be trained"
    return run


def _drawn(path: Path, users: int, run: Path) -> Path:
    """Events of so many users in the order of time, so that those of a user stand far apart."""
    items = pq.read_table(run / "checkpoints" / "best" / "items.parquet")["source_id"]
    random = np.random.default_rng(7)
    schema = pa.schema(
        [("user", pa.string()), ("item", pa.string()), ("rating", pa.float32()),
         ("timestamp", pa.int64())]
    )  # fmt: skip
    now = 0
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(_EVENTS):
            for start in range(0, users, _USERS_AT_A_TIME):
                count = min(_USERS_AT_A_TIME, users - start)
                chosen = random.integers(0, users, count)
                writer.write_table(pa.table({
                    "user": pa.array(chosen).cast(pa.string()),
                    "item": items.take(pa.array(random.integers(0, len(items), count))),
                    "rating": pa.array(random.integers(1, 6, count), pa.float32()),
                    "timestamp": pa.array(np.arange(now, now + count)),
                }, schema=schema))  # fmt: skip
                now += count
    return path


if __name__ == "__main__":
    sys.exit(main())
