"""One writer at a time for a run directory: a small file that says who it is, kept fresh.

    RUN/lease.json   host, pid, birth (of the process, where the system tells), started, token

A lock of the system's own (flock) would go with its process, but network file systems ignore or
lose it, and object stores have none. So the holder touches the file every few seconds, and a file
that was not touched for a minute is taken over; at once if its process was on this machine and is
gone. Ages are read off the clock of whoever keeps the files, which need not agree with this
machine's.
"""

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from itrec_dist.errors import EnvironmentProblem, OutputError
from itrec_dist.storage.object_store import Store

FILE = "lease.json"
FRESH_SECONDS = 60.0
_TOUCH_SECONDS = 10.0
_FIELDS = ("host", "pid", "birth", "started", "token")


class Slot(Protocol):
    """Where the file of a lease is kept."""

    settle_seconds: float
    """How long two who take an old lease over at once wait to see who wrote last."""

    def read(self) -> bytes | None:
        """What it holds; None if it is not there."""

    def age(self) -> float | None:
        """Seconds since it was written or touched, None if it is not there."""

    def create(self, content: bytes) -> bool:
        """Make it, unless it is there or this cannot be done in one step; whether it was made."""

    def replace(self, content: bytes) -> None:
        """Write it in place of what is there."""

    def touch(self, content: bytes) -> None:
        """Make it as young as if it had been written now."""

    def remove(self) -> None:
        """Remove it."""


class Here:
    """A lease in a folder that this machine sees."""

    settle_seconds = 0.3

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / FILE

    def __str__(self) -> str:
        return str(self._folder)

    def read(self) -> bytes | None:
        """See Slot."""
        try:
            return self._path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            return b""

    def age(self) -> float | None:
        """See Slot: the time of a new file beside it is the file system's own clock."""
        with tempfile.NamedTemporaryFile(prefix=f".{FILE}.", dir=self._folder) as probe:
            os.utime(probe.name)
            now = Path(probe.name).stat().st_mtime
        try:
            return now - self._path.stat().st_mtime
        except FileNotFoundError:
            return None

    def create(self, content: bytes) -> bool:
        """See Slot: a link appears with all its content, or not at all if the name is taken."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._written(content) as temporary, contextlib.suppress(OSError):
            self._path.hardlink_to(temporary)  # there are file systems without links
            return True
        return False

    def replace(self, content: bytes) -> None:
        """See Slot."""
        with self._written(content) as temporary:
            temporary.replace(self._path)

    def touch(self, content: bytes) -> None:  # noqa: ARG002 - a store has to write it again
        """See Slot."""
        os.utime(self._path)

    def remove(self) -> None:
        """See Slot."""
        self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _written(self, content: bytes) -> Iterator[Path]:
        handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)


class There:
    """A lease in a folder at a URI, where nothing is made in one step only if it is not there."""

    settle_seconds = 1.5

    def __init__(self, store: Store) -> None:
        self._store = store

    def __str__(self) -> str:
        return str(self._store)

    def read(self) -> bytes | None:
        """See Slot."""
        return self._store.read(FILE)

    def age(self) -> float | None:
        """See Slot."""
        return self._store.age(FILE)

    def create(self, content: bytes) -> bool:  # noqa: ARG002 - it cannot be done in one step
        """See Slot."""
        return False

    def replace(self, content: bytes) -> None:
        """See Slot."""
        self._store.write(FILE, content)

    def touch(self, content: bytes) -> None:
        """See Slot."""
        self._store.write(FILE, content)

    def remove(self) -> None:
        """See Slot."""
        self._store.remove(FILE)


def refuse_alive(slot: Slot) -> None:
    """Refuse a run directory that another process is writing.

    Raises:
        OutputError: it is; the message names host and process.
    """
    holder = _holder(slot)
    try:
        is_alive = holder is not None and _is_alive(slot, holder)
    except OSError as error:  # as in a folder that may be read alone
        raise OutputError(f"cannot write {slot}: {error.strerror or error}") from error
    if holder is not None and is_alive:
        raise OutputError(
            f"{slot} is being written by process {holder['pid']} on {holder['host']} (since "
            f"{holder['started']}): wait for its end, stop it, or choose another place"
        )


@contextlib.contextmanager
def held(slot: Slot) -> Iterator[None]:
    """Hold the lease of a run directory, which is made if need be.

    Raises:
        OutputError: another process holds it, or the place cannot be written.
    """
    token = uuid.uuid4().hex
    content = json.dumps({
        "host": socket.gethostname(), "pid": os.getpid(), "birth": _birth(os.getpid()),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "token": token,
    }).encode()  # fmt: skip
    try:
        _take(slot, content, token)
    except OSError as error:
        raise OutputError(f"cannot write {slot}: {error.strerror or error}") from error
    stop = threading.Event()
    keeper = threading.Thread(
        target=_keep_fresh, args=(slot, content, token, stop), name="itrec-lease", daemon=True
    )
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()
        with contextlib.suppress(OSError, EnvironmentProblem):
            if _is_ours(slot, token):
                slot.remove()


def _take(slot: Slot, content: bytes, token: str) -> None:
    if slot.create(content):
        return
    refuse_alive(slot)
    slot.replace(content)
    time.sleep(slot.settle_seconds)
    if not _is_ours(slot, token):
        refuse_alive(slot)


def _keep_fresh(slot: Slot, content: bytes, token: str, stop: threading.Event) -> None:
    while not stop.wait(_TOUCH_SECONDS):
        with contextlib.suppress(OSError, EnvironmentProblem):  # a network may be away for a while
            if _is_ours(slot, token):
                slot.touch(content)


def _holder(slot: Slot) -> dict[str, Any] | None:
    """Who holds it; None if nobody does, and a holder without a name where it is unreadable."""
    content = slot.read()
    if content is None:
        return None
    try:
        found = json.loads(content)
        return {field: found.get(field) for field in _FIELDS}
    except (ValueError, AttributeError):
        return dict.fromkeys(_FIELDS)


def _is_ours(slot: Slot, token: str) -> bool:
    return (_holder(slot) or {}).get("token") == token


def _is_alive(slot: Slot, holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname() and isinstance(holder["pid"], int):
        birth = _birth(holder["pid"])
        if birth is not None or holder["birth"] is not None:
            return bool(birth == holder["birth"])  # it may be suspended, and then touches nothing
    age = slot.age()
    return age is not None and age < FRESH_SECONDS


def _birth(pid: int) -> str | None:
    """What tells a process from a later one of the same number; None if it is gone or unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] == "Z" else f"{boot}/{fields[19]}"
