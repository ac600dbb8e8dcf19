"""The cache of remote files on this machine."""

import hashlib
import os
from pathlib import Path

from itrec_dist.storage.uri import Uri

CACHE_VARIABLE = "ITREC_CACHE"


def cache(kind: str, uri: Uri) -> Path:
    """The local folder for copies of a URI, below `ITREC_CACHE` or ~/.cache.

    Its name is that of the URI, since some names are derived from folders.
    """
    parent, _, name = str(uri).partition("?")[0].rpartition("/")
    digest = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return _cache_root() / kind / digest / (parent.rpartition("/")[2] or "root") / name


def splits() -> Path:
    """The local folder for shards that were given no place of their own."""
    return _cache_root() / "splits"


def decoded(key: str) -> Path:
    """The local folder for decoded splits that the processes of this machine share."""
    return _cache_root() / "decoded" / key


def is_copy(path: Path) -> bool:
    """Whether a file is in the cache of this machine, where no other machine can read it."""
    return path.is_relative_to(_cache_root())


def _cache_root() -> Path:
    base = os.environ.get(CACHE_VARIABLE)
    return (Path(base) if base else _user_cache() / "itrec-dist").absolute()


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) if base else Path.home() / ".cache"
