"""Where the second worker's speed goes: torch alone, without Ray, feeds or engines of ours.

One process trains the whole batch. Two that know nothing of each other show what the machine gives
to two at once, with a whole batch each and with half of one; two under torch's own DDP add the
exchange of gradients. What `ray, 2 workers, ddp` of the loop's table lacks beyond that is ours.
"""

import functools
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from loop_cost import START_UP, bare
from measuring import Way
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from itrec_dist import config
from itrec_dist.training.config import RunConfig

BATCHES = (256, 1024)
_EXCHANGES = 300


def ways(settings: list[str], recipe: str) -> dict[str, Way]:
    """Every way by name; rates of two processes are added."""
    found: dict[str, Way] = {}
    for size in BATCHES:
        run = config.load(RunConfig, recipe, [*settings, f"training.batch_size={size}"])
        found[f"one process, batch {size}"] = _side_by_side(run, _alone, 1, 1)
        found[f"two apart, {size} each"] = _side_by_side(run, _alone, 2, 1)
        found[f"two apart, {size // 2} each"] = _side_by_side(run, _alone, 2, 2)
        found[f"two with DDP, {size // 2} each"] = _side_by_side(run, _together, 2, 2)
    return found


def _side_by_side(run: RunConfig, work: Callable[..., None], processes: int, share: int) -> Way:
    def measure() -> list[float]:
        rates = _in_processes(processes, functools.partial(work, run, share))
        return [sum(epoch) for epoch in zip(*rates, strict=True)]

    return measure


def exchange(floats: int) -> str:
    """How long two otherwise idle processes take for an all-reduce of so many floats, as text."""
    took = _in_processes(2, functools.partial(_exchange, floats))[0]
    median, most = statistics.median(took), statistics.quantiles(took, n=10)[-1]
    return (
        f"The sum of {floats:,} floats over two processes that do nothing else, gloo: "
        f"{median:.2f} ms median, {most:.2f} ms or more in one of ten."
    )


def _in_processes(count: int, work: Callable[[], list[float]]) -> list[list[float]]:
    """What `work()` returns in each of `count` processes of one gloo group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue: Any = mp.get_context("spawn").SimpleQueue()
    mp.spawn(_process, (count, port, work, queue), nprocs=count)
    return [queue.get() for _ in range(count)]


def _process(rank: int, count: int, port: int, work: Callable[[], list[float]], queue: Any) -> None:
    store = dist.TCPStore("127.0.0.1", port, count, is_master=rank == 0)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=count)
    queue.put(work())
    dist.barrier()
    dist.destroy_process_group()


def _alone(run: RunConfig, share: int) -> list[float]:
    return bare(run, share)[START_UP:]


def _together(run: RunConfig, share: int) -> list[float]:
    def wrap(model: nn.Module) -> nn.Module:
        return DistributedDataParallel(model, gradient_as_bucket_view=True, broadcast_buffers=False)

    return bare(run, share, wrap)[START_UP:]


def _exchange(floats: int) -> list[float]:
    torch.set_num_threads(1)
    gradient, took = torch.zeros(floats), []
    for _ in range(_EXCHANGES):
        gradient.fill_(1.0)
        started = time.perf_counter()
        dist.all_reduce(gradient)
        took.append(1000 * (time.perf_counter() - started))
    return took
