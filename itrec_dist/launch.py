"""Ray Train wiring: a run's workers on a Ray cluster, and nothing else."""

import contextlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from itrec_dist.context import RayContext
from itrec_dist.errors import ConfigError, EnvironmentProblem, ItrecError, TrainingError
from itrec_dist.mirror import Mirror
from itrec_dist.progress import LogFollower, ProgressView
from itrec_dist.run import RunConfig
from itrec_dist.run_directory import RunDirectory
from itrec_dist.uri import Uri
from itrec_dist.worker import run_worker

_LEAST_LOCAL_CPUS = 4  # a driver, workers and data readers wait for each other on fewer
_SCRATCH = "ray"  # what Ray Train keeps beside a run while it goes; the run holds all that lasts


def connect(run: RunConfig, address: str | None = None) -> bool:
    """Join the Ray cluster at `address`, or start one here; returns whether workers take GPUs.

    Raises:
        ConfigError: the cluster lacks what the run asks for.
        EnvironmentProblem: there is no cluster at `address`.
    """
    _join(address)
    return _resolve_gpus(run)


def launch(run: RunConfig, use_gpu: bool, *, resume: bool = False) -> None:
    """Train on the Ray cluster that `connect` joined, in a run directory that is prepared.

    The run directory must be reachable under the same path from this machine and the workers.
    With `resume` the run goes on from its checkpoint `last`.

    Raises:
        ItrecError: a worker met a user's mistake.
        TrainingError: a worker failed otherwise; the message is the worker's.
    """
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    mirror = Mirror(run.out, run.folder) if isinstance(run.out, Uri) else None
    storage_path = str(run.out if mirror else run.folder.absolute())
    _clear_scratch(run, mirror)  # of a driver that was killed
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"run": run, "resume": resume},
        scaling_config=ray.train.ScalingConfig(
            num_workers=run.cluster.num_workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": run.cluster.cpus_per_worker, "GPU": int(use_gpu)},
        ),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        run_config=ray.train.RunConfig(
            name=_SCRATCH, storage_path=storage_path, failure_config=None
        ),
    )
    log, pace = (mirror.log_after, 5.0) if mirror else (RunDirectory(run.folder).log, 0.5)
    follower = LogFollower(log, ProgressView(), pace, from_end=resume)
    follower.start()
    try:
        with _own_signals():
            trainer.fit()
    except Exception as error:
        raise _readable(error) from error
    except (KeyboardInterrupt, SystemExit) as interruption:
        _note_interruption(RunDirectory(run.folder), mirror)
        if isinstance(interruption, SystemExit):  # how Ray itself answers Ctrl-C and SIGTERM
            raise KeyboardInterrupt from interruption
        raise
    finally:
        follower.finish()
        _clear_scratch(run, mirror)


def _clear_scratch(run: RunConfig, mirror: Mirror | None) -> None:
    if mirror is None:
        shutil.rmtree(run.folder / _SCRATCH, ignore_errors=True)
        return
    with contextlib.suppress(EnvironmentProblem):
        mirror.store.remove(_SCRATCH)


def _join(address: str | None) -> None:
    address = address or os.environ.get("RAY_ADDRESS")
    if not address and "ray" not in sys.modules:
        # What Ray chooses by itself for a cluster of its own, but then warns about; read once.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    if address:
        _refuse_silent(address)
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    # Workers must import the package that the driver runs, also from a checkout.
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    try:
        with _own_signals():
            if address:
                ray.init(address=address, **quiet)
            else:
                cpus = max(_LEAST_LOCAL_CPUS, os.cpu_count() or 1)
                ray.init(  # "local" is needed: without it, Ray joins a cluster that it finds here
                    address="local", num_cpus=cpus, include_dashboard=False,
                    runtime_env={"env_vars": environment}, **quiet,
                )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"no Ray cluster answers at {address}" if address else "Ray could not be started"
        reason = " ".join(str(error).split())
        raise EnvironmentProblem(f"{where}: {reason}; or train with --local") from error


def _refuse_silent(address: str) -> None:
    """Ray itself waits minutes for a cluster that is not there, and prints what it tries.

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
            f"no Ray cluster answers at {address}: {reason}; or train with --local"
        ) from error


def _resolve_gpus(run: RunConfig) -> bool:
    import ray

    resources = ray.cluster_resources()
    gpus, cpus = resources.get("GPU", 0), resources.get("CPU", 0)
    use_gpu = gpus > 0 if run.cluster.use_gpu is None else run.cluster.use_gpu
    workers = run.cluster.num_workers
    if use_gpu and gpus < workers:
        raise ConfigError(
            f"{workers} workers (cluster.num_workers) with a GPU each were asked for, the cluster "
            f"has {gpus:.0f} GPUs: lower cluster.num_workers or set cluster.use_gpu=false"
        )
    needed = workers * run.cluster.cpus_per_worker
    if cpus < needed:
        raise ConfigError(
            f"{workers} workers of cluster.cpus_per_worker={run.cluster.cpus_per_worker:g} need "
            f"{needed:g} CPUs, the cluster has {cpus:g}: lower one of the two"
        )
    return use_gpu


def _worker(settings: dict[str, Any]) -> None:
    run: RunConfig = settings["run"]
    run_worker(run, RayContext(run.cluster.threads), resume=settings["resume"])


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handlers: Ray replaces them and never puts them back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in kept.items():
                signal.signal(number, handler)


def _note_interruption(run: RunDirectory, mirror: Mirror | None) -> None:
    """End the log as a worker would have: Ray ended it before it could."""
    if mirror is not None:
        with contextlib.suppress(EnvironmentProblem):
            mirror.fetch_files()
    marks = [event for event in run.events() if event["event"] in ("start", "end")]
    if marks and marks[-1]["event"] == "start":  # a resumed run has several
        best = max((e["epoch"] for e in run.events("epoch") if e["is_best"]), default=0)
        seconds = round(time.time() - marks[-1]["time"], 1)
        run.append("end", reason="interrupted", best_epoch=best, seconds=seconds)
    if mirror is not None:
        with contextlib.suppress(EnvironmentProblem):
            mirror.send_files()


def _readable(error: BaseException) -> ItrecError:
    """Our own error inside Ray's wrappers, or the innermost message of a foreign one."""
    seen: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or current in seen:
            continue
        if isinstance(current, ItrecError):
            return current
        seen.append(current)
        failures = getattr(current, "worker_failures", None) or {}
        queue += [*failures.values(), getattr(current, "cause", None), current.__cause__]
        queue += [getattr(current, "_base_exc", None)]
    last = " ".join(str(seen[-1]).split())
    return TrainingError(f"a worker failed: {last}")
