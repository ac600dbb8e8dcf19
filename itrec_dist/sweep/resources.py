"""What a sweep will take: resources of a trial, and the time that a measured step foretells."""

import math
from dataclasses import dataclass

import torch

from itrec_dist.errors import ConfigError
from itrec_dist.launch.cluster import local_cpus
from itrec_dist.sweep.config import SweepConfig
from itrec_dist.sweep.estimate import size
from itrec_dist.system import limits
from itrec_dist.training.config import RunConfig

_MOST_ON_A_GPU = 8
_GROUP_CPUS = 0.1  # of the process that starts a group and waits for it; Tune takes no 0


@dataclass(frozen=True)
class Share:
    """What a trial takes of the cluster."""

    cpus: float
    gpus: float
    concurrent: int
    """Trials at the same time."""
    group_on_gpus: bool | None = None
    """Whether a trial's own group of workers takes GPUs; null where it trains in its process."""


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
    return {"CPU": float(local_cpus()), "GPU": float(gpus)}


def local_cores() -> float:
    """Cores of this machine that a sweep may count on."""
    return max(1.0, limits.cores())
