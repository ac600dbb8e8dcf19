"""Runs workers on a Ray cluster: of training by Ray Train, of scoring by Ray Data, of windowing."""

from itrec_dist.launch.cluster import connect, connect_scorers
from itrec_dist.launch.training import launch
from itrec_dist.launch.windowing import connect_windowing

__all__ = ["connect", "connect_scorers", "connect_windowing", "launch"]
