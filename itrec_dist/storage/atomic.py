"""Writes folders and files atomically: complete or not at all, replaced in one step."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from itrec_dist.errors import OutputError
from itrec_dist.storage import ray_job_folder
from itrec_dist.storage.uri import Uri

_DRAWN = "[a-z0-9_]{8}"  # what tempfile adds to the name of a folder


@contextlib.contextmanager
def new_directory(
    place: Path, *, marker: str, overwrite: bool = False, aside: Path | None = None
) -> Iterator[Path]:
    """Yield a temporary folder beside `place` that becomes `place` when the block succeeds.

    `marker` is the name of a file that every complete output of this kind contains. An existing
    `place` is refused, or with `overwrite` replaced as a whole, but only if it is empty or holds
    the marker, so that a mistyped path never deletes another folder. With `aside`, a free name
    beside `place`, the replaced folder is renamed to it instead of deleted.

    Raises:
        OutputError: `place` exists already, or cannot be written. Other exceptions of the block
            are passed on, unless they are about the temporary folder or a full disk.
    """
    place = Path(os.path.abspath(place))  # noqa: PTH100 - `..` must go: its name is used
    refuse_taken(place, marker=marker, overwrite=overwrite)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        raise OutputError(f"cannot write to {place.parent}: {error.strerror}") from error
    try:
        building.chmod(0o777 & ~_umask())
        yield building
        with uninterrupted():
            _swap_in(building, place, aside)
    except OSError as error:
        if _is_about(error, building):
            raise OutputError(f"cannot write {place}: {error.strerror or error}") from error
        raise
    finally:
        with uninterrupted():
            shutil.rmtree(building, ignore_errors=True)


def finish_interrupted(place: Path) -> None:
    """Clean up after a process that was killed while it replaced `place` by `new_directory`.

    Puts the old `place` back if it had been moved aside, and removes incomplete output. Only
    call it while no other process writes there.
    """
    name = re.escape(place.name)
    holder = re.compile(rf"\.{name}\.old\.{_DRAWN}")
    other = re.compile(rf"\.{name}\.(?:{_DRAWN}|gone\.[0-9]+)")
    found = sorted(place.parent.iterdir()) if place.parent.is_dir() else []
    for aside in (path for path in found if path.is_dir()):
        if holder.fullmatch(aside.name) and not _holds_others(aside, place.name):
            if (aside / place.name).is_dir() and not place.exists():
                (aside / place.name).rename(place)
        elif not other.fullmatch(aside.name):
            continue
        shutil.rmtree(aside, ignore_errors=True)


def _holds_others(folder: Path, name: str) -> bool:
    """Whether a folder that may hold an old `name` holds something else: `name.old` in the making.

    Both have the same names.
    """
    return any(path.name != name for path in folder.iterdir())


def empty(folder: Path, *, keep_file: str) -> None:
    """Remove the content of a folder, except for `keep_file` and temporary files named after it.

    Raises:
        OutputError: something cannot be removed.
    """
    try:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif keep_file not in path.name:
                path.unlink()
    except OSError as error:
        raise OutputError(f"cannot replace {folder}: {error.strerror or error}") from error


def remove(place: Path) -> None:
    """Remove a folder if it exists; its name disappears in one step."""
    hidden = place.with_name(f".{place.name.lstrip('.')}.gone.{os.getpid()}")
    with contextlib.suppress(OSError):  # if the name is taken, remove it file by file
        place.rename(hidden)
    for rest in (hidden, place):
        shutil.rmtree(rest, ignore_errors=True)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM to the end of the block; for short steps that must complete."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals go to the main thread
        return
    held: list[int] = []
    installed = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {n: h for n, h in installed.items() if h is not None}  # None: installed by C code
    try:
        for number in handlers:
            signal.signal(number, lambda number, _: held.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def refuse_existing(place: Path | Uri, *, overwrite: bool) -> None:
    """Refuse an output that already exists, unless it may be overwritten.

    Raises:
        OutputError: it exists and may not be replaced.
    """
    if not overwrite:
        raise OutputError(
            f"{place} already exists: choose another place, or pass --overwrite to replace it"
        )


def refuse_taken(
    place: Path, *, marker: str, overwrite: bool, keep_file: str | None = None
) -> None:
    """Raise OutputError if `new_directory` would refuse `place`; for checks before long work.

    `keep_file`, and temporary files named after it, do not count.
    """
    ray_job_folder.refuse_path(place)
    if not place.exists():
        return
    if not place.is_dir():
        raise OutputError(f"{place} is a file, a folder is needed: choose another place")
    if all(keep_file is not None and keep_file in path.name for path in place.iterdir()):
        return
    refuse_existing(place, overwrite=overwrite)
    if not (place / marker).exists():
        raise OutputError(
            f"{place} holds no {marker}, so it was not made by this command and "
            "--overwrite does not replace it: choose another place"
        )


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces `path` when the block succeeds.

    Raises:
        OutputError: `path` cannot be written. Other exceptions of the block are passed on, unless
            they are about the temporary file or a full disk.
    """
    ray_job_folder.refuse_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if _is_about(error, temporary):
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 beside `path` and rename it into place."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON (NaN is an error) and rename it into place."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """`content` as `write_json` writes it.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _swap_in(building: Path, place: Path, aside: Path | None) -> None:
    if not place.exists():
        building.rename(place)
        return
    holder = None
    if aside is None:
        holder = Path(tempfile.mkdtemp(prefix=f".{place.name}.old.", dir=place.parent))
        aside = holder / place.name
    try:
        place.rename(aside)
        building.rename(place)
    except BaseException:  # including an interruption between the two steps
        if not place.exists() and aside.exists():
            aside.rename(place)
        if holder is not None:
            with contextlib.suppress(OSError):  # it stays if it is not empty
                holder.rmdir()
        raise
    if holder is not None:
        shutil.rmtree(holder, ignore_errors=True)


def is_full(error: OSError) -> bool:
    """Whether a disk of this machine accepts no more data."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def flush(path: Path) -> None:
    """Flush a file to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _is_about(error: OSError, temporary: Path) -> bool:
    """Whether an error is about the output, not about a file that was read."""
    if is_full(error):
        return True
    names = (str(name) for name in (error.filename, error.filename2) if name is not None)
    return any(Path(name).is_relative_to(temporary) for name in names)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
