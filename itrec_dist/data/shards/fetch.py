"""Copies a shards folder at a URI to this machine, once."""

import functools
import hashlib
import json
from pathlib import Path

import filelock

from itrec_dist.data import manifest
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import MANIFEST_FILE
from itrec_dist.errors import ConfigError, OutputError, ShardsError
from itrec_dist.storage import atomic
from itrec_dist.storage.cache import cache
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri, refuse_credentials


def local(shards: Uri | Path) -> Path:
    """A shards folder on this machine: `shards` itself, or a cached copy.

    Raises:
        ConfigError: there is no manifest at the URI, or it carries a credential.
        EnvironmentProblem: the URI cannot be reached.
        OutputError: the disk of this machine is full.
    """
    return _fetched_folder(shards, MANIFEST_FILE) if isinstance(shards, Uri) else shards


def without_splits(shards: Uri | Path) -> Path:
    """The same without the files of the splits, which are read where they lie.

    Raises:
        ConfigError: see `local`.
        EnvironmentProblem: see `local`.
        OutputError: see `local`.
    """
    if isinstance(shards, Path):
        return shards
    return _fetched_folder(shards, MANIFEST_FILE, whole=False)


def manifest_of(shards: Uri | Path) -> Manifest:
    """The manifest of a shards folder; at a URI, nothing else is copied.

    Raises:
        ConfigError: there is no manifest at the URI, or it carries a credential.
        EnvironmentProblem: the URI cannot be reached.
        ShardsError: there is none at the path, it is damaged, or of another version.
    """
    if isinstance(shards, Path):
        return manifest.read(shards)
    try:
        content = json.loads(_marker(Store(_without_credentials(shards)), MANIFEST_FILE))
    except ValueError as error:
        raise ShardsError(f"{shards}/{MANIFEST_FILE} cannot be read: {error}") from error
    return Manifest.from_json(content, f"{shards}/{MANIFEST_FILE}")


def forget() -> None:
    """Look again what is at URIs, after shards were written there."""
    _fetched_folder.cache_clear()


@functools.cache
def _fetched_folder(uri: Uri, marker: str, *, whole: bool = True) -> Path:
    """A cached copy on this machine of a folder that never changes, or of its own files alone.

    Copies of folders that differ in the file `marker` are cached side by side.
    """
    store = Store(_without_credentials(uri))
    content = _marker(store, marker)
    name = hashlib.sha256(content).hexdigest()[:16]
    place = cache("shards", uri) / (name if whole else f"{name}-tables")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place.with_name(f"{place.name}.lock")):  # one worker per machine
            if not place.is_dir():
                with atomic.new_directory(place, marker=marker) as building:
                    _download(store, building, whole=whole)
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}") from error
    return place


def _download(store: Store, folder: Path, *, whole: bool) -> None:
    if whole:
        store.download_all(folder)
        return
    for name in store.files():
        if "/" not in name:
            store.download(name, folder / name)


def _marker(store: Store, marker: str) -> bytes:
    content = store.read(marker)
    if content is None:
        raise ConfigError(f"{store} holds no {marker}: give a folder that `itrec window` wrote")
    return content


def _without_credentials(uri: Uri) -> Uri:
    try:
        refuse_credentials(uri, "shards")
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return uri
