"""What a loss holds: the peak memory of its forward and backward pass over the size of all logits.

    python jobs/benchmarks/loss_memory.py --items 400000 --batch 512

prints a line per loss: its name, the ratio, the peak and its times. Each is measured in a process
of its own on queries [batch, width] and an item table [items, width] with biases, for one target
per query. The peak is what the system says that the process held at most (VmHWM of Linux, reset
before the pass) less what it held before, which includes queries and table, and less the gradients
of these, which every loss leaves behind. What libraries allocate at their first use is allocated
before, by a pass over a small table.

    python jobs/benchmarks/loss_memory.py --items 1000000 --batch 25600 --step

trains SASRec for a step instead, on histories of 50 events of which every one predicts the next:
its peak is that of the whole process, with weights, gradients, the state of Adam and the
interpreter.
"""

import gc
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import random_histories
import torch
from measuring import machine

from itrec_dist.config import Parser
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.engines.single import SingleEngine
from itrec_dist.losses.bce import BceConfig
from itrec_dist.losses.ce import CeConfig
from itrec_dist.losses.gbce import GbceConfig
from itrec_dist.losses.loss import CountingLoss
from itrec_dist.losses.sampled_softmax import SampledSoftmaxConfig
from itrec_dist.losses.softmax import SoftmaxConfig
from itrec_dist.models.item_table import ItemTable, Queries
from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.training.loop import train_step

LOSSES = {
    "plain_bce": BceConfig(memory="whole"),
    "plain_ce": CeConfig(memory="whole"),
    "plain_softmax": SoftmaxConfig(memory="whole"),
    "chunked_bce": BceConfig(memory="chunks"),
    "chunked_ce": CeConfig(memory="chunks"),
    "chunked_softmax": SoftmaxConfig(memory="chunks"),
    "sampled_softmax": SampledSoftmaxConfig(),
    "sampled_softmax_per_position": SampledSoftmaxConfig(shared=False),
    "gbce": GbceConfig(),
    "gbce_per_position": GbceConfig(shared=False),
}
HISTORY = 50


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    items: int
    batch: int
    width: int
    threads: int

    @property
    def logits(self) -> int:
        """Bytes of all logits."""
        return 4 * self.items * self.batch


Measured = tuple[int, float, float]
"""Peak in bytes, seconds of the clock, and of processors, which other programs disturb less."""


def forward_and_backward(name: str, sizes: Sizes) -> Measured:
    """One pass of a loss over a table."""
    _pass(name, Sizes(items=2000, batch=64, width=sizes.width, threads=1))
    gc.collect()
    return _pass(name, sizes)


def _pass(name: str, sizes: Sizes) -> Measured:
    config = LOSSES[name]
    counts_C = torch.ones(sizes.items, dtype=torch.int64)
    loss = config.for_counts(counts_C) if isinstance(config, CountingLoss) else config
    hidden_ND = torch.randn(sizes.batch, sizes.width).requires_grad_()
    weight_CD = torch.randn(sizes.items, sizes.width).mul_(0.1).requires_grad_()
    bias_C = torch.zeros(sizes.items).requires_grad_()
    targets_N1 = torch.randint(1, sizes.items + 1, (sizes.batch, 1))
    before = _reset_peak()
    started = _now()
    loss_N = loss.per_query(Queries(hidden_ND), targets_N1, ItemTable(weight_CD, bias_C))
    loss_N.mean().backward()
    seconds = _since(started)
    gradients = 4 * (hidden_ND.numel() + weight_CD.numel() + bias_C.numel())
    return _memory("VmHWM") - before - gradients, *seconds


def training_step(name: str, sizes: Sizes) -> Measured:
    """The second step of SASRec, when Adam has its state; the peak is of the whole process."""
    spec = random_histories.spec_of(sizes.items, HISTORY)
    task = NextItems(SasrecConfig(width=sizes.width), LOSSES[name], spec)
    device = torch.device("cpu")
    engine = SingleEngine(task, EngineConfig(precision="fp32"), OptimizerConfig(), 2, device)
    train_step(engine, random_histories.drawn(2, sizes.items, HISTORY))
    batch = random_histories.drawn(sizes.batch // HISTORY, sizes.items, HISTORY)
    started = _now()
    train_step(engine, batch)
    seconds = _since(started)
    return _memory("VmHWM"), *seconds


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(started: tuple[float, float]) -> tuple[float, float]:
    clock, processors = _now()
    return clock - started[0], processors - started[1]


def _reset_peak() -> int:
    """Let the peak of this process start anew; returns the bytes that it holds."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _in_a_process_of_its_own(
    measure: Callable[[str, Sizes], Measured], name: str, sizes: Sizes
) -> Measured:
    with multiprocessing.get_context("spawn").Pool(1, _start, (sizes.threads,)) as pool:
        return pool.apply(measure, (name, sizes))


def _start(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)


def main() -> None:
    """Measure, and print a line per loss."""
    parser = Parser("loss_memory.py", __doc__ or "")
    parser.add_argument("--items", type=int, default=400_000, help="Size of the catalogue.")
    parser.add_argument("--batch", type=int, default=512, help="Queries, or positions of a step.")
    parser.add_argument("--width", type=int, default=64, help="Width of the vectors.")
    parser.add_argument("--threads", type=int, default=1, help="Threads of torch.")
    parser.add_argument("--losses", type=list[str], default=list(LOSSES), help="Which losses.")
    parser.add_argument("--step", action="store_true", help="Train SASRec for a step.")
    given = parser.parse(sys.argv[1:])
    sizes = Sizes(given["items"], given.batch, given.width, given.threads)
    measure = training_step if given.step else forward_and_backward
    print(
        f"{machine()}; {sizes.batch:,} x {sizes.items:,}, width {sizes.width}, {sizes.threads} "
        f"thread(s): all logits are {sizes.logits / 1e6:,.0f} MB",
        flush=True,
    )
    for name in given.losses:
        peak, clock, processors = _in_a_process_of_its_own(measure, name, sizes)
        ratio = peak / sizes.logits
        took = f"{clock:.2f} s, {processors:.2f} s of processors"
        print(f"{name} {ratio:.3f} ({peak / 1e6:,.0f} MB, {took})", flush=True)


if __name__ == "__main__":
    main()
