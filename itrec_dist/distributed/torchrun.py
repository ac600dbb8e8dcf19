"""Several processes that torchrun started, acting as one command.

torchrun gives every process the same command line and tells none of them about the others. They
meet in the key-value store that it keeps for them: worker 0 decides and prepares for all, the
first to fail tells the user, the others end with its exit code, and none leaves before worker 0
is done. Without torchrun everything here does nothing.

The variables are those of torch's `env://` initialisation, so other launchers that set them do.
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
_PATIENCE_SECONDS = 3.0  # for the word of a worker that was first to fail
_HEAD_START_SECONDS = 0.5
_STORE_SECONDS = 60.0
_GATHERING_SECONDS = 600.0
_ENDINGS = (signal.SIGINT, signal.SIGTERM)


class PeerError(ItrecError):
    """Another worker has told what went wrong; this one only ends, with the same exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("another worker failed")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Place:
    """Where this process stands among those that were started with it."""

    rank: int
    """Its number among all, from 0."""
    world_size: int
    """All processes."""
    local_rank: int
    """Its number among those of this machine."""
    local_world_size: int
    """The processes of this machine."""


def place() -> Place | None:
    """What the environment says; None in a process that was started alone.

    Raises:
        ConfigError: the environment contradicts itself.
    """
    if not all(os.environ.get(name) for name in _NEEDED):
        return None
    rank, world_size = _number("RANK"), _number("WORLD_SIZE")
    local_rank, local_size = _number("LOCAL_RANK", rank), _number("LOCAL_WORLD_SIZE", world_size)
    found = Place(rank, world_size, local_rank, local_size)
    if rank >= world_size or found.local_rank >= found.local_world_size:
        raise ConfigError(
            f"RANK={rank} of WORLD_SIZE={world_size} with LOCAL_RANK={found.local_rank} of "
            f"LOCAL_WORLD_SIZE={found.local_world_size} is impossible: start the workers by "
            "torchrun, or unset these variables"
        )
    return found


def _number(name: str, default: int | None = None) -> int:
    value = os.environ.get(name) or str(default)
    if not value.isdigit():
        raise ConfigError(
            f"the environment variable {name}={value} must be a whole number from 0: start the "
            "workers by torchrun, or unset it"
        )
    return int(value)


class Peers:
    """The processes that were started together, as one of them sees them."""

    def __init__(self, at: Place) -> None:
        """Meet the others.

        Raises:
            EnvironmentProblem: nobody keeps the store, or not all come.
        """
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        self.place = at
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        try:
            base, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=_STORE_SECONDS)))
        except (dist.DistError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise EnvironmentProblem(
                f"the workers' store at {where} (MASTER_ADDR, MASTER_PORT) does not answer: "
                f"{reason}"
            ) from error
        self._lasting = PrefixStore("itrec", base)
        self._store = PrefixStore(self._agree_on_round(), self._lasting)

    def _agree_on_round(self) -> str:
        """A name that these processes share, and nobody who was started before them.

        One store serves all attempts, so what it holds may be of the last one; and machines do not
        agree on TORCHELASTIC_RESTART_COUNT, which counts a machine's own failures. So worker 0
        names the round, and the others trust the name once it stands beside what they wrote.
        """
        store, rank, size = self._lasting, self.place.rank, self.place.world_size
        own, deadline = uuid.uuid4().hex, time.monotonic() + _GATHERING_SECONDS
        store.set(f"hello-{rank}", own)
        while time.monotonic() < deadline:
            if rank == 0:
                there = [k for k in range(size) if store.check([f"hello-{k}"])]
                heard = {str(k): store.get(f"hello-{k}").decode() for k in there}
                store.set("round", json.dumps({"name": own, "heard": heard}))
                if store.add(f"came-{own}", 0) == size - 1:
                    return own
            elif store.check(["round"]):
                named = json.loads(store.get("round"))
                if named["heard"].get(str(rank)) == own:
                    store.add(f"came-{named['name']}", 1)
                    return str(named["name"])
            time.sleep(_POLL_SECONDS)
        raise EnvironmentProblem(
            f"worker {rank} of {size} waited {_GATHERING_SECONDS:g} s for the others, of whom not "
            "all came: start them all, with the same MASTER_ADDR and MASTER_PORT"
        )

    @property
    def store(self) -> Store:
        """Where the process group may meet."""
        return self._store

    def decided_by_first(self, decide: Callable[[], T]) -> T:
        """What `decide`, run on worker 0 alone, returns there; plain as JSON.

        Raises:
            PeerError: worker 0, or another, has failed meanwhile.
        """
        if self.place.rank == 0:
            decided = decide()
            self._store.set("decided", json.dumps(decided))
            return decided
        self._wait_for(lambda: self._store.check(["decided"]))
        found: T = json.loads(self._store.get("decided"))
        return found

    def meet(self) -> None:
        """Wait for all others here: what follows blocks, deaf to signals, for one that is late."""
        self._store.add("met", 1)
        self._wait_for(lambda: self._store.add("met", 0) >= self.place.world_size)

    def note_begun(self, what: str) -> None:
        """Let those that torchrun starts after these know that `what` was begun."""
        self._lasting.set("begun", what)

    def has_begun(self, what: str) -> bool:
        """Whether `what` was begun by those that the same torchrun started before these."""
        return self._lasting.check(["begun"]) and self._lasting.get("begun").decode() == what

    def leave(self) -> None:
        """End as one of many: after worker 0, whose end is the run's.

        Raises:
            PeerError: another worker has failed meanwhile.
        """
        import torch.distributed as dist

        if self.place.rank == 0:
            self._store.set("done", "")
        else:
            with contextlib.suppress(dist.DistError):  # worker 0 kept the store, and is gone
                self._wait_for(lambda: self._store.check(["done"]))
        if dist.is_initialized():
            dist.destroy_process_group()

    def raise_as_one(self, error: BaseException, code: int) -> NoReturn:
        """Raise what this worker met if it is the first to fail, else that another has told.

        Args:
            error: what ended this worker's part.
            code: the exit code that goes with it.
        """
        import torch.distributed as dist

        _ignore_signals()  # torchrun ends the others of a worker that failed: they are ending
        try:
            if _is_lost_connection(error) and not self._told(_PATIENCE_SECONDS):
                error = TrainingError(
                    "a worker was lost: its process was killed or its machine went away; --resume "
                    "goes on from the last checkpoint, torchrun --max-restarts does so by itself"
                )
            is_first = self._store.add("told", 1) == 1
            if is_first:
                self._store.set("failed", str(code))
            elif (failed := self._told(_PATIENCE_SECONDS)) is not None:
                raise PeerError(failed) from error
        except dist.DistError:  # the store is gone, and with it whoever could have been told
            pass
        raise error

    def _told(self, seconds: float) -> int | None:
        """The exit code of the worker that failed first, waited for; None if there is none."""
        deadline = time.monotonic() + seconds
        while not self._store.check(["failed"]):
            if time.monotonic() > deadline:
                return None
            time.sleep(_POLL_SECONDS)
        return int(self._store.get("failed"))

    def _wait_for(self, is_so: Callable[[], bool]) -> None:
        # Polled: the store's own waiting would not let a signal through.
        while not is_so():
            if self._store.check(["failed"]):
                raise PeerError(int(self._store.get("failed")))
            time.sleep(_POLL_SECONDS)


_peers: Peers | None = None


def peers() -> Peers | None:
    """Those that this process was started with, inside `together`; None if it stands alone."""
    return _peers


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Run the block in all processes that torchrun started as if they were one.

    Raises:
        PeerError: another worker failed, and has told why.
        ItrecError: this worker is the first to fail, or the environment is wrong.
    """
    global _peers  # noqa: PLW0603 - a process has one place
    at = place()
    if at is None:
        yield
        return
    _end_with_parent()
    found = _peers = Peers(at)
    try:
        with _FirstSignal() as signals, _muted(at.rank > 0):
            try:
                yield
                found.leave()
            except (SystemExit, PeerError):  # --help leaves by the first, everywhere
                raise
            except KeyboardInterrupt as interruption:
                if at.rank > 0:  # worker 0 must meet the signal, not a connection that is gone
                    time.sleep(_HEAD_START_SECONDS)
                found.raise_as_one(interruption, 128 + signals.number)
            except Exception as error:
                code = error.exit_code if isinstance(error, ItrecError) else 1
                found.raise_as_one(error, code)
    finally:
        _peers = None


class _FirstSignal:
    """Passes the first signal to end on, and no other.

    A terminal and torchrun may both send one, and the second would break the orderly end that the
    first began.
    """

    def __init__(self) -> None:
        self.number: int = signal.SIGINT
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _FirstSignal:
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in _ENDINGS}
            self._before = {n: handler for n, handler in found.items() if callable(handler)}
        for number in self._before:
            signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._pass_on:  # else: ending, and ignored from then on
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
    """Whether a collective failed, as it does on all others when a worker goes away."""
    import torch.distributed as dist

    # Gloo's errors are plain RuntimeErrors that name the file they come from.
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def _end_with_parent() -> None:
    """Have Linux send SIGTERM here when torchrun is killed: its workers would train on unseen."""
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1  # <linux/prctl.h>
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
