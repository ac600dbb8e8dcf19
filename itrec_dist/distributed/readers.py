"""Where the batches of a worker are made: in its own process, or in a task on another machine.

A pass is a function of the number of items to leave out, and gives the same items every time. A
task runs it as it would run in the worker; what it makes comes a few items at a time, with a few
ahead of the worker and no more. So order, counts and seeds do not depend on where it runs, and if
the task's process or node is lost, another task leaves out what had arrived.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Literal

from itrec_dist.errors import ItrecError, MachineError
from itrec_dist.system.read_ahead import read_ahead

Readers = Literal["auto", "worker", "cluster"]
Arrays = Mapping[str, Any]
"""An item of a pass: numpy arrays by name, and what is small."""
Make = Callable[[int], Iterator[Arrays]]
"""The items of a pass without the first so many."""
Read = Callable[[Make, int], Generator[Arrays]]
"""Runs a pass from an item on, somewhere."""

_CHUNK_ITEMS, _CHUNK_BYTES = 8, 4 * 2**20  # an object holds either, at least one item
_CHUNKS_AHEAD = 2  # objects that a task makes before the worker takes the first
_START_SECONDS = 120.0  # in which a task with a CPU of its own begins
_MOST_LOSSES = 3  # of tasks in a row that gave nothing


def read_here(make: Make, skip: int) -> Generator[Arrays]:
    """Run a pass in this process."""
    yield from make(skip)


class ClusterReader:
    """Runs passes, one at a time, in tasks on a CPU of the cluster that it keeps reserved."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self._is_out_of_reach = False

    @property
    def host(self) -> str:
        """The machine that the CPU belongs to."""
        import ray
        from ray.util import placement_group_table

        (node_id,) = placement_group_table(self._group)["bundles_to_node_id"].values()
        names = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}
        return str(names.get(node_id, node_id))

    def __call__(self, make: Make, skip: int) -> Generator[Arrays]:
        """Run a pass there.

        If no task begins for two minutes, as where the last node with a free CPU is lost, this and
        all later passes go on in this process.

        Raises:
            ItrecError: the pass raised it.
            MachineError: its tasks were lost too often.
        """
        if self._is_out_of_reach:
            yield from make(skip)
            return
        one = _Pass(self._group, make, skip)
        chunks = read_ahead(one.chunks())
        try:
            for chunk in chunks:
                yield from chunk
        finally:
            one.cancel()  # first, so that closing does not wait for what is being read
            chunks.close()
            self._is_out_of_reach = one.is_out_of_reach

    def close(self) -> None:
        """Return the CPU; the end of the process does so too."""
        from ray.util import remove_placement_group

        remove_placement_group(self._group)


class _Pass:
    """A pass in as many tasks as it takes."""

    def __init__(self, group: Any, make: Make, skip: int) -> None:
        self._group, self._make, self._taken = group, make, skip
        self._lock, self._is_over, self._task = threading.Lock(), False, None
        self.is_out_of_reach = False

    def chunks(self) -> Generator[list[Arrays]]:
        """Its items, some at a time."""
        import ray.exceptions

        losses = 0
        while (task := self._start()) is not None:
            try:
                if not ray.wait([task], timeout=_START_SECONDS)[0]:
                    self.is_out_of_reach = True
                    break
                for ref in task:
                    chunk: list[Arrays] = ray.get(ref)
                    del ref
                    losses = 0 if chunk else losses
                    self._taken += len(chunk)
                    yield chunk
                    del chunk
                return
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, ItrecError):
                    raise error.cause from None
                raise
            except ray.exceptions.RayError as error:  # the process, its node or an object is lost
                losses += 1
                if losses > _MOST_LOSSES and not self._is_over:
                    raise MachineError(
                        f"what reads histories for this worker was lost {losses} times in a row: "
                        f"{_line(error)}; give its nodes more memory, lower feed.shuffle_events, "
                        "or set feed.readers to worker"
                    ) from error
            finally:
                self._cancel_task()
        if self.is_out_of_reach:
            yield from _in_chunks(self._make(self._taken))

    def cancel(self) -> None:
        """End the task, and start no other."""
        with self._lock:
            self._is_over = True
        self._cancel_task()

    def _start(self) -> Any:
        """A new task; None if there is to be none."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        task = ray.remote(_run).options(
            num_cpus=1, num_returns="streaming", max_retries=0,
            _generator_backpressure_num_objects=_CHUNKS_AHEAD,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._group),
        )  # fmt: skip
        with self._lock:
            self._task = None if self._is_over else task.remote(self._make, self._taken)
            return self._task

    def _cancel_task(self) -> None:
        """A task that has ended is not touched by it."""
        import ray

        with self._lock:
            task, self._task = self._task, None
        if task is not None and ray.is_initialized():
            ray.cancel(task)


def reserve(away_from: Iterable[str], seconds: float) -> ClusterReader | None:
    """Reserve a CPU of the cluster for reading, until this process ends.

    Args:
        away_from: ids of nodes that do not come into question.
        seconds: how long to wait for a free one.

    Returns:
        What reads there; None if no CPU is free.
    """
    from ray.util import placement_group, remove_placement_group

    avoided = ",".join(away_from)
    wanted = [{"ray.io/node-id": f"!in({avoided})"}] if avoided else None
    group = placement_group([{"CPU": 1}], bundle_label_selector=wanted)
    if group.wait(seconds):
        return ClusterReader(group)
    remove_placement_group(group)
    return None


def reserve_without_gpus(seconds: float) -> ClusterReader | None:
    """The same on a node without GPUs; at once None if there are none."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    with_gpus = [node["NodeID"] for node in alive if node["Resources"].get("GPU", 0) > 0]
    has_others = any(
        node["Resources"].get("CPU", 0) >= 1 for node in alive if node["NodeID"] not in with_gpus
    )
    return reserve(with_gpus, seconds) if has_others else None


def _run(make: Make, skip: int) -> Generator[list[Arrays]]:
    """A task: an empty chunk to say that it has begun, then those with items."""
    yield []
    yield from _in_chunks(make(skip))


def _in_chunks(items: Iterator[Arrays]) -> Generator[list[Arrays]]:
    chunk: list[Arrays] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += sum(getattr(value, "nbytes", 0) for value in item.values())
        if len(chunk) == _CHUNK_ITEMS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__
