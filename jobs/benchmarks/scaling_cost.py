"""Where the second worker's speed goes: torch alone, without Ray, feeds or engines of ours.

One process trains the whole batch. Two that know nothing of each other show what the machine gives
to two at once, with a whole batch each and with half of one; two under torch's own DDP add the
exchange of gradients. What `ray, 2 workers, ddp` of the loop's table lacks beyond that is ours.
"""

import socket
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as mp
from loop_cost import START_UP, bare
from measuring import Way
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from itrec_dist import config
from itrec_dist.run import RunConfig

BATCHES = (256, 1024)


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
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        queue: Any = mp.get_context("spawn").SimpleQueue()
        mp.spawn(work, (run, share, processes, port, queue), nprocs=processes)
        rates = [queue.get() for _ in range(processes)]
        return [sum(epoch) for epoch in zip(*rates, strict=True)]

    return measure


def _alone(rank: int, run: RunConfig, share: int, processes: int, port: int, queue: Any) -> None:
    del rank, processes, port
    queue.put(bare(run, share)[START_UP:])


def _together(rank: int, run: RunConfig, share: int, processes: int, port: int, queue: Any) -> None:
    store = dist.TCPStore("127.0.0.1", port, processes, is_master=rank == 0)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=processes)

    def wrap(model: nn.Module) -> nn.Module:
        return DistributedDataParallel(model, gradient_as_bucket_view=True)

    queue.put(bare(run, share, wrap)[START_UP:])
    dist.destroy_process_group()
