"""Runs workers on a Ray cluster: those of training by Ray Train, those that score by Ray Data."""

from itrec_dist.launch.cluster import connect, connect_scorers
from itrec_dist.launch.training import launch

__all__ = ["connect", "connect_scorers", "launch"]
