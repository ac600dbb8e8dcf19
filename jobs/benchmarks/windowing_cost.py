"""What windowing costs: processor time and memory of `itrec window`, against a program in Polars.

The program filters, numbers, sorts, cuts and writes the same windows and nothing else: it neither
checks the input nor audits the windows, and writes no tables of items, users and histories. Its
windows are compared with those of the command. Each way is a process of its own; processor seconds
are those of user and system together, of all its threads, and the peak is its largest resident
size.

    python jobs/benchmarks/windowing_cost.py --ratings FILE --scratch FOLDER --events 20000000 \\
        --users 138000 --items 27000

The ratings are drawn at random where FILE does not exist: items by Zipf's law, users with 20 events
or more and a long tail, times at random. `--samples histories` measures histories, which
the program does not cut.
"""

import itertools
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq

_INPUTS, _TARGETS, _STRIDE, _LEAST = 10, 5, 10, 15
_COLUMNS = ("item_ids", "ratings", "times", "target_ids", "target_ratings", "target_time")
_COST, _MEMORY = 1.3, 1 / 3  # of the program's, at most
_DRAWN_AT_ONCE = 20_000_000


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    cpu: float
    """Seconds of user and system together."""
    wall: float
    peak: int
    """Bytes."""


def main() -> int:
    """Measure both ways in turns, compare what they wrote, and print a table."""
    from measuring import machine

    from itrec_dist.config import Parser

    parser = Parser("windowing_cost", "Measures windowing against a program in Polars.")
    parser.add_argument(
        "--ratings", type=Path, required=True, help="Parquet file, drawn if missing."
    )
    parser.add_argument("--scratch", type=Path, required=True, help="Folder for what is written.")
    parser.add_argument("--samples", type=Literal["windows", "histories"], default="windows")
    parser.add_argument("--events", type=int, default=5_000_000, help="About so many are drawn.")
    parser.add_argument("--users", type=int, default=34_500, help="Users that are drawn.")
    parser.add_argument("--items", type=int, default=27_000, help="Items that are drawn.")
    parser.add_argument("--rounds", type=int, default=1, help="Turns of each way.")
    parser.add_argument("--memory_limit", type=str, default="1GB", help="Of DuckDB.")
    parser.add_argument(
        "--alone", action="store_true", help="Leave out the program, whose memory grows with FILE."
    )
    given = parser.parse(sys.argv[1:])
    given.scratch.mkdir(parents=True, exist_ok=True)
    if not given.ratings.exists():
        draw(given.ratings, given.events, given.users, given["items"])
    shards, plain = given.scratch / "shards", given.scratch / "windows.parquet"
    ours = [
        "-m", "itrec_dist", "window", "--source", "table", "--input", str(given.ratings),
        "--columns.rating", "rating", "--out", str(shards), "--threads", "2",
        "--memory_limit", given.memory_limit, "--samples", given.samples, "--top_items", "null",
    ]  # fmt: skip
    commands = {"itrec window": ours}
    is_compared = given.samples == "windows" and not given.alone
    if is_compared:
        commands["Polars"] = [__file__, "--cut", str(given.ratings), str(plain)]
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(given.rounds):
        shutil.rmtree(shards, ignore_errors=True)
        for name, command in commands.items():
            costs[name].append(cost([sys.executable, *command]))
    rows = pq.ParquetFile(given.ratings).metadata.num_rows
    print("\n".join([f"{machine()}. {rows:,} ratings.", "", *_table(costs, rows)]))
    if is_compared:
        _compare(shards, plain)
    return 0


def draw(path: Path, events: int, users: int, items: int) -> None:
    """Write ratings of user after user, none of which is given twice, some millions at a time."""
    import polars as pl
    import pyarrow as pa

    num_blocks = -(-events // _DRAWN_AT_ONCE)
    bounds = [users * block // num_blocks for block in range(num_blocks + 1)]
    share = np.cumsum(1 / np.arange(1, items + 1) ** 0.8)
    names, writer = None, None
    for block, (first, end) in enumerate(itertools.pairwise(bounds)):
        rng = np.random.default_rng(block)
        tail = rng.lognormal(np.log(events / users - 20) - 0.5, 1.0, end - first)
        lengths = 20 + tail.astype(int)
        total = int(lengths.sum())
        names = rng.permutation(items) if names is None else names
        columns = {
            "user": np.repeat(np.arange(first + 1, end + 1), lengths),
            "item": names[np.searchsorted(share / share[-1], rng.random(total))] + 1,
            "timestamp": np.repeat(rng.integers(956_700_000, 1_046_400_000, end - first), lengths)
            + rng.integers(0, 5_000_000, total),
            "rating": rng.integers(1, 6, total).astype(np.float32),
        }
        once = pl.DataFrame(columns).unique(["user", "item", "timestamp"], maintain_order=True)
        table: pa.Table = once.to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=1_000_000)
    assert writer is not None, "there is a block"
    writer.close()


def cost(command: list[str]) -> Cost:
    started = time.monotonic()
    environment = {**os.environ, "POLARS_MAX_THREADS": "2"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - started, used.ru_maxrss * 1024)


def _table(costs: dict[str, list[Cost]], rows: int) -> list[str]:
    lines = [
        "| way | processor seconds, least | microseconds per rating | peak, MiB | seconds |",
        "|---|---:|---:|---:|---:|",
    ]
    best = {name: min(found, key=lambda one: one.cpu) for name, found in costs.items()}
    for name, one in best.items():
        peak = max(found.peak for found in costs[name]) / 2**20
        lines.append(
            f"| {name} | {one.cpu:.1f} | {one.cpu / rows * 1e6:.2f} | {peak:,.0f} | "
            f"{one.wall:.0f} |"
        )
    if "Polars" in best:
        ours, plain = best["itrec window"], best["Polars"]
        cpu, memory = ours.cpu / plain.cpu, ours.peak / plain.peak
        lines += ["", f"Processor time {cpu:.2f} of the program's (at most {_COST}), "
                      f"memory {memory:.2f} (at most {_MEMORY:.2f})."]  # fmt: skip
    return lines


def _compare(shards: Path, plain: Path) -> None:
    """Both wrote the same windows.

    Raises:
        AssertionError: they did not.
    """
    for path in sorted(shards.glob("*/part-*.parquet")):
        part = pq.read_table(path, columns=["window_id", *_COLUMNS])
        wanted = pq.read_table(plain, columns=list(_COLUMNS)).take(part["window_id"])
        for name in _COLUMNS:
            found, expected = (
                np.asarray(c.combine_chunks().flatten() if name not in ("target_time",) else c)
                for c in (part[name], wanted[name])
            )
            np.testing.assert_array_equal(found, expected, err_msg=f"{path}: {name}")
    print("\nBoth wrote the same windows.")


def cut(ratings: str, out: str) -> None:
    """The program in Polars."""
    import polars as pl

    events = pl.scan_parquet(ratings).select("user", "item", "timestamp", "rating")
    catalogue = (
        events.group_by("item")
        .len()
        .sort(["len", "item"], descending=[True, False])
        .with_row_index("item_id", offset=1)
        .select("item", pl.col("item_id").cast(pl.Int32))
    )
    users = (
        events.group_by("user")
        .len()
        .filter(pl.col("len") >= _LEAST)
        .sort("user")
        .with_row_index("user_id", offset=1)
        .select("user", pl.col("user_id").cast(pl.Int32))
    )
    ordered = (
        events.join(users, on="user", maintain_order="left")
        .join(catalogue, on="item", maintain_order="left")
        .select("user_id", "item_id", "timestamp", pl.col("rating").cast(pl.Float32))
        .sort(["user_id", "timestamp"], maintain_order=True)
        .with_columns(place=pl.int_range(pl.len()).over("user_id"))
    )

    def around(name: str, first: int, length: int) -> pl.Expr:
        shifted = [pl.col(name).shift(-k) for k in range(first, first + length)]
        return pl.concat_arr(shifted)

    is_start = (
        (pl.col("place") >= _INPUTS)
        & ((pl.col("place") - _INPUTS) % _STRIDE == 0)
        & (pl.col("user_id").shift(1 - _TARGETS) == pl.col("user_id"))
    )
    (
        ordered.select(
            "user_id",
            around("item_id", -_INPUTS, _INPUTS).alias("item_ids"),
            around("rating", -_INPUTS, _INPUTS).alias("ratings"),
            around("timestamp", -_INPUTS, _INPUTS).alias("times"),
            around("item_id", 0, _TARGETS).alias("target_ids"),
            around("rating", 0, _TARGETS).alias("target_ratings"),
            pl.col("timestamp").alias("target_time"),
            is_start.alias("is_start"),
        )
        .filter("is_start")
        .drop("is_start")
        .collect()
        .write_parquet(out, compression="zstd", row_group_size=65_536)
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cut"]:
        cut(*sys.argv[2:])
        sys.exit(0)
    sys.exit(main())
