"""What a large catalogue costs with its item table sharded over two workers of this machine.

Events of as many items as asked for are made and windowed; two workers train with checkpoints until
they are killed, resume to the end of the epoch and judge it; and one process recommends from the
parts of both. Memory of each worker is that of the system, read once a second: RssAnon, which is
its own, and RssFile, pages of files such as maps of a checkpoint, which the system may take back.

    python jobs/benchmarks/sharded_tables.py --scratch FOLDER
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import machine

from itrec_dist.config.parser import Parser

_USERS = 100_000  # a tenth of them to learn from: the catalogue is to be large, not the training
_SERVED, _SHOWN = 64, 50  # users that are recommended to, and the events of each
_FILES = 10


@dataclass
class Memory:
    """What the processes of one command held, in GB."""

    rows: list[tuple[float, list[tuple[float, float]]]] = field(default_factory=list)
    """Seconds since the start, and for each worker its own memory and pages of files."""

    def add(self, seconds: float, workers: Sequence[psutil.Process]) -> None:
        """Read it once."""
        found = [held for held in map(_held, workers) if held is not None]
        if found:
            self.rows.append((seconds, found))

    def peaks(self) -> str:
        """The most that each worker held of its own, and of files."""
        most = max(len(found) for _, found in self.rows)
        told = []
        for worker in range(most):
            held = [found[worker] for _, found in self.rows if len(found) > worker]
            own, files = (max(one[i] for one in held) for i in (0, 1))
            told.append(f"worker {worker}: {own:.2f} GB, {files:.2f} GB of files")
        return "; ".join(told)

    def curve(self, marks: Sequence[tuple[float, str]], points: int = 24) -> list[str]:
        """Lines of Markdown, with what had just been logged."""
        step = max(1, len(self.rows) // points)
        lines = ["| seconds | own memory of each worker, GB | last logged |", "|---:|---|---|"]
        for seconds, found in self.rows[::step]:
            last = next((text for at, text in reversed(marks) if at <= seconds), "")
            own = ", ".join(f"{one[0]:.2f}" for one in found)
            lines.append(f"| {seconds:.0f} | {own} | {last} |")
        return lines


def make_events(path: Path, items: int, seed: int = 0) -> None:
    """Parquet files of events in which every item occurs; a fiftieth more are of popular ones."""
    path.mkdir()
    rng = np.random.default_rng(seed)
    popular = np.minimum(rng.zipf(1.3, items // 50), items) - 1
    ids = np.concatenate([rng.permutation(items), popular]).astype(np.int32)
    rng.shuffle(ids)
    users = (np.arange(len(ids)) * _USERS // len(ids)).astype(np.int32)
    times = 1_600_000_000 + np.arange(len(ids), dtype=np.int64)
    for number, part in enumerate(np.array_split(np.arange(len(ids)), _FILES)):
        table = pa.table({"user": users[part], "item": ids[part], "timestamp": times[part]})
        pq.write_table(table, path / f"{number}.parquet")


def _held(process: psutil.Process) -> tuple[float, float] | None:
    try:
        text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        lines = dict(line.split(":", 1) for line in text.splitlines())
        own, files = (int(lines[name].split()[0]) * 1024 / 1e9 for name in ("RssAnon", "RssFile"))
    except (OSError, KeyError):
        return None
    return own, files


def _workers(root: psutil.Process) -> list[psutil.Process]:
    """The processes with a model: those of torchrun, or the command itself."""
    try:
        children = [p for p in root.children() if "itrec_dist" in " ".join(p.cmdline())]
        return sorted(children, key=lambda p: p.pid) or [root]
    except psutil.Error:
        return []


def run(command: list[str], log: Path, until: Path | None = None) -> tuple[float, Memory]:
    """Run a command to its end, or kill it all once `until` exists; seconds and memory."""
    memory, started = Memory(), time.monotonic()
    with log.open("w") as told:
        process = subprocess.Popen(command, stdout=told, stderr=told, start_new_session=True)
    root = psutil.Process(process.pid)
    while process.poll() is None:
        memory.add(time.monotonic() - started, _workers(root))
        time.sleep(1)
        if until is not None and until.exists():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode and until is None:
        sys.exit(f"{' '.join(command)}\n{log.read_text()[-3000:]}")
    return time.monotonic() - started, memory


def _marks(log: Path, began: float) -> list[tuple[float, str]]:
    """What a run has logged since `began`, in seconds after it."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return [
        (e["time"] - began, f"{e['event']} {e.get('step', '')}".strip())
        for e in events
        if e["time"] >= began
    ]


def main() -> None:
    """Measure, and print Markdown."""
    parser = Parser("sharded_tables.py", __doc__ or "")
    parser.add_argument("--scratch", type=Path, required=True, help="Folder for data and runs.")
    parser.add_argument("--items", type=int, default=10_000_000, help="Size of the catalogue.")
    parser.add_argument("--width", type=int, default=64, help="Width of the vectors.")
    parser.add_argument("--optimizer", type=str, default="adagrad", help="optimizer.name.")
    parser.add_argument("--steps", type=int, default=4, help="Updates between checkpoints.")
    given = parser.parse(sys.argv[1:])
    scratch, itrec = given.scratch, [sys.executable, "-m", "itrec_dist"]
    scratch.mkdir(parents=True, exist_ok=True)
    total = given["items"]
    events, shards, out = (scratch / f"{name}-{total}" for name in ("events", "shards", "run"))
    print(f"{machine()}; {total:,} items, width {given.width}, {given.optimizer}\n", flush=True)
    if not shards.is_dir():
        make_events(events, total)
        seconds, memory = run([
            *itrec, "window", "--samples", "histories", "--source", "table",
            "--input", str(events), "--out", str(shards), "--protocol", "user_disjoint",
            "--validation_fraction", "0.0002", "--test_fraction", "0.9",
            "--max_length", str(_SHOWN), "--memory_limit", "5GB",
        ], scratch / "window.log")  # fmt: skip
        print(f"windowed in {seconds:.0f} s, {memory.peaks()}\n", flush=True)
    settings = [
        "--shards", str(shards), "--out", str(out), "--model.kind", "sasrec",
        "--model.width", str(given.width), "--model.num_layers", "1",
        "--loss.kind", "sampled_softmax", "--engine.item_table", "sharded",
        "--engine.precision", "fp32", "--optimizer.name", given.optimizer,
        "--optimizer.learning_rate", "0.02", "--training.epochs", "1",
        "--training.batch_tokens", "65536", "--checkpoints.steps", str(given.steps),
        "--evaluation.train_sample", "0", "--evaluation.cutoffs", "[10]",
        "--evaluation.batch_size", "256", "--evaluation.judge_test", "false",
        "--cluster.threads", "1",
    ]  # fmt: skip
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
           "-m", "itrec_dist", "train"]  # fmt: skip
    until = out / "checkpoints" / f"last-{given.steps:08d}"
    kept = ["--checkpoints.keep_last", "2"]
    for name, more, stop in (
        ("trained until a kill", ["--overwrite"], until), ("resumed", ["--resume"], None),
    ):  # fmt: skip
        began = time.time()
        seconds, memory = run([*two, *settings, *kept, *more], scratch / "train.log", stop)
        print(f"## {name}, {seconds:.0f} s\n\npeaks: {memory.peaks()}\n", flush=True)
        print("\n".join(memory.curve(_marks(out / "log.jsonl", began))), "\n", flush=True)
    files = sorted((out / "checkpoints" / "last").rglob("*.safetensors"))
    print("\n".join(f"{f.relative_to(out)}: {f.stat().st_size / 1e9:.3f} GB" for f in files))
    served = scratch / "served.parquet"
    table = pq.read_table(events / "0.parquet").slice(0, _SERVED * _SHOWN)
    users = pa.array([f"new {row // _SHOWN}" for row in range(len(table))])
    pq.write_table(table.set_column(0, "user", users), served)
    seconds, memory = run([
        *itrec, "recommend", str(out), "--histories", str(served), "--overwrite",
        "--out", str(scratch / "recommended.parquet"), "-k", "10",
    ], scratch / "recommend.log")  # fmt: skip
    rows = pq.read_metadata(scratch / "recommended.parquet").num_rows
    print(f"\nrecommended to {_SERVED} users in one process: {rows} rows, {seconds:.0f} s, "
          f"{memory.peaks()}")  # fmt: skip


if __name__ == "__main__":
    main()
