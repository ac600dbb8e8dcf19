"""One writer at a time for a run directory: a small file that says who it is, kept fresh.

    RUN/lease.json   host, pid, birth (of the process, where the system tells), token, started

A lock of the system's own (flock) would go with its process, but network file systems ignore or
lose it. So the holder touches the file every few seconds, and a file that was not touched for a
minute is taken over; at once if its process was on this machine and is gone. Ages are read off
the file system's own clock, which need not agree with this machine's.
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
from typing import Any

from itrec_dist.errors import OutputError

FILE = "lease.json"
FRESH_SECONDS = 60.0
_TOUCH_SECONDS = 10.0
_SETTLE_SECONDS = 0.3  # for two who take the same old lease over: the last one to write has it


def refuse_alive(folder: Path) -> None:
    """Refuse a run directory that another process is writing.

    Raises:
        OutputError: it is; the message names host and process.
    """
    holder = _read(folder / FILE)
    if holder is not None and _is_alive(folder / FILE, holder):
        raise OutputError(
            f"{folder} is being written by process {holder['pid']} on {holder['host']} (since "
            f"{holder['started']}): wait for its end, stop it, or choose another place"
        )


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lease of a run directory, which is made if need be.

    Raises:
        OutputError: another process holds it, or the place cannot be written.
    """
    path, token = folder / FILE, uuid.uuid4().hex
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _take(path, token)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error
    stop = threading.Event()
    keeper = threading.Thread(
        target=_keep_fresh, args=(path, token, stop), name="itrec-lease", daemon=True
    )
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()
        with contextlib.suppress(OSError):
            if (_read(path) or {}).get("token") == token:
                path.unlink()


def _take(path: Path, token: str) -> None:
    content = json.dumps({
        "host": socket.gethostname(), "pid": os.getpid(), "birth": _birth(os.getpid()),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "token": token,
    })  # fmt: skip
    # A link appears under its name with all its content, or not at all if the name is taken.
    handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        try:
            path.hardlink_to(temporary)
            return
        except FileExistsError:
            refuse_alive(path.parent)
        except OSError:  # a file system without links
            refuse_alive(path.parent)
        temporary.replace(path)
        time.sleep(_SETTLE_SECONDS)
        if (_read(path) or {}).get("token") != token:
            refuse_alive(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _keep_fresh(path: Path, token: str, stop: threading.Event) -> None:
    while not stop.wait(_TOUCH_SECONDS):
        with contextlib.suppress(OSError):  # a network file system may be away for a while
            if (_read(path) or {}).get("token") == token:
                os.utime(path)


def _read(path: Path) -> dict[str, Any] | None:
    """Who holds it; None if nobody does, and a holder without a name where it is unreadable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {k: content.get(k) for k in ("host", "pid", "birth", "started", "token")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError):
        return dict.fromkeys(("host", "pid", "birth", "started", "token"))


def _is_alive(path: Path, holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname() and isinstance(holder["pid"], int):
        birth = _birth(holder["pid"])
        if birth is not None or holder["birth"] is not None:
            return bool(birth == holder["birth"])  # it may be suspended, and then touches nothing
    return _age(path) < FRESH_SECONDS


def _age(path: Path) -> float:
    """Seconds since a file was touched, by the clock of whoever keeps the files."""
    with tempfile.NamedTemporaryFile(prefix=f".{FILE}.", dir=path.parent) as probe:
        os.utime(probe.name)
        now = Path(probe.name).stat().st_mtime
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return FRESH_SECONDS


def _birth(pid: int) -> str | None:
    """What tells a process from a later one of the same number; None if it is gone or unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] == "Z" else f"{boot}/{fields[19]}"
