"""Joins or starts a Ray cluster, and waits until it has room for a run."""

import contextlib
import functools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itrec_dist.errors import ConfigError, EnvironmentProblem
from itrec_dist.runs.console import ProgressView
from itrec_dist.system import limits
from itrec_dist.training.config import ClusterConfig, RunConfig

_LEAST_LOCAL_CPUS = 4  # with fewer, driver, workers and data readers block each other
CPUS_TO_READ = 1
_SECONDS_BETWEEN_LOOKS = 2.0


def connect(run: RunConfig, address: str | None = None, view: ProgressView | None = None) -> bool:
    """Join the Ray cluster at `address`, or start one here; returns whether workers take GPUs.

    If a joined cluster has too few nodes, more are requested and waited for up to
    `cluster.wait_seconds`; a cluster that was started here does not grow.

    Raises:
        ConfigError: the cluster lacks what the run needs.
        EnvironmentProblem: there is no cluster at `address`.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    join(address)
    room = _Room(run.cluster, functools.partial(_shortage, run))
    return _wait_for_room(room, run.cluster.wait_seconds if address else 0.0, view)


def connect_scorers(
    workers: int, address: str | None = None, view: ProgressView | None = None
) -> bool:
    """The same for workers that score, each on a CPU, and on a GPU if the cluster has any.

    Raises:
        ConfigError: the cluster lacks room for them.
        EnvironmentProblem: there is no cluster at `address`.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    join(address, "leave out --workers")
    wanted = ClusterConfig(num_workers=workers)
    room = _Room(wanted, functools.partial(_shortage_of_scorers, workers))
    return _wait_for_room(room, wanted.wait_seconds if address else 0.0, view)


def join(address: str | None, instead: str = "train with --local") -> None:
    """Connect this process to the cluster at `address`, or start one; `instead` does without.

    Raises:
        EnvironmentProblem: there is no cluster at `address`, or none could be started.
    """
    if not address and "ray" not in sys.modules:
        # Ray's own default for a cluster that it starts, set to avoid its warning; read once.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        # Ray runs workers at nice 15, behind everything else on the machine.
        os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    if address:
        _refuse_unreachable(address, instead)
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    # Workers must import the driver's version of the package, also from a checkout, and the
    # modules of the working directory that `module:Class` settings name.
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, os.environ.get("PYTHONPATH", ""), str(Path.cwd())]
    environment = {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    try:
        with own_signals():
            if address:
                ray.init(address=address, **quiet)
            else:
                ray.init(  # without "local", Ray would join a cluster that runs on this machine
                    address="local", num_cpus=local_cpus(), include_dashboard=False,
                    runtime_env={"env_vars": environment}, **quiet,
                )  # fmt: skip
    except Exception as error:  # Ray raises plain ones too, as where a node starts too slowly
        where = f"no Ray cluster answers at {address}" if address else "Ray could not be started"
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise EnvironmentProblem(f"{where}: {reason}; or {instead}") from error


def local_cpus() -> int:
    """Logical CPUs of a Ray cluster that is started on this machine."""
    return max(_LEAST_LOCAL_CPUS, limits.whole_cores())


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Keep this process's signal handlers: Ray replaces them and never restores them."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in kept.items():
                signal.signal(number, handler)


def _refuse_unreachable(address: str, instead: str) -> None:
    """Refuse an address where nothing listens; Ray would retry for minutes and print its attempts.

    Raises:
        EnvironmentProblem: nothing listens at `address`, which is a host and a port.
    """
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdigit():
        return  # auto, or a Ray client's address
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EnvironmentProblem(
            f"no Ray cluster answers at {address}: {reason}; or {instead}"
        ) from error


@dataclass(frozen=True)
class _Shortage:
    """Resources that a run needs and the cluster lacks."""

    needs: str
    has: str
    remedy: str


@dataclass(frozen=True)
class _Room:
    """What workers need, and how it is told whether the cluster has it."""

    cluster: ClusterConfig
    shortage: Callable[[bool, float, float], _Shortage | None]
    """Of whether they take GPUs, and of the cluster's GPUs and CPUs."""


def _wait_for_room(room: _Room, seconds: float, view: ProgressView | None) -> bool:
    import ray
    from ray.autoscaler.sdk import request_resources

    cluster, view = room.cluster, view or ProgressView()
    deadline = time.monotonic() + seconds
    is_waiting = False
    try:
        while True:
            resources = ray.cluster_resources()
            gpus = resources.get("GPU", 0)
            use_gpu = gpus > 0 if cluster.use_gpu is None else cluster.use_gpu
            shortage = room.shortage(use_gpu, gpus, resources.get("CPU", 0))
            if shortage is None:
                return use_gpu
            if time.monotonic() >= deadline:
                waited = f" after {seconds:g} s (cluster.wait_seconds)" if seconds else ""
                raise ConfigError(
                    f"{shortage.needs}, the cluster has {shortage.has}{waited}: {shortage.remedy}"
                )
            if not is_waiting:
                is_waiting = True
                bundle = {"CPU": cluster.cpus_per_worker, "GPU": float(use_gpu)}
                wanted = {name: amount for name, amount in bundle.items() if amount}
                request_resources(bundles=[wanted] * cluster.num_workers)
                message = (
                    f"{shortage.needs}, the cluster has {shortage.has}: waiting up to {seconds:g} s"
                )
                view({"event": "note", "message": message})
            time.sleep(min(_SECONDS_BETWEEN_LOOKS, max(deadline - time.monotonic(), 0.0)))
    finally:
        if is_waiting:
            request_resources(bundles=[])  # otherwise the nodes would never be released


def _shortage_of_scorers(workers: int, use_gpu: bool, gpus: float, cpus: float) -> _Shortage | None:
    kind, has = ("GPU", gpus) if use_gpu else ("CPU", cpus)
    if has >= workers and cpus >= workers:
        return None
    return _Shortage(
        f"--workers {workers} take a {kind} each", f"{has:g} {kind}s", "lower --workers"
    )


def _shortage(run: RunConfig, use_gpu: bool, gpus: float, cpus: float) -> _Shortage | None:
    """What is missing; None if the run can start."""
    workers, name = run.cluster.num_workers, "cluster.num_workers"
    if run.cluster.min_workers is not None:
        workers, name = run.cluster.min_workers, "cluster.min_workers"
    if use_gpu and gpus < workers:
        return _Shortage(
            f"{workers} workers ({name}) with a GPU each were requested", f"{gpus:.0f} GPUs",
            f"lower {name} or set cluster.use_gpu=false",
        )  # fmt: skip
    return _shortage_of_cpus(run, workers, name, cpus)


def _shortage_of_cpus(run: RunConfig, workers: int, name: str, cpus: float) -> _Shortage | None:
    each = run.cluster.cpus_per_worker
    if cpus >= workers * each + CPUS_TO_READ:
        return None
    return _Shortage(
        f"{workers} workers ({name}) of cluster.cpus_per_worker={each:g} need {workers * each:g} "
        "CPUs, and one more to read their data", f"{cpus:g}", "lower one of the two",
    )  # fmt: skip


def refuse_full(run: RunConfig, workers: int) -> None:
    """Refuse a worker group whose size, chosen by Ray, leaves no CPU free.

    Ray Data reads in tasks of one CPU each, which cannot be configured (`_fetch_file_infos` of its
    Parquet data source), and would wait for a CPU forever.

    Raises:
        ConfigError: the workers have taken all CPUs.
    """
    import ray

    cpus = ray.cluster_resources().get("CPU", 0)
    shortage = _shortage_of_cpus(run, workers, "cluster.num_workers", cpus)
    if shortage is not None:
        raise ConfigError(f"{shortage.needs}, the cluster has {shortage.has}: {shortage.remedy}")
