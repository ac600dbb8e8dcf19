"""Writing without leaving anything half-written.

Owns: output folders that appear whole or not at all, and small files replaced in one step.
Leaves to its callers what stands inside them.
"""

import contextlib
import errno
import glob
import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from itrec_dist.errors import OutputError
from itrec_dist.storage import ray_job_folder


@contextlib.contextmanager
def new_directory(
    place: Path, *, marker: str, overwrite: bool = False, aside: Path | None = None
) -> Iterator[Path]:
    """Yield a temporary folder beside `place` that becomes `place` when the block succeeds.

    `marker` is the name of a file that every complete output of this kind contains. An existing
    `place` is refused, or with `overwrite` replaced as a whole, and only if it is empty or holds
    the marker: a mistyped path never costs a folder that something else made. With `aside`, a name
    beside `place` that is free, the folder that is replaced goes on under it.

    Raises:
        OutputError: `place` is taken, or cannot be written. What the block itself raises passes
            unchanged, unless it is about the temporary folder or a full disk.
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


def recover(place: Path) -> None:
    """Clear up after a process that was killed while it replaced `place` by `new_directory`.

    Puts the old `place` back if it was aside at that moment, and removes what was half-written.
    Only for when nobody else writes there.
    """
    for aside in sorted(place.parent.glob(f".{glob.escape(place.name)}.*")):
        old = aside / place.name
        if aside.name.startswith(f".{place.name}.old.") and old.is_dir() and not place.exists():
            old.rename(place)
        shutil.rmtree(aside, ignore_errors=True)


def empty(folder: Path, *, but: str) -> None:
    """Remove what a folder holds, except for a file named `but` and what is half-written of it.

    Raises:
        OutputError: something cannot be removed.
    """
    try:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif but not in path.name:
                path.unlink()
    except OSError as error:
        raise OutputError(f"cannot replace {folder}: {error.strerror or error}") from error


def remove(place: Path) -> None:
    """Remove a folder, if it is there, in one step as far as readers of its name can see."""
    hidden = place.with_name(f".{place.name.lstrip('.')}.gone.{os.getpid()}")
    with contextlib.suppress(OSError):  # another one is in the way: then it goes piece by piece
        place.rename(hidden)
    for rest in (hidden, place):
        shutil.rmtree(rest, ignore_errors=True)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block is done; for short steps that must be whole."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals go to the main thread
        return
    held: list[int] = []
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {n: h for n, h in found.items() if h is not None}  # None: set by C, not ours to move
    try:
        for number in handlers:
            signal.signal(number, lambda number, _: held.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def refuse_taken(place: Path, *, marker: str, overwrite: bool, but: str | None = None) -> None:
    """Raise OutputError if `new_directory` would refuse `place`; for checks before long work.

    A file named `but`, and what is half-written of it, does not count.
    """
    ray_job_folder.refuse(place)
    if not place.exists():
        return
    if not place.is_dir():
        raise OutputError(f"{place} is a file, a folder is needed: choose another place")
    if all(but is not None and but in path.name for path in place.iterdir()):
        return
    if not overwrite:
        raise OutputError(
            f"{place} already exists: choose another place, or pass --overwrite to replace it"
        )
    if not (place / marker).exists():
        raise OutputError(
            f"{place} holds no {marker}, so it was not made by this command and "
            "--overwrite does not replace it: choose another place"
        )


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces `path` when the block succeeds.

    Raises:
        OutputError: the place cannot be written. What the block itself raises passes unchanged,
            unless it is about the temporary file or a full disk.
    """
    ray_job_folder.refuse(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
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
    """Write `content` as indented JSON (no NaN: it is not JSON) and rename it into place."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


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
    except BaseException:  # an interruption between the two steps included
        if not place.exists() and aside.exists():
            aside.rename(place)
        if holder is not None:
            with contextlib.suppress(OSError):  # never a folder that still holds something
                holder.rmdir()
        raise
    if holder is not None:
        shutil.rmtree(holder, ignore_errors=True)


def _is_about(error: OSError, temporary: Path) -> bool:
    """Whether the trouble lies with the output, not with something that was read for it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
        return True
    names = (str(name) for name in (error.filename, error.filename2) if name is not None)
    return any(Path(name).is_relative_to(temporary) for name in names)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
