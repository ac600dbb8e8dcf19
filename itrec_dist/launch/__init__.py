"""Ray Train wiring: a run's workers on a Ray cluster, and nothing else."""

from itrec_dist.launch.cluster import connect
from itrec_dist.launch.training import launch

__all__ = ["connect", "launch"]
