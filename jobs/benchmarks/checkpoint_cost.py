"""What checkpoints cost and what they save: the time training stands still, and that of a resume.

Stand-still: how much longer an epoch with checkpoints takes than one without, per checkpoint, so
that what the writing in the background takes from training counts as well; the share of it in which
the loop waits is timed beside it. Resume: a run on one Ray worker whose process is killed, and one
whose driver is killed and started again; seconds from the kill to the first new step.
"""

import itertools
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from itrec_dist import config
from itrec_dist.config.shipped_files import recipe
from itrec_dist.data.sources.synthetic import SyntheticConfig, generate
from itrec_dist.launch.start import train
from itrec_dist.runs.checkpoints.manager import CheckpointManager
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.tasks.next_items.windows import WindowConfig, window
from itrec_dist.training.config import RunConfig

_LARGE = (
    "model.width=1024", "model.num_layers=4", "model.num_heads=8", "model.feedforward_width=4096",
    "training.batch_size=32", "training.epochs=2",
)  # fmt: skip
_WORKER = "ray::RayTrainWorker"
_DEADLINE = 300.0


@dataclass(frozen=True)
class Stall:
    """What a checkpoint of one model costs."""

    mib: float
    """Size of the files of a checkpoint."""
    per_checkpoint: float
    """Milliseconds that training takes longer for each."""
    waited: float
    """Milliseconds that the loop stands still for each, median."""


def lines(shards: Path, scratch: Path, rounds: int) -> list[str]:
    """Both parts as Markdown."""
    common = ["evaluation.train_sample=0", "cluster.threads=1"]
    small = [f"shards={shards}", "training.epochs=3", *common]
    large = [f"shards={_few_windows(scratch)}", *_LARGE, *common]
    rows = [
        "## Checkpoints",
        "",
        f"Local runs, one thread; {rounds} turns with and without checkpoints within the epoch.",
        "",
        "| model | files of a checkpoint | training stands still | training takes longer |",
        "|---|---:|---:|---:|",
    ]
    for name, settings, steps in (("width 64", small, 20), ("width 1024", large, 5)):
        stall = _stall(settings, scratch, steps, rounds)
        rows.append(
            f"| {name} | {stall.mib:,.1f} MiB | {stall.waited:,.1f} ms | "
            f"{stall.per_checkpoint:,.1f} ms |"
        )
    worker, driver = _seconds_to_go_on(small, scratch / "killed")
    return [
        *rows,
        "",
        "From SIGKILL to the first new step, recipe paper.yaml with checkpoints.steps=20 on one "
        f"Ray worker: {worker:.1f} s when the worker is killed (Ray starts another one), "
        f"{driver:.1f} s when the driver is killed and started again with --resume (all of Ray "
        "starts anew).",
    ]


def _stall(settings: Sequence[str], scratch: Path, steps: int, rounds: int) -> Stall:
    out, plain_keep = scratch / "kept", CheckpointManager.save
    waits: list[float] = []

    def timed(*given: object) -> None:
        started = time.perf_counter()
        plain_keep(*given)  # type: ignore[arg-type]
        waits.append(1000 * (time.perf_counter() - started))

    seconds: dict[int | None, list[float]] = {None: [], steps: []}
    count = 0
    for _, every in itertools.product(range(rounds), seconds):
        given = [*settings, f"out={out}"]
        if every is not None:
            given.append(f"checkpoints.steps={every}")
        run = config.load(RunConfig, recipe("paper"), given)
        CheckpointManager.save = timed if every is not None else plain_keep  # type: ignore[method-assign]
        try:
            train(run, local=True, existing="overwrite")
        finally:
            CheckpointManager.save = plain_keep  # type: ignore[method-assign]
        seconds[every] += [e["seconds"] for e in RunDirectory(out).events("epoch")]
        count = RunDirectory(out).events("start")[0]["steps_per_epoch"] // steps
    longer = statistics.median(seconds[steps]) - statistics.median(seconds[None])
    files = [p for p in (out / "checkpoints" / "last").rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files) / 2**20
    return Stall(size, 1000 * longer / count, statistics.median(waits))


def _few_windows(scratch: Path) -> Path:
    """Shards of some hundred windows, on which a large model has few steps."""
    place = scratch / "few"
    generate(SyntheticConfig(users=300, movies=200, ratings_per_user=30.0, seed=0), place / "data")
    window("ml-1m", place / "data", place / "shards", WindowConfig(top_items=150))
    return place / "shards"


def _seconds_to_go_on(settings: Sequence[str], out: Path) -> tuple[float, float]:
    """Seconds from the kill of a worker, and of the driver, to the first new step."""
    run = RunDirectory(out)
    command = [
        sys.executable, "-m", "itrec_dist", "train", "--config", str(recipe("paper")),
        *(f"--{one}" for one in settings if not one.startswith("training.epochs")),
        f"--out={out}", "--training.epochs=1000", "--checkpoints.steps=20",
        "--training.log_seconds=0.2",
    ]  # fmt: skip
    driver = _start(command)
    _wait_for_step(run, after=time.time(), beyond=60)
    reached, killed = _last_step(run), time.time()
    _worker_of(driver).kill()
    worker_seconds = _wait_for_step(run, killed, reached) - killed
    _wait_for_step(run, after=time.time(), beyond=_last_step(run) + 60)
    reached, killed = _last_step(run), time.time()
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    driver = _start([*command, "--resume"])
    begun = _wait_for_start(run, after=killed)  # workers of the killed driver may outlive it a bit
    driver_seconds = _wait_for_step(run, begun, max(reached, _last_step(run))) - killed
    driver.send_signal(signal.SIGTERM)
    driver.wait(120)
    return worker_seconds, driver_seconds


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def _worker_of(driver: subprocess.Popen[bytes]) -> psutil.Process:
    children = psutil.Process(driver.pid).children(recursive=True)
    return next(p for p in children if _WORKER in " ".join(p.cmdline()))


def _last_step(run: RunDirectory) -> int:
    return max((e["step"] for e in run.events("progress")), default=0)


def _wait_for_start(run: RunDirectory, after: float) -> float:
    """The time at which workers that started after a moment began to train."""
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        for event in run.events("start"):
            if event["time"] > after:
                return float(event["time"])
        time.sleep(0.1)
    raise TimeoutError(f"no start in {_DEADLINE:.0f} s: {run.events()[-3:]}")


def _wait_for_step(run: RunDirectory, after: float, beyond: int) -> float:
    """The time of the first step beyond one, trained after a moment."""
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        for event in run.events("progress"):
            if event["time"] > after and event["step"] > beyond:
                return float(event["time"])
        time.sleep(0.1)
    raise TimeoutError(f"no step beyond {beyond} in {_DEADLINE:.0f} s: {run.events()[-3:]}")
