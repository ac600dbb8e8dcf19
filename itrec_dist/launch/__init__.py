"""Runs the workers of a training run on a Ray cluster, by Ray Train."""

from itrec_dist.launch.cluster import connect
from itrec_dist.launch.training import launch

__all__ = ["connect", "launch"]
