"""Where the batches of a worker are made: in its own process, or in one on another machine.

A pass is a function of the number of items to leave out, and gives the same items every time. An
actor of Ray runs it as it would run in the worker; what it makes comes a few items at a time, with
a few ahead of the worker and no more. So order, counts and seeds do not depend on where it runs,
and if the actor's process or node is lost, another one leaves out what had arrived.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
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
_CHUNKS_AHEAD = 2  # objects that are made before the worker takes the first
_START_SECONDS = 120.0  # in which another actor begins when one is lost
_MOST_LOSSES = 3  # of actors in a row that gave nothing


def read_here(make: Make, skip: int) -> Generator[Arrays]:
    """Run a pass in this process."""
    yield from make(skip)


class ClusterReader:
    """Runs passes, one at a time, in an actor that holds a CPU of the cluster.

    The actor ends with this process, and so its CPU is free.
    """

    def __init__(self, folder: Path | None = None, away_from: Iterable[str] = ()) -> None:
        """Nothing is started yet.

        Args:
            folder: what is to be read, where it is a folder that a node may not see.
            away_from: ids of nodes that do not come into question.
        """
        self._folder = folder
        avoided = ",".join(away_from)
        self._labels = {"ray.io/node-id": f"!in({avoided})"} if avoided else None
        self._actor: Any = None
        self._lock = threading.Lock()
        self._is_out_of_reach = False
        self.host = ""
        """The machine that the CPU belongs to."""

    def start(self, seconds: float) -> Any:
        """The actor, started if there is none.

        None if no CPU comes free in so many seconds, or its node does not see the folder.
        """
        import ray

        if self._actor is not None:
            return self._actor
        actor: Any = ray.remote(_Reading).options(num_cpus=1, label_selector=self._labels).remote()
        with self._lock:
            self._actor = actor
        host = actor.host.remote(self._folder)
        found = ray.get(host) if ray.wait([host], timeout=seconds)[0] else None
        if found is None:
            self.close()
            return None
        self.host = found
        return actor

    def __call__(self, make: Make, skip: int) -> Generator[Arrays]:
        """Run a pass there.

        If it is lost and no CPU comes free for two minutes, this and all later passes go on in this
        process.

        Raises:
            ItrecError: the pass raised it.
            MachineError: its actors were lost too often.
        """
        if self._is_out_of_reach:
            yield from make(skip)
            return
        is_over = threading.Event()
        chunks = read_ahead(self._chunks(make, skip, is_over))
        is_whole = False
        try:
            for chunk in chunks:
                yield from chunk
            is_whole = True
        finally:
            is_over.set()
            if not is_whole:
                self.close()  # first, so that closing does not wait for what is being read
            chunks.close()

    def close(self) -> None:
        """End the actor; the next pass would start another one."""
        import ray

        with self._lock:
            actor, self._actor = self._actor, None
        if actor is not None and ray.is_initialized():
            ray.kill(actor)

    def _chunks(self, make: Make, taken: int, is_over: threading.Event) -> Generator[list[Arrays]]:
        """The items of a pass, some at a time, by as many actors as it takes."""
        from ray.exceptions import RayError, RayTaskError

        losses = 0
        while not is_over.is_set():
            try:
                actor = self.start(_START_SECONDS)
                if actor is None:
                    self._is_out_of_reach = not is_over.is_set()
                    break
                for chunk in _received(actor, make, taken):
                    losses, taken = 0, taken + len(chunk)
                    yield chunk
                return
            except RayTaskError as error:
                if isinstance(error.cause, ItrecError):
                    raise error.cause from None
                raise
            except RayError as error:  # the process, its node or an object is lost
                self.close()
                losses += 1
                if losses > _MOST_LOSSES and not is_over.is_set():
                    raise MachineError(
                        f"what reads histories for this worker was lost {losses} times in a row: "
                        f"{_line(error)}; give its nodes more memory, lower feed.shuffle_events, "
                        "or set feed.readers to worker"
                    ) from error
        if self._is_out_of_reach:
            yield from _in_chunks(make(taken))


def reserve(
    seconds: float, folder: Path | None = None, away_from: Iterable[str] = ()
) -> ClusterReader | None:
    """Take a CPU of the cluster for reading, until this process ends.

    Args:
        seconds: how long to wait for a free one.
        folder: what is to be read, where it is a folder that a node may not see.
        away_from: ids of nodes that do not come into question.

    Returns:
        What reads there; None if no CPU is free, or its node does not see the folder.
    """
    reader = ClusterReader(folder, away_from)
    return None if reader.start(seconds) is None else reader


def reserve_without_gpus(seconds: float, folder: Path | None) -> ClusterReader | None:
    """The same on a node without GPUs; at once None if there are none."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    with_gpus = [node["NodeID"] for node in alive if node["Resources"].get("GPU", 0) > 0]
    has_others = any(
        node["Resources"].get("CPU", 0) >= 1 for node in alive if node["NodeID"] not in with_gpus
    )
    return reserve(seconds, folder, with_gpus) if has_others else None


class _Reading:
    """The actor."""

    def host(self, folder: Path | None) -> str | None:
        """The name of its machine; None if that does not see the folder."""
        return socket.gethostname() if folder is None or folder.is_dir() else None

    def run(self, make: Make, skip: int) -> Generator[list[Arrays]]:
        yield from _in_chunks(make(skip))


def _received(actor: Any, make: Make, skip: int) -> Generator[list[Arrays]]:
    """What the actor gives, as it comes."""
    import ray

    run = actor.run.options(
        num_returns="streaming", _generator_backpressure_num_objects=_CHUNKS_AHEAD
    )
    for ref in run.remote(make, skip):
        chunk: list[Arrays] = ray.get(ref)
        del ref
        yield chunk
        del chunk  # while the next one is waited for, this one may be freed


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
