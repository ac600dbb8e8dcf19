"""Outputs at a path or a URI: what a command writes once, whole or not at all.

At a path this is `atomic`. For a URI the output is written to the cache of this machine and copied
when it is complete. A file there appears in one step, but a folder does not: an `_unfinished` file
is written first and removed last, and the marker of the output is the last of its own files, so
that a folder without its marker is never read. Nothing there can be renamed: what `overwrite`
replaces is removed, its marker first, before the copy begins.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from itrec_dist.errors import ConfigError, EnvironmentProblem, OutputError
from itrec_dist.storage import atomic, cache
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri, refuse_credentials

UNFINISHED = "_unfinished"


@contextlib.contextmanager
def new_directory(place: Uri | Path, *, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `place` when the block succeeds.

    Args:
        place: path or URI of the output.
        marker: the name of a file that every complete output of this kind contains.
        overwrite: whether to replace an earlier output of this kind.

    Raises:
        ConfigError: the URI carries a credential, or names no file system.
        EnvironmentProblem: the URI cannot be reached; nothing has been written yet.
        OutputError: `place` exists already, or cannot be written; if the URI can no longer be
            reached, the message says where the output is on this machine.
    """
    if isinstance(place, Path):
        with atomic.new_directory(place, marker=marker, overwrite=overwrite) as building:
            yield building
        return
    refuse_taken(place, marker=marker, overwrite=overwrite)
    with _scratch(place) as local:
        with atomic.new_directory(local, marker=marker) as building:
            yield building
        _send(place, local, lambda store: _send_folder(store, local, marker))


@contextlib.contextmanager
def new_file(place: Uri | Path) -> Iterator[Path]:
    """Yield a temporary file that replaces `place` when the block succeeds.

    Call `refuse_existing` before.

    Raises:
        OutputError: `place` cannot be written; see `new_directory`.
    """
    if isinstance(place, Path):
        with atomic.new_file(place) as building:
            yield building
        return
    with _scratch(place) as local:
        with atomic.new_file(local) as building:
            yield building
        _send(place, local, lambda store: _send_file(store, local))


def refuse_taken(place: Uri | Path, *, marker: str, overwrite: bool) -> None:
    """Refuse what `new_directory` would refuse; for checks before long work.

    Raises:
        ConfigError: the URI carries a credential, or names no file system.
        EnvironmentProblem: the URI cannot be reached.
        OutputError: `place` is taken.
    """
    if isinstance(place, Path):
        atomic.refuse_taken(place, marker=marker, overwrite=overwrite)
        return
    check(place)
    store = Store(place)
    if store.size("") is not None:
        raise OutputError(f"{place} is a file, a folder is needed: choose another place")
    names = store.files()
    if not names:
        return
    if marker not in names and UNFINISHED in names:
        if not overwrite:
            raise OutputError(
                f"{place} is being written, or was left unfinished: choose another place, or pass "
                "--overwrite to replace it if no other process writes there"
            )
        return
    atomic.refuse_existing(place, overwrite=overwrite)
    if marker not in names:
        raise OutputError(
            f"{place} holds no {marker}, so it was not made by this command and "
            "--overwrite does not replace it: choose another place"
        )


def refuse_existing(place: Uri | Path, *, overwrite: bool) -> None:
    """Refuse a file that already exists, unless it may be overwritten; or a folder at a URI.

    Raises:
        ConfigError: the URI carries a credential, or names no file system.
        EnvironmentProblem: the URI cannot be reached.
        OutputError: it is taken.
    """
    if isinstance(place, Path):
        if place.exists():
            atomic.refuse_existing(place, overwrite=overwrite)
        return
    check(place)
    store = Store(place)
    if store.size("") is not None:
        atomic.refuse_existing(place, overwrite=overwrite)
    elif store.files():
        raise OutputError(f"{place} is a folder, a file is needed: choose another place")


def beginning(place: Uri | Path, count: int) -> bytes | None:
    """The first bytes of a file; None if it does not exist.

    Raises:
        EnvironmentProblem: the URI cannot be reached.
    """
    if isinstance(place, Uri):
        opened = Store(place).open("") if Store(place).size("") is not None else None
    else:
        opened = place.open("rb") if place.is_file() else None
    if opened is None:
        return None
    with opened as file:
        content: bytes = file.read(count)
    return content


def is_file(place: Uri | Path) -> bool:
    """Whether a file exists.

    Raises:
        EnvironmentProblem: the URI cannot be reached.
    """
    return Store(place).size("") is not None if isinstance(place, Uri) else place.is_file()


def size(place: Uri | Path) -> int:
    """The size in bytes of a file that exists.

    Raises:
        EnvironmentProblem: the URI cannot be reached.
    """
    return (Store(place).size("") or 0) if isinstance(place, Uri) else place.stat().st_size


def below(place: Uri | Path, name: str) -> Uri | Path:
    """A file or folder below another."""
    return place.below(name) if isinstance(place, Uri) else place / name


def check(place: Uri | Path) -> None:
    """Refuse a URI that carries a credential.

    Raises:
        ConfigError: it does; the message masks it.
    """
    if isinstance(place, Uri):
        try:
            refuse_credentials(place, "out")
        except ValueError as error:
            raise ConfigError(str(error)) from error


@contextlib.contextmanager
def _scratch(uri: Uri) -> Iterator[Path]:
    """A new place in the cache with the name of `uri`; removed, unless it could not be sent."""
    place = cache.cache("outputs", uri)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="new-", dir=place.parent))
    except OSError as error:
        raise OutputError(f"cannot write to {place.parent}: {error.strerror}") from error
    kept = False
    try:
        yield folder / place.name
    except _NotSentError as error:
        kept = True
        raise OutputError(str(error)) from error
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


class _NotSentError(Exception):
    """The output is complete on this machine and could not be copied to its URI."""


def _send(uri: Uri, local: Path, act: Callable[[Store], None]) -> None:
    try:
        act(Store(uri))
    except (EnvironmentProblem, OSError) as error:
        raise _NotSentError(
            f"{error}; the whole output is in {local} on this machine: copy it from there, or "
            "start again once the URI can be reached"
        ) from error


def _send_folder(store: Store, local: Path, marker: str) -> None:
    """Copy a folder, its marker last; what is there is removed first, its marker before the rest.

    What was copied is removed again if the rest cannot be.
    """
    files = sorted(p.relative_to(local).as_posix() for p in local.rglob("*") if p.is_file())
    store.write(UNFINISHED, b"")
    store.remove(marker)
    for name in store.files():
        if name != UNFINISHED:
            store.remove(name)
    try:
        for name in sorted(files, key=lambda name: (name == marker, name)):
            store.upload(local / name, name)
    except BaseException:
        with contextlib.suppress(EnvironmentProblem):
            for name in (marker, *files, UNFINISHED):
                store.remove(name)
        raise
    store.remove(UNFINISHED)


def _send_file(store: Store, local: Path) -> None:
    try:
        store.upload(local, "")
    except BaseException:
        with contextlib.suppress(EnvironmentProblem):
            store.remove("")
        raise
