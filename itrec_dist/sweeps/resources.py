"""The resources of a trial, and how many trials run concurrently."""

import math
from dataclasses import dataclass

import torch

from itrec_dist.errors import ConfigError
from itrec_dist.launch.cluster import CPUS_TO_READ, local_cpus
from itrec_dist.sweeps.config import SweepConfig
from itrec_dist.sweeps.estimate import size
from itrec_dist.system import limits
from itrec_dist.training.config import RunConfig

_MOST_ON_A_GPU = 8
_GROUP_CPUS = 0.1  # of the process that starts a group and waits for it; Tune does not accept 0


@dataclass(frozen=True)
class Packing:
    """The resources of a trial, and the number of concurrent trials."""

    cpus: float
    gpus: float
    concurrent: int
    """Number of concurrent trials."""
    group_on_gpus: bool | None = None
    """Whether a trial's own group of workers uses GPUs; None if it trains in its own process."""


def pack(sweep: SweepConfig, run: RunConfig, resources: dict[str, float], cores: float) -> Packing:
    """The resources of a trial: from the sweep's settings, else from the size of the base's model.

    Args:
        sweep: the settings.
        run: the base.
        resources: Ray's resources of the whole cluster.
        cores: physical limit on concurrent CPUs; infinite unless all runs on this machine.

    Raises:
        ConfigError: one trial needs more than the cluster has.
    """
    cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    wanted = sweep.resources.gpus
    if wanted is None:
        wanted = _gpu_fraction(run) if gpus else 0.0
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
    return Packing(sweep.resources.cpus, wanted, concurrent)


def pack_groups(
    sweep: SweepConfig, run: RunConfig, resources: dict[str, float], *, use_gpu: bool
) -> Packing:
    """The resources of trials that launch groups of workers; the trial itself needs almost none.

    Raises:
        ConfigError: the cluster has too few resources for the groups.
    """
    cluster = run.cluster
    # The trial itself must not take a whole CPU, which its workers might then wait for, and all
    # groups together must leave one to read their data.
    carried = (resources.get("CPU", 0.0) - CPUS_TO_READ) / (
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
    return Packing(_GROUP_CPUS, 0.0, concurrent, use_gpu)


def describe(run: RunConfig, packing: Packing) -> str:
    """The resources of a trial, in words."""
    if packing.group_on_gpus is None:
        part = f" and {packing.gpus:.3g} of a GPU" if packing.gpus else ""
        return f"{packing.cpus:g} CPU{part}"
    each = "a GPU" if packing.group_on_gpus else f"{run.cluster.cpus_per_worker:g} CPU"
    return f"a group of {run.cluster.num_workers} workers of {each} each"


def _fitting(gpus: float, wanted: float) -> float:
    """How many trials fit on the GPUs; a fraction of a GPU cannot span two."""
    return gpus * math.floor(1 / wanted + 1e-9) if wanted < 1 else math.floor(gpus / wanted)


def _gpu_fraction(run: RunConfig) -> float:
    """A fraction of a GPU: 1, 1/2, 1/3, ... 1/8."""
    if not torch.cuda.is_available():
        return 1.0  # the driver cannot see how large the cluster's GPUs are
    total = torch.cuda.get_device_properties(0).total_memory
    parts = math.floor(0.9 * total / size(run).bytes_on_device)
    return 1 / min(max(parts, 1), _MOST_ON_A_GPU)


def local_resources() -> dict[str, float]:
    """The resources that a local Ray would have on this machine, without starting it."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {"CPU": float(local_cpus()), "GPU": float(gpus)}


def local_cores() -> float:
    """The cores of this machine that a sweep may use."""
    return max(1.0, limits.cores())
