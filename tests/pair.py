"""Two processes in one process group of torch, which run one program after another.

Their start costs more than most programs: they are started once for a whole session.
"""

import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from itrec_dist.distributed.context import LocalContext

Program = Callable[..., Any]
"""Is given the worker's context and the arguments; what it returns must be picklable. It is named
by its module, so it stands at the top of one."""


class TwoWorkers(LocalContext):
    """One of two processes that are joined by torch alone."""

    world_size = 2
    shares_data = True

    def __init__(self, rank: int) -> None:
        super().__init__(torch.device("cpu"), threads=1)
        self.rank = rank


class Pair:
    """The two processes; use it as a context."""

    def __init__(self, folder: Path) -> None:
        if Path("/sys/class/net/lo").exists():
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        context = mp.get_context("spawn")
        ends = [context.Pipe() for _ in range(2)]
        self._ours = [ours for ours, _ in ends]
        self._processes = [
            context.Process(target=_serve, args=(rank, folder / "meet", theirs), daemon=True)
            for rank, (_, theirs) in enumerate(ends)
        ]

    def __enter__(self) -> "Pair":
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for ours, process in zip(self._ours, self._processes, strict=True):
            ours.send(None)
            process.join(30)
            process.kill()

    def run(self, program: Program, *arguments: object, seconds: float = 240) -> list[Any]:
        """What `program` returned on each of the two; fails with the traceback of the first."""
        for ours in self._ours:
            ours.send((program, arguments))
        found = []
        for rank, ours in enumerate(self._ours):
            assert ours.poll(seconds), f"process {rank} of the pair has not answered"
            error, result = ours.recv()
            assert error is None, f"process {rank} of the pair failed:\n{error}"
            found.append(result)
        return found


def _serve(rank: int, meet: Path, theirs: Connection) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{meet}", rank=rank, world_size=2,
        timeout=timedelta(seconds=120),
    )  # fmt: skip
    while (asked := theirs.recv()) is not None:
        program, arguments = asked
        try:
            theirs.send((None, program(TwoWorkers(rank), *arguments)))
        except BaseException:
            theirs.send((traceback.format_exc(), None))
    dist.destroy_process_group()
