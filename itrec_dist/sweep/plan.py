"""What a sweep will take: resources of a trial, and the time that a measured step foretells."""

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from itrec_dist import arrays, dataspec, machine, manifest, storage, tasks
from itrec_dist.context import LocalContext
from itrec_dist.errors import ConfigError, ItrecError
from itrec_dist.run import RunConfig, check, prepare
from itrec_dist.schema import TRAIN, VALIDATION
from itrec_dist.sweep.settings import Runs, SweepConfig
from itrec_dist.sweep.space import Assignment
from itrec_dist.worker import run_worker

_CONTEXT_BYTES = 1.5 * 2**30  # what CUDA and its libraries take in each process
_BYTES_PER_PARAMETER = 16  # weight, gradient and two moments in fp32
_MOST_ON_A_GPU = 8
_GROUP_CPUS = 0.1  # of the process that starts a group and waits for it; Tune takes no 0
_MEASURED_SECONDS = 6.0
_WARM_UP = 5  # steps
_JUDGED_TO_TRAINED = 1 / 3  # a window that is judged costs a forward pass, a trained one three
_LEAST_LOCAL_CPUS = 4  # as `launch` starts a Ray of its own
_START_SECONDS = 15.0  # of the actors: imports


@dataclass(frozen=True)
class Share:
    """What a trial takes of the cluster."""

    cpus: float
    gpus: float
    concurrent: int
    """Trials at the same time."""
    group_on_gpus: bool | None = None
    """Whether a trial's own group of workers takes GPUs; null where it trains in its process."""


@dataclass(frozen=True)
class Size:
    """How large a run is."""

    parameters: int
    bytes_on_device: float


def size(run: RunConfig) -> Size:
    """Parameters of a run's model, and a generous guess at the memory that training it takes."""
    shards = storage.local(run.shards)
    data = manifest.read(shards)
    with torch.device("cpu"):
        spec = dataspec.build(data, arrays.read_items(shards, data))
        task = tasks.find(run.model.task)(run.model, run.loss, spec)
    parameters = sum(p.numel() for p in task.parameters())
    rows = sum(data.num_windows(split) for split in data.splits)
    row_bytes = 8 * 2 * (data.input_length + data.target_length)
    scores = 4 * 4 * (data.num_items + 1) * max(run.training.batch_size, run.evaluation.batch_size)
    held = _BYTES_PER_PARAMETER * parameters + rows * row_bytes + scores
    return Size(parameters, _CONTEXT_BYTES + 1.5 * held)


def share(sweep: SweepConfig, run: RunConfig, resources: dict[str, float], cores: float) -> Share:
    """What a trial takes: as the sweep says, else from the size of the base's model.

    Args:
        sweep: says what is set.
        run: the base.
        resources: Ray's, of the whole cluster.
        cores: how many trials' CPUs really go at once where all is on this machine.

    Raises:
        ConfigError: the cluster has less than one trial takes.
    """
    cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    wanted = sweep.resources.gpus
    if wanted is None:
        wanted = _gpu_share(run) if gpus else 0.0
    if wanted > gpus:
        raise ConfigError(
            f"resources.gpus={wanted:g} for each trial, the cluster has {gpus:g}: lower it, or set "
            "it to 0"
        )
    if sweep.resources.cpus > cpus:
        raise ConfigError(
            f"resources.cpus={sweep.resources.cpus:g} for each trial, the cluster has {cpus:g}: "
            "lower it"
        )
    carried = cpus / sweep.resources.cpus
    most = min(carried, cores / sweep.resources.cpus)
    if wanted:
        most = carried = min(carried, _fitting(gpus, wanted))
    concurrent = sweep.resources.concurrent or max(1, math.floor(most + 1e-9))
    if concurrent > carried + 1e-9:
        raise ConfigError(
            f"resources.concurrent={concurrent} trials need {concurrent * sweep.resources.cpus:g} "
            f"CPUs and {concurrent * wanted:g} GPUs, the cluster has {cpus:g} and {gpus:g}: lower "
            f"it to {math.floor(carried + 1e-9)}, or take less for each trial"
        )
    return Share(sweep.resources.cpus, wanted, concurrent)


def share_of_groups(
    sweep: SweepConfig, run: RunConfig, resources: dict[str, float], *, use_gpu: bool
) -> Share:
    """What trials take that launch groups of workers: next to nothing beside those.

    Raises:
        ConfigError: more were asked for at once than the cluster carries.
    """
    cluster = run.cluster
    # A group, and the little that the trial itself takes; never a CPU that its workers wait for.
    carried = resources.get("CPU", 0.0) / (
        cluster.num_workers * cluster.cpus_per_worker + _GROUP_CPUS
    )
    if use_gpu:
        carried = min(carried, resources.get("GPU", 0.0) / cluster.num_workers)
    most = math.floor(carried + 1e-9)
    if most < 1:
        raise ConfigError(
            f"a group of {cluster.num_workers} workers (cluster.num_workers) of "
            f"{cluster.cpus_per_worker:g} CPUs and its driver do not fit into the cluster's "
            f"{resources.get('CPU', 0):g} CPUs: lower one of the two"
        )
    concurrent = sweep.resources.concurrent or most
    if concurrent > most:
        raise ConfigError(
            f"resources.concurrent={concurrent} groups of {cluster.num_workers} workers do not fit "
            f"into the cluster: lower it to {most}"
        )
    return Share(_GROUP_CPUS, 0.0, concurrent, use_gpu)


def told_share(run: RunConfig, share: Share) -> str:
    """What a trial takes, in words."""
    if share.group_on_gpus is None:
        part = f" and {share.gpus:.3g} of a GPU" if share.gpus else ""
        return f"{share.cpus:g} CPU{part}"
    each = "a GPU" if share.group_on_gpus else f"{run.cluster.cpus_per_worker:g} CPU"
    return f"a group of {run.cluster.num_workers} workers of {each} each"


def _fitting(gpus: float, wanted: float) -> float:
    """A share of a GPU lies on one GPU."""
    return gpus * math.floor(1 / wanted + 1e-9) if wanted < 1 else math.floor(gpus / wanted)


def _gpu_share(run: RunConfig) -> float:
    """A whole part of a GPU: a half, a third ... an eighth."""
    if not torch.cuda.is_available():
        return 1.0  # the driver cannot see how large the cluster's GPUs are
    total = torch.cuda.get_device_properties(0).total_memory
    parts = math.floor(0.9 * total / size(run).bytes_on_device)
    return 1 / min(max(parts, 1), _MOST_ON_A_GPU)


def local_resources() -> dict[str, float]:
    """What a Ray of this machine's own would have, without starting it."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {"CPU": float(max(_LEAST_LOCAL_CPUS, os.cpu_count() or 1)), "GPU": float(gpus)}


def local_cores() -> float:
    """Cores of this machine that a sweep may count on."""
    return max(1.0, machine.cores())


class _Enough(KeyboardInterrupt):
    pass


def seconds_of_run(run: RunConfig) -> float:
    """How long a run takes, from the first seconds of its training, on this machine.

    The first steps are left out: they are slower than all that follow.

    Raises:
        ItrecError: the run cannot be trained.
    """
    began = time.monotonic()
    marks: list[tuple[int, float]] = []
    seen: dict[str, Any] = {}

    def watch(event: dict[str, Any]) -> None:
        now = time.monotonic() - began
        if event["event"] == "start":
            seen.update(setup=now, steps_per_epoch=event["steps_per_epoch"])
        elif event["event"] == "progress":
            marks.append((event["step"], now))
            if now - seen["setup"] > _MEASURED_SECONDS:
                raise _Enough

    with tempfile.TemporaryDirectory(prefix="itrec-measured-") as folder:
        measured = replace(
            run, out=Path(folder) / "run", training=replace(run.training, log_seconds=0.0)
        )
        data = check(measured, 1)
        prepare(measured, data, {})
        with contextlib.suppress(_Enough):
            run_worker(measured, LocalContext(threads=run.cluster.threads), watch)
    whole = time.monotonic() - began
    if len(marks) >= run.training.epochs * seen["steps_per_epoch"]:
        return whole  # it was so short that it came to its end
    first, last = marks[min(_WARM_UP, len(marks) - 1)], marks[-1]
    steps = max(last[0] - first[0], 1)
    per_epoch = (last[1] - first[1]) / steps * seen["steps_per_epoch"]
    judged = data.num_windows(VALIDATION) + run.evaluation.train_sample
    judging = per_epoch * _JUDGED_TO_TRAINED * judged / data.num_windows(TRAIN)
    return float(seen["setup"] + run.training.epochs * (per_epoch + judging))


def refused(runs: Runs, out: Path, assignments: Sequence[Assignment]) -> list[str]:
    """What would be refused of these assignments, one sentence each."""
    found = []
    for number, assignment in enumerate(assignments):
        try:
            run = runs.build(assignment, out, 0)
            check(run, run.cluster.num_workers)
        except ItrecError as error:
            found.append(f"trial {number:04d}: {error}")
    return found


def told_time(seconds: float) -> str:
    """A time as a plan prints it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def total_seconds(per_run: float, num_runs: float, concurrent: int) -> float:
    """Of runs that go so many at a time, the actors' start included."""
    return _START_SECONDS + math.ceil(num_runs / concurrent) * per_run


def least_runs(sweep: SweepConfig, count: int, epochs: int, combinations: int) -> float:
    """Whole runs that `count` trials come to where a scheduler stops as many as it ever will.

    At each rung a trial of every combination goes on, and of the others one of `reduction`.
    """
    if sweep.scheduler.name != "asha":
        return float(count)
    kept, begun, trained = float(count), 0, 0.0
    rung = sweep.scheduler.grace
    while rung < epochs:
        trained += kept * (rung - begun)
        kept, begun = max(kept / sweep.scheduler.reduction, min(kept, combinations)), rung
        rung *= sweep.scheduler.reduction
    return (trained + kept * (epochs - begun)) / epochs
