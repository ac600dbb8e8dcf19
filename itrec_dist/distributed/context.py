"""A worker's context: its rank, device, data, and collectives with the other workers.

The training loop uses a WorkerContext and never Ray itself: a local context in a single process, a
torchrun context in each of several processes, a Ray context inside a Ray Train worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import torch
import torch.distributed as dist
from pyarrow import fs

from itrec_dist.distributed import readers
from itrec_dist.distributed.readers import Read, Readers, read_here
from itrec_dist.distributed.torchrun import Peers
from itrec_dist.errors import ConfigError
from itrec_dist.storage import cache, parquet
from itrec_dist.system import limits

_ASKED_SECONDS, _AUTO_SECONDS = 120.0, 30.0  # to wait for a CPU to read on
T = TypeVar("T")


class WorkerContext(Protocol):
    """One worker's view of the run."""

    rank: int
    world_size: int
    device: torch.device
    shares_data: bool
    """Whether other processes on this machine train on the same data, now or next."""

    def blocks(
        self, files: Sequence[Path], columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """The named columns of Parquet files as large blocks, in the order of the files."""

    def reader(self, choice: Readers, folder: Path | None) -> tuple[Read, str | None]:
        """Where this worker's batches are made that are read again in every epoch.

        Called by all workers. `folder` is read, or None what every machine sees. Also returns a
        sentence about it, if there is something to say.

        Raises:
            ConfigError: `choice` is the cluster, and there is none or it has no CPU to spare.
        """

    def report(self, metrics: dict[str, Any]) -> None:
        """Report an epoch's figures to the launcher; called by all workers."""

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all workers, on every worker."""

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Every worker's tensor, in the order of ranks, on every worker; all of one shape."""

    def collect(self, value: T) -> list[T]:
        """Every worker's small value, in the order of ranks, on every worker."""

    def share(self, value: T | None) -> T:
        """Broadcast a small value from worker 0 to all workers."""

    def share_tensors(self, tensors: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
        """Broadcast tensors from worker 0 to the CPU of all workers."""


class _Group:
    """Collectives over torch's default process group; no-ops for a single worker."""

    rank = 0
    world_size = 1
    device: torch.device
    shares_data = False

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """All-reduce over the process group."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """All-gather over the process group, which needs the tensor on this worker's device."""
        if self.world_size == 1:
            return [tensor]
        mine = tensor.to(self.device)
        parts = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(parts, mine)
        return [other.to(tensor.device) for other in parts]

    def collect(self, value: T) -> list[T]:
        """All-gather of pickled values."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, value)
        return found

    def share(self, value: T | None) -> T:
        """Broadcast from worker 0."""
        held: list[Any] = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(held, src=0, device=self.device)
        shared: T = held[0]
        return shared

    def share_tensors(self, tensors: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
        """Broadcast one by one, so that a device holds only one extra tensor at a time."""
        own = tensors if self.rank == 0 and tensors is not None else {}
        described = self.share([(n, t.shape, t.dtype) for n, t in own.items()])
        shared = {}
        for name, shape, dtype in described:
            value = own[name].to(self.device) if name in own else None
            if value is None:
                value = torch.empty(shape, dtype=dtype, device=self.device)
            if self.world_size > 1:
                dist.broadcast(value, src=0)
            shared[name] = value.cpu()
        return shared


class LocalContext(_Group):
    """One process without Ray, on the CPU or one GPU."""

    def __init__(self, device: torch.device | None = None, threads: int | None = None) -> None:
        self.device = device or default_device()
        if threads is not None:
            torch.set_num_threads(threads)

    def blocks(
        self, files: Sequence[Path], columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Row groups, read in-process in the order of the files.

        Raises:
            ShardsError: a file is missing or damaged.
        """
        return parquet.row_groups(files, columns)

    def reader(self, choice: Readers, folder: Path | None) -> tuple[Read, str | None]:  # noqa: ARG002
        """In this process.

        Raises:
            ConfigError: the cluster is asked for.
        """
        if choice == "cluster":
            raise ConfigError(
                "feed.readers=cluster reads in actors of Ray, and this run trains without Ray: set "
                "feed.readers to auto or worker"
            )
        return read_here, None

    def report(self, metrics: dict[str, Any]) -> None:
        """Do nothing: the run directory holds the same figures."""


class TorchrunContext(LocalContext):
    """One of several processes that torchrun started; it sets up their process group."""

    def __init__(self, peers: Peers, device: torch.device, threads: int | None = None) -> None:
        at = peers.at
        self.rank, self.world_size = at.rank, at.world_size
        self.shares_data = at.local_world_size > 1
        super().__init__(device, threads or _fair_threads(at.local_world_size))
        peers.barrier()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=peers.store, rank=at.rank, world_size=at.world_size,
        )  # fmt: skip


class RayContext(_Group):
    """Inside a Ray Train worker, which has set up the process group."""

    def __init__(self, threads: int | None = None) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.world_size = context.get_world_size()
        self.device = ray.train.torch.get_device()
        self.shares_data = context.get_local_world_size() > 1
        torch.set_num_threads(threads or _fair_threads(context.get_local_world_size()))

    def blocks(
        self, files: Sequence[Path], columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Blocks as Ray Data streams them, one per file, in the order of the files.

        Every worker reads what it needs itself: Ray Train's own splitting drops up to
        world_size - 1 rows and does not determine which worker gets which.

        Raises:
            ShardsError: a file is missing or damaged.
        """
        import ray.data

        ray_context = ray.data.DataContext.get_current()
        # The newer reader starts dozens of footer actors: far too slow for a few local files.
        ray_context.use_datasource_v2 = False
        ray_context.enable_progress_bars = False
        # Otherwise blocks arrive as tasks end, and the same seed gives another order.
        ray_context.execution_options.preserve_order = True
        # Ray takes a path for a URI, in which ? and # mean something: it gets names below the
        # folder, which are ours.
        folder = os.path.commonpath([path.parent.absolute() for path in files])
        names = {path.absolute().relative_to(folder).as_posix(): path for path in files}
        # A copy in this machine's cache can only be read by tasks on this machine.
        scheme = "local://" if any(map(cache.is_copy, files)) else ""
        try:
            dataset = ray.data.read_parquet(
                [f"{scheme}{name}" for name in names],
                filesystem=fs.SubTreeFileSystem(folder, fs.LocalFileSystem()),
                columns=None if columns is None else list(columns),
                override_num_blocks=len(files),
                partitioning=None,
                fragment_scan_options=parquet.scan_options(),
            )
            yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")
        except (OSError, pa.ArrowException) as error:  # includes Ray's task errors
            cause = getattr(error, "cause", None) or error
            where = next((path for n, path in names.items() if n in str(cause)), files[0].parent)
            raise parquet.unreadable(where, cause) from error

    def reader(self, choice: Readers, folder: Path | None) -> tuple[Read, str | None]:
        """In an actor on a CPU of the cluster, or in this process.

        `auto` takes nodes without GPUs, for workers with GPUs: beside a step on CPUs, reading takes
        too little of it to be worth another machine's CPU.

        Raises:
            ConfigError: `choice` is the cluster, and it has too few CPUs to spare.
        """
        found = None
        if choice == "cluster":
            found = readers.reserve(_ASKED_SECONDS, folder)
        elif choice == "auto" and self.device.type == "cuda":
            found = readers.reserve_without_gpus(_AUTO_SECONDS, folder)
        hosts = self.collect(None if found is None else found.host)
        if choice == "cluster" and None in hosts:
            raise ConfigError(
                f"feed.readers=cluster takes a CPU for each of {self.world_size} workers besides "
                f"theirs, and {hosts.count(None)} of these were not free or do not see the shards: "
                "add nodes, put the shards where all nodes see them, or set feed.readers to worker"
            )
        return found or read_here, _told(hosts)

    def report(self, metrics: dict[str, Any]) -> None:
        """Pass the figures to Ray Train (a barrier over the workers)."""
        import ray.train

        ray.train.report(metrics)


def default_device() -> torch.device:
    """The first GPU if there is one, else the CPU."""
    return choose_device(None)


def choose_device(use_gpu: bool | None, worker: int = 0, workers: int = 1) -> torch.device:
    """The device of one of `workers` processes on this machine; None takes GPUs if there are any.

    Raises:
        ConfigError: there are fewer GPUs than workers.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if use_gpu is False or (use_gpu is None and not gpus):
        return torch.device("cpu")
    if gpus < workers:
        raise ConfigError(
            f"{workers} worker{'s' if workers > 1 else ''} on this machine with a GPU each were "
            f"requested, torch finds {gpus}: start fewer, or set cluster.use_gpu=false"
        )
    return torch.device("cuda", worker)


def _fair_threads(workers_on_node: int) -> int:
    return max(1, limits.whole_cores() // workers_on_node)


def _told(hosts: Sequence[str | None]) -> str | None:
    """Where the workers' batches are made, by rank; None stands for the worker itself."""
    elsewhere = sorted({host for host in hosts if host is not None})
    if not elsewhere:
        return None
    told = f"histories are read and cut into batches on {' and '.join(elsewhere)}"
    alone = [str(rank) for rank, host in enumerate(hosts) if host is None]
    if alone:
        told += (
            f"; by workers {', '.join(alone)} themselves, which found no other free CPU that sees "
            "the shards"
        )
    return told
