"""Runs the work of buckets of users as tasks of Ray; see data/windowing/buckets.py.

Tables are Ray's objects, which it keeps in memory or on disk, on the node that made them. A task
whose worker is lost runs again, and so does what made a table that a lost node had: nothing else.
"""

import os
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import ray
import ray.exceptions

from itrec_dist.data.windowing.buckets import Ref
from itrec_dist.errors import ItrecError, MachineError
from itrec_dist.launch.cluster import join, own_signals
from itrec_dist.launch.failures import describe

_MOST_RETRIES = 3  # of a task whose worker was lost


def connect_windowing(address: str | None = None) -> "RayTasks":
    """Join the Ray cluster at `address`, or start one here, to window on it.

    Raises:
        EnvironmentProblem: there is no cluster at `address`.
    """
    join(address or os.environ.get("RAY_ADDRESS"), "leave out --distributed")
    return RayTasks()


class RayTasks:
    """A `Cluster` of the Ray session that this process has joined."""

    def __init__(self) -> None:
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def put(self, rows: pa.Table) -> Ref:
        """Put a table into Ray's object store."""
        return ray.put(rows)

    def start(self, function: Callable[..., Any], *arguments: Any, results: int = 1) -> list[Ref]:
        """Start a task of one CPU."""
        task = ray.remote(function).options(
            num_cpus=1, num_returns=results, max_retries=_MOST_RETRIES
        )
        found = task.remote(*arguments)
        return [found] if results == 1 else found

    def get(self, ref: Ref) -> Any:
        """A result.

        Raises:
            ItrecError: the task raised it.
            MachineError: its workers were lost too often.
        """
        try:
            with own_signals():
                return ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ItrecError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            raise MachineError(
                f"windowing lost workers {1 + _MOST_RETRIES} times in one bucket of users: "
                f"{describe({0: error}).reason}; give the nodes more memory, or leave out "
                "--distributed"
            ) from error
