"""Arrays that all processes of a machine share: written once, mapped into memory by each.

Their pages are those of the system's file cache, which it holds once however many processes map
them, and drops where memory is short. Nothing counts the processes: a file that was removed stays
readable for those that have it open.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import numpy.typing as npt

from itrec_dist.errors import OutputError
from itrec_dist.storage import atomic

Arrays = Mapping[str, npt.NDArray[Any]]
_MARKER = "arrays.txt"
_KEPT_SECONDS = 86_400.0


def shared(place: Path, make: Callable[[], Arrays]) -> dict[str, npt.NDArray[Any]]:
    """The arrays in the folder `place`; the first process of this machine makes them.

    Others wait for it. Each process may write into its arrays, which copies the pages for it alone.

    Args:
        place: the folder, whose name and whose parent's name say what the arrays are.
        make: makes them, by names that are valid for files.

    Raises:
        OutputError: the folder cannot be written. What `make` raises is passed on.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place.with_name(f"{place.name}.lock")):
            if not place.is_dir():
                _remove_unused(place.parent)
                _write(place, make())
            os.utime(place.parent)
            names = (place / _MARKER).read_text(encoding="utf-8").split()
            return {name: _mapped(place / f"{name}.npy") for name in names}
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}") from error


def _write(place: Path, arrays: Arrays) -> None:
    with atomic.new_directory(place, marker=_MARKER) as building:
        for name, array in arrays.items():
            np.save(building / f"{name}.npy", array, allow_pickle=False)
        (building / _MARKER).write_text("\n".join(arrays), encoding="utf-8")


def _mapped(path: Path) -> npt.NDArray[Any]:
    """An array in a file, mapped copy on write; of no size, which cannot be mapped, a new one."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        assert version == (1, 0), "the headers of plain arrays are short"
        shape, _, dtype = read(file)
    if 0 in shape:
        return np.zeros(shape, dtype)
    array: npt.NDArray[Any] = np.asarray(np.load(path, mmap_mode="c"))
    return array


def _remove_unused(keep: Path) -> None:
    """Remove the folders beside `keep` that no process has opened for a day."""
    for other in keep.parent.iterdir():
        with contextlib.suppress(OSError):
            if other != keep and time.time() - other.stat().st_mtime > _KEPT_SECONDS:
                atomic.remove(other)
