"""A lease that allows one writer at a time for a run directory: a small file, touched regularly.

    RUN/lease.json   host, pid, birth (of the process, where the system reports it), started, token

The system's own lock (flock) is released with its process, but network file systems ignore or lose
it, and object stores have none. So the holder touches the file every few seconds, and a file that
has not been touched for a minute is taken over, or at once if its process ran on this machine and
is gone. Ages are measured by the file system's clock, which may differ from this machine's.

`filelock.SoftFileLease` (4.2) is not used. It takes over from a dead holder on another machine only
after watching the file for the whole lease (`_try_break_pinned_lock`), so each resumption would
wait a minute; it cannot check whether a lease is held without acquiring it; its file does not
record since when; and object stores would still need all of this. pyarrow's `open_output_stream`
has no conditional write (If-None-Match of S3, if-generation-match of GCS), so a remote lease is
written and then read back.
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


class Lock(Protocol):
    """The file of a lease, in a folder on this machine or at a URI."""

    settle_seconds: float
    """Seconds that two processes taking over an old lease wait to see which one wrote last."""

    def read(self) -> bytes | None:
        """The content of the file; None if there is none."""

    def age(self) -> float | None:
        """Seconds since the file was written or touched; None if there is none."""

    def create(self, content: bytes) -> bool:
        """Create the file atomically; False if it exists, or if that is impossible here."""

    def replace(self, content: bytes) -> None:
        """Replace the file."""

    def touch(self, content: bytes) -> None:
        """Reset the age of the file to zero."""

    def remove(self) -> None:
        """Remove the file."""


class LocalLock:
    """A lease in a folder that is mounted on this machine."""

    settle_seconds = 0.3

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / FILE

    def __str__(self) -> str:
        return str(self._folder)

    def read(self) -> bytes | None:
        """See Lock."""
        try:
            return self._path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            return b""

    def age(self) -> float | None:
        """See Lock; the file system's clock is read from a new file beside it."""
        with tempfile.NamedTemporaryFile(prefix=f".{FILE}.", dir=self._folder) as probe:
            os.utime(probe.name)
            now = Path(probe.name).stat().st_mtime
        try:
            return now - self._path.stat().st_mtime
        except FileNotFoundError:
            return None

    def create(self, content: bytes) -> bool:
        """See Lock; a hard link appears with all its content, or fails if the name is taken."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._written(content) as temporary, contextlib.suppress(OSError):
            self._path.hardlink_to(temporary)  # not all file systems have links
            return True
        return False

    def replace(self, content: bytes) -> None:
        """See Lock."""
        with self._written(content) as temporary:
            temporary.replace(self._path)

    def touch(self, content: bytes) -> None:  # noqa: ARG002 - a remote lock writes it again
        """See Lock."""
        os.utime(self._path)

    def remove(self) -> None:
        """See Lock."""
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


class RemoteLock:
    """A lease in a folder at a URI, where a write cannot require that the file is absent."""

    settle_seconds = 1.5

    def __init__(self, store: Store) -> None:
        self._store = store

    def __str__(self) -> str:
        return str(self._store)

    def read(self) -> bytes | None:
        """See Lock."""
        return self._store.read(FILE)

    def age(self) -> float | None:
        """See Lock."""
        return self._store.age(FILE)

    def create(self, content: bytes) -> bool:  # noqa: ARG002 - it cannot be done atomically
        """See Lock."""
        return False

    def replace(self, content: bytes) -> None:
        """See Lock."""
        self._store.write(FILE, content)

    def touch(self, content: bytes) -> None:
        """See Lock."""
        self._store.write(FILE, content)

    def remove(self) -> None:
        """See Lock."""
        self._store.remove(FILE)


def refuse_held(lock: Lock) -> None:
    """Refuse a run directory that another process is writing.

    Raises:
        OutputError: there is one; the message names host and process.
    """
    holder = _holder(lock)
    try:
        is_alive = holder is not None and _is_alive(lock, holder)
    except OSError as error:  # such as a read-only folder
        raise OutputError(f"cannot write {lock}: {error.strerror or error}") from error
    if holder is not None and is_alive:
        raise OutputError(
            f"{lock} is being written by process {holder['pid']} on {holder['host']} (since "
            f"{holder['started']}): wait until it ends, stop it, or choose another place"
        )


@contextlib.contextmanager
def held(lock: Lock) -> Iterator[None]:
    """Hold the lease of a run directory, which is created if it does not exist.

    Raises:
        OutputError: another process holds it, or the directory cannot be written.
    """
    token = uuid.uuid4().hex
    content = json.dumps({
        "host": socket.gethostname(), "pid": os.getpid(), "birth": _birth(os.getpid()),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "token": token,
    }).encode()  # fmt: skip
    try:
        _acquire(lock, content, token)
    except OSError as error:
        raise OutputError(f"cannot write {lock}: {error.strerror or error}") from error
    stop = threading.Event()
    heartbeat = threading.Thread(
        target=_keep_fresh, args=(lock, content, token, stop), name="itrec-lease", daemon=True
    )
    heartbeat.start()
    try:
        yield
    finally:
        stop.set()
        heartbeat.join()
        with contextlib.suppress(OSError, EnvironmentProblem):
            if _is_ours(lock, token):
                lock.remove()


def _acquire(lock: Lock, content: bytes, token: str) -> None:
    if lock.create(content):
        return
    refuse_held(lock)
    lock.replace(content)
    time.sleep(lock.settle_seconds)
    if not _is_ours(lock, token):
        refuse_held(lock)


def _keep_fresh(lock: Lock, content: bytes, token: str, stop: threading.Event) -> None:
    while not stop.wait(_TOUCH_SECONDS):
        with contextlib.suppress(OSError, EnvironmentProblem):  # an outage is not fatal
            if _is_ours(lock, token):
                lock.touch(content)


def _holder(lock: Lock) -> dict[str, Any] | None:
    """The holder of the lease; None if it is free, empty fields if the file is unreadable."""
    content = lock.read()
    if content is None:
        return None
    try:
        holder = json.loads(content)
        return {field: holder.get(field) for field in _FIELDS}
    except (ValueError, AttributeError):
        return dict.fromkeys(_FIELDS)


def _is_ours(lock: Lock, token: str) -> bool:
    return (_holder(lock) or {}).get("token") == token


def _is_alive(lock: Lock, holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname() and isinstance(holder["pid"], int):
        birth = _birth(holder["pid"])
        if birth is not None or holder["birth"] is not None:
            return bool(birth == holder["birth"])  # it may be suspended and not touch the file
    age = lock.age()
    return age is not None and age < FRESH_SECONDS


def _birth(pid: int) -> str | None:
    """Identifies a process among others with the same pid over time; None if it is gone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] == "Z" else f"{boot}/{fields[19]}"
