"""What a large catalogue costs each of two workers under every engine: memory, steps, checkpoints.

    python jobs/benchmarks/engine_memory.py --scratch FOLDER

trains SASRec of one layer on histories drawn at random: sampled softmax, whose negatives are drawn
once for all positions, and AdamW. The two workers are processes of one gloo group, with a thread of
torch each; every engine has two of its own. Memory is that of the system, less what a worker held
after it had trained a catalogue of 2,000 items: interpreter, libraries and their buffers. `held` is
its own memory between two steps (RssAnon), the peaks are those of resident memory (VmHWM, reset
before). A step is the median of several. A checkpoint is what a run writes: weights, optimiser,
checksums, flushed.
"""

import multiprocessing
import os
import socket
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import random_histories
import torch
import torch.distributed as dist
from measuring import machine

from itrec_dist.config import Parser
from itrec_dist.distributed.context import LocalContext
from itrec_dist.distributed.row_sharding import RowSharding
from itrec_dist.engines import kind_of
from itrec_dist.engines.deepspeed_settings import DeepSpeedConfig
from itrec_dist.engines.engine import Engine, EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.losses.sampled_softmax import SampledSoftmaxConfig
from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.runs.checkpoints.manager import CheckpointManager
from itrec_dist.runs.checkpoints.training_state import Position, Provenance
from itrec_dist.runs.checkpoints.writer import CheckpointConfig, CheckpointWriter
from itrec_dist.runs.directory import LAST, RunDirectory
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.training.loop import train_step

WORKERS, HISTORY, FEW_ITEMS = 2, 32, 2000
ENGINES = {
    "ddp": EngineConfig("ddp"),
    "ddp, sharded items": EngineConfig("ddp", item_table="sharded"),
    "fsdp": EngineConfig("fsdp"),
    **{
        f"ZeRO-{stage}": EngineConfig("deepspeed", deepspeed=DeepSpeedConfig(stage))
        for stage in (0, 1, 2, 3)
    },
    "ZeRO-2, offloaded": EngineConfig("deepspeed", deepspeed=DeepSpeedConfig(2, True)),
    "ZeRO-3, offloaded": EngineConfig("deepspeed", deepspeed=DeepSpeedConfig(3, True)),
}


@dataclass(frozen=True)
class Sizes:
    """What is trained."""

    items: int
    width: int
    rows: int
    """Histories of a worker in a step."""
    steps: int


@dataclass(frozen=True)
class Cost:
    """What one worker found; bytes and seconds."""

    held: int
    peak: int
    """In steps."""
    saving: int
    """The peak while a checkpoint is written."""
    step: float
    """Processor time of a step."""
    saved: float
    """Processor time of a checkpoint."""
    clock: float
    """Until it lies on the disk."""
    files: int
    """Bytes of the checkpoint, of all workers."""


class _Worker(LocalContext):
    world_size = WORKERS
    shares_data = True

    def __init__(self, rank: int) -> None:
        super().__init__(torch.device("cpu"), threads=1)
        self.rank = rank


def _measure(context: _Worker, config: EngineConfig, sizes: Sizes, folder: Path) -> Cost:
    small = _engine(context, config, replace(sizes, items=FEW_ITEMS))
    _train(small, replace(sizes, items=FEW_ITEMS, steps=2))
    del small
    own, resident = _memory("RssAnon"), _memory("VmRSS")
    engine = _engine(context, config, sizes)
    _train(engine, replace(sizes, steps=1))  # the optimiser makes its state
    _reset_peak()
    steps = _train(engine, sizes)
    held, peak = _memory("RssAnon") - own, _memory("VmHWM") - resident
    dist.barrier()
    _reset_peak()
    processor, started = time.process_time(), time.perf_counter()
    manager = _manager(context, engine, folder)
    manager.save([LAST], Position(step=sizes.steps + 1), {})
    if lost := manager.close():
        sys.exit(lost)
    saved = time.process_time() - processor
    dist.barrier()
    last = RunDirectory(folder / "run").checkpoints / LAST  # a link
    files = [f.stat().st_size for f in last.rglob("*.safetensors")]
    return Cost(
        held=held, peak=peak, saving=_memory("VmHWM") - resident,
        step=statistics.median(steps), saved=saved, clock=time.perf_counter() - started,
        files=sum(files),
    )  # fmt: skip


def _engine(context: _Worker, config: EngineConfig, sizes: Sizes) -> Engine:
    is_sharded = config.item_table == "sharded"
    item_rows = RowSharding(context.rank, WORKERS) if is_sharded else None
    spec = random_histories.spec_of(sizes.items, HISTORY, item_rows)
    torch.manual_seed(0)
    model = SasrecConfig(width=sizes.width, num_layers=1, dropout=0.0)
    task = NextItems(model, SampledSoftmaxConfig(), spec)
    torch.manual_seed(context.rank)
    kind = kind_of(config, WORKERS)
    return kind(task, replace(config, precision="fp32"), OptimizerConfig(), 1000, context.device)


def _train(engine: Engine, sizes: Sizes) -> list[float]:
    """Processor seconds of each step."""
    found = []
    for _ in range(sizes.steps):
        batch = random_histories.drawn(sizes.rows, sizes.items, HISTORY)
        dist.barrier()
        started = time.process_time()
        train_step(engine, batch)
        found.append(time.process_time() - started)
    return found


def _manager(context: _Worker, engine: Engine, folder: Path) -> CheckpointManager:
    run, items = RunDirectory(folder / "run"), folder / "items.parquet"
    writer = None
    if context.rank == 0:
        run.path.mkdir(parents=True)
        for empty in (items, run.config, run.manifest):  # they cost what the catalogue's names do
            empty.write_bytes(b"")
        writer = CheckpointWriter(run, items, CheckpointConfig())
    provenance = Provenance(engine.name, WORKERS, fingerprint="none", is_streamed=False)
    return CheckpointManager(run, writer, provenance, engine, context)


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _process(rank: int, port: int, given: tuple[EngineConfig, Sizes, Path], told: Any) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = dist.TCPStore("127.0.0.1", port, WORKERS, is_master=rank == 0)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORKERS)
    told.put((rank, _measure(_Worker(rank), *given)))
    dist.barrier()
    dist.destroy_process_group()


def measured(config: EngineConfig, sizes: Sizes, folder: Path) -> list[Cost]:
    """What two workers of an engine cost, each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    processes = [
        context.Process(target=_process, args=(rank, port, (config, sizes, folder), told))
        for rank in range(WORKERS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            sys.exit(f"a worker of {config} ended with {process.exitcode}")
    return [cost for _, cost in sorted((told.get() for _ in processes), key=lambda one: one[0])]


def line(name: str, costs: list[Cost]) -> str:
    """A row of Markdown; of two workers the figures of both where they differ by their part."""
    first = costs[0]

    def both(field: str) -> str:
        return " and ".join(f"{getattr(cost, field) / 1e6:,.0f}" for cost in costs)

    step, saved = statistics.mean(c.step for c in costs), sum(c.saved for c in costs)
    return (
        f"| {name} | {both('held')} | {both('peak')} | {both('saving')} | {step:.2f} | "
        f"{first.files / 1e6:,.0f} | {saved:.1f} | {first.clock:.0f} |"
    )


def main() -> None:
    """Measure, and print a row for each engine."""
    parser = Parser("engine_memory.py", __doc__ or "")
    parser.add_argument("--scratch", type=Path, required=True, help="Folder for checkpoints.")
    parser.add_argument("--items", type=int, default=1_000_000, help="Size of the catalogue.")
    parser.add_argument("--width", type=int, default=64, help="Width of the vectors.")
    parser.add_argument("--rows", type=int, default=8, help="Histories of a worker in a step.")
    parser.add_argument("--steps", type=int, default=5, help="Steps that are timed.")
    parser.add_argument("--engines", type=list[str], default=list(ENGINES), help="Which engines.")
    given = parser.parse(sys.argv[1:])
    sizes = Sizes(given["items"], given.width, given.rows, given.steps)
    numbers = sizes.items * (sizes.width + 1)
    print(
        f"{machine()}; {sizes.items:,} items x {sizes.width}, {numbers * 4 / 1e6:,.0f} MB with "
        f"biases; {WORKERS * sizes.rows * HISTORY:,} positions a step\n\n"
        "| engine | held, MB | peak of steps, MB | peak of a checkpoint, MB | a step, s of a "
        "processor | checkpoint, MB | s of processors | s of the clock |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        flush=True,
    )
    for name in given.engines:
        folder = given.scratch / name.replace(", ", "-").replace(" ", "-")
        folder.mkdir(parents=True)
        print(line(name, measured(ENGINES[name], sizes, folder)), flush=True)


if __name__ == "__main__":
    main()
