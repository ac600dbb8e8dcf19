"""Copies a shards folder at a URI to this machine, once."""

import functools
import hashlib
from pathlib import Path

import filelock

from itrec_dist.data.schema import MANIFEST_FILE
from itrec_dist.errors import ConfigError, OutputError
from itrec_dist.storage import atomic
from itrec_dist.storage.cache import cache
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri


def local(shards: Uri | Path) -> Path:
    """A shards folder on this machine: `shards` itself, or a cached copy.

    Raises:
        ConfigError: there is no manifest at the URI.
        EnvironmentProblem: the URI cannot be reached.
        OutputError: the disk of this machine is full.
    """
    return _fetched_folder(shards, MANIFEST_FILE) if isinstance(shards, Uri) else shards


@functools.cache
def _fetched_folder(uri: Uri, marker: str) -> Path:
    """A cached copy on this machine of a folder that never changes.

    Copies of folders that differ in the file `marker` are cached side by side.
    """
    store = Store(uri)
    content = store.read(marker)
    if content is None:
        raise ConfigError(f"{uri} holds no {marker}: give a folder that `itrec window` wrote")
    place = cache("shards", uri) / hashlib.sha256(content).hexdigest()[:16]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place.with_name(f"{place.name}.lock")):  # one worker per machine
            if not place.is_dir():
                with atomic.new_directory(place, marker=marker) as building:
                    store.download_all(building)
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}") from error
    return place
