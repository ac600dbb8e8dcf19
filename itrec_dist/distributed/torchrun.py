"""Makes several processes that torchrun started act as one command.

torchrun starts every process with the same command line. They coordinate through its key-value
store: worker 0 decides and prepares for all, the first one to fail reports to the user, the others
exit with its code, and none exits before worker 0 is done. Without torchrun, nothing here has any
effect.

The variables are those of torch's `env://` initialisation; other launchers that set them work too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from itrec_dist.errors import ConfigError, EnvironmentProblem, ItrecError, TrainingError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_POLL_SECONDS = 0.05
_REPORT_SECONDS = 3.0  # how long to wait for the first failed worker's report
_HEAD_START_SECONDS = 0.5
_STORE_SECONDS = 60.0
_GATHERING_SECONDS = 600.0
_ENDINGS = (signal.SIGINT, signal.SIGTERM)


class PeerError(ItrecError):
    """Another worker has reported the error; this one only exits with the same code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("another worker failed")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Rank:
    """The rank of this process among those started together."""

    rank: int
    """Global rank, from 0."""
    world_size: int
    """Number of processes."""
    local_rank: int
    """Rank among the processes on this machine."""
    local_world_size: int
    """Number of processes on this machine."""


def rank_of_process() -> Rank | None:
    """The rank set by the environment; None in a process that was started alone.

    Raises:
        ConfigError: the environment contradicts itself.
    """
    if not all(os.environ.get(name) for name in _NEEDED):
        return None
    rank, world_size = _number("RANK"), _number("WORLD_SIZE")
    local_rank, local_size = _number("LOCAL_RANK", rank), _number("LOCAL_WORLD_SIZE", world_size)
    at = Rank(rank, world_size, local_rank, local_size)
    if rank >= world_size or at.local_rank >= at.local_world_size:
        raise ConfigError(
            f"RANK={rank} of WORLD_SIZE={world_size} with LOCAL_RANK={at.local_rank} of "
            f"LOCAL_WORLD_SIZE={at.local_world_size} is impossible: start the workers by "
            "torchrun, or unset these variables"
        )
    return at


def _number(name: str, default: int | None = None) -> int:
    value = os.environ.get(name) or str(default)
    if not value.isdigit():
        raise ConfigError(
            f"the environment variable {name}={value} must be a whole number from 0: start the "
            "workers by torchrun, or unset it"
        )
    return int(value)


class Peers:
    """The processes that were started together, as seen by one of them."""

    def __init__(self, at: Rank) -> None:
        """Connect to the others.

        Raises:
            EnvironmentProblem: the store is unreachable, or not all processes start.
        """
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        self.at = at
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        try:
            base, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=_STORE_SECONDS)))
        except (dist.DistError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise EnvironmentProblem(
                f"the workers' store at {where} (MASTER_ADDR, MASTER_PORT) does not answer: "
                f"{reason}"
            ) from error
        self._shared_store = PrefixStore("itrec", base)
        self._store = PrefixStore(self._agree_on_round(), self._shared_store)

    def _agree_on_round(self) -> str:
        """A name that only the processes of this attempt share.

        One store serves all attempts, so its content may be from an earlier one; and machines do
        not agree on TORCHELASTIC_RESTART_COUNT, which counts each machine's own failures. So
        worker 0 names the attempt, and the others accept the name once it echoes what they wrote.
        """
        store, rank, size = self._shared_store, self.at.rank, self.at.world_size
        own, deadline = uuid.uuid4().hex, time.monotonic() + _GATHERING_SECONDS
        store.set(f"hello-{rank}", own)
        while time.monotonic() < deadline:
            if rank == 0:
                there = [k for k in range(size) if store.check([f"hello-{k}"])]
                echoed = {str(k): store.get(f"hello-{k}").decode() for k in there}
                store.set("round", json.dumps({"name": own, "echoed": echoed}))
                if store.add(f"arrived-{own}", 0) == size - 1:
                    return own
            elif store.check(["round"]):
                named = json.loads(store.get("round"))
                if named["echoed"].get(str(rank)) == own:
                    store.add(f"arrived-{named['name']}", 1)
                    return str(named["name"])
            time.sleep(_POLL_SECONDS)
        raise EnvironmentProblem(
            f"worker {rank} of {size} waited {_GATHERING_SECONDS:g} s for the others, of whom not "
            "all came: start them all, with the same MASTER_ADDR and MASTER_PORT"
        )

    @property
    def store(self) -> Store:
        """A store for the process group."""
        return self._store

    def decide_on_first(self, decide: Callable[[], T]) -> T:
        """Call `decide` on worker 0 and return its result, which must be JSON, on all workers.

        Raises:
            PeerError: another worker has failed meanwhile.
        """
        if self.at.rank == 0:
            decided = decide()
            self._store.set("decided", json.dumps(decided))
            return decided
        self._wait_for(lambda: self._store.check(["decided"]))
        decision: T = json.loads(self._store.get("decided"))
        return decision

    def barrier(self) -> None:
        """Wait for all processes; unlike in a collective, signals are handled meanwhile."""
        self._store.add("met", 1)
        self._wait_for(lambda: self._store.add("met", 0) >= self.at.world_size)

    def record_begun(self, what: str) -> None:
        """Record for the processes of later attempts that `what` was begun."""
        self._shared_store.set("begun", what)

    def has_begun(self, what: str) -> bool:
        """Whether an earlier attempt under the same torchrun began `what`."""
        return (
            self._shared_store.check(["begun"]) and self._shared_store.get("begun").decode() == what
        )

    def finish(self) -> None:
        """Wait until worker 0 is done, then leave the process group.

        Raises:
            PeerError: another worker has failed meanwhile.
        """
        import torch.distributed as dist

        if self.at.rank == 0:
            self._store.set("done", "")
        else:
            with contextlib.suppress(dist.DistError):  # worker 0 held the store and has exited
                self._wait_for(lambda: self._store.check(["done"]))
        if dist.is_initialized():
            dist.destroy_process_group()

    def raise_first_error(self, error: BaseException, code: int) -> NoReturn:
        """Raise this worker's error if it failed first, otherwise PeerError.

        Args:
            error: this worker's error.
            code: the exit code for it.
        """
        import torch.distributed as dist

        _ignore_signals()  # torchrun sends them to the others once one worker failed
        try:
            if _is_lost_connection(error) and not self._first_failure(_REPORT_SECONDS):
                error = TrainingError(
                    "a worker was lost: its process was killed or its machine went away; --resume "
                    "continues from the last checkpoint, torchrun --max-restarts does so by itself"
                )
            is_first = self._store.add("failures", 1) == 1
            if is_first:
                self._store.set("failed", str(code))
            elif (failed := self._first_failure(_REPORT_SECONDS)) is not None:
                raise PeerError(failed) from error
        except dist.DistError:  # the store is gone, and so are the other workers
            pass
        raise error

    def _first_failure(self, seconds: float) -> int | None:
        """The exit code of the first failed worker, after up to `seconds`; None if none failed."""
        deadline = time.monotonic() + seconds
        while not self._store.check(["failed"]):
            if time.monotonic() > deadline:
                return None
            time.sleep(_POLL_SECONDS)
        return int(self._store.get("failed"))

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        # Polled, because the store's own wait would block signals.
        while not condition():
            if self._store.check(["failed"]):
                raise PeerError(int(self._store.get("failed")))
            time.sleep(_POLL_SECONDS)


_peers: Peers | None = None


def peers() -> Peers | None:
    """The processes started together, inside `together`; None in a single process."""
    return _peers


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Run the block in all processes that torchrun started as if they were one.

    Raises:
        PeerError: another worker failed first, and has reported its error.
        ItrecError: this worker is the first to fail, or the environment is wrong.
    """
    global _peers  # noqa: PLW0603 - a process has one rank
    at = rank_of_process()
    if at is None:
        yield
        return
    _end_with_parent()
    own = _peers = Peers(at)
    try:
        with _FirstSignal() as signals, _muted(at.rank > 0):
            try:
                yield
                own.finish()
            except (SystemExit, PeerError):  # --help raises SystemExit on all workers
                raise
            except KeyboardInterrupt as interruption:
                if at.rank > 0:  # so that worker 0 gets the signal, not a lost connection
                    time.sleep(_HEAD_START_SECONDS)
                own.raise_first_error(interruption, 128 + signals.number)
            except Exception as error:
                code = error.exit_code if isinstance(error, ItrecError) else 1
                own.raise_first_error(error, code)
    finally:
        _peers = None


class _FirstSignal:
    """Handles the first termination signal and ignores later ones.

    A terminal and torchrun may both send one, and the second would interrupt the orderly shutdown
    that the first one started.
    """

    def __init__(self) -> None:
        self.number: int = signal.SIGINT
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _FirstSignal:
        if threading.current_thread() is threading.main_thread():
            installed = {number: signal.getsignal(number) for number in _ENDINGS}
            self._before = {n: handler for n, handler in installed.items() if callable(handler)}
        for number in self._before:
            signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._pass_on:  # else: shutting down
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        _ignore_signals()
        self._before[number](number, frame)


def _ignore_signals() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _ENDINGS:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _muted(is_muted: bool) -> Iterator[None]:
    if not is_muted:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:  # noqa: SIM117
        with contextlib.redirect_stdout(nowhere):
            yield


def _is_lost_connection(error: BaseException) -> bool:
    """Whether a collective failed, which happens on all workers once one is gone."""
    import torch.distributed as dist

    # Gloo's errors are plain RuntimeErrors that name their source file.
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def _end_with_parent() -> None:
    """Let Linux send SIGTERM to this process if torchrun is killed, so that training stops too."""
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1  # <linux/prctl.h>
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
