"""Copies inputs at URIs to this machine: object stores through pyarrow, the web through HTTP."""

import shutil
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote, urlsplit

from itrec_dist.errors import ConfigError, EnvironmentProblem
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri

_SECONDS = 30.0


def is_web(uri: Uri) -> bool:
    """Whether a URI is read by HTTP, which cannot list folders."""
    return urlsplit(uri).scheme in ("http", "https")


def is_file(uri: Uri) -> bool | None:
    """Whether a URI names a file; False for a folder, None if there is neither.

    Raises:
        ConfigError: the URI names no file system.
        EnvironmentProblem: it cannot be reached.
    """
    if is_web(uri):
        return True
    store = Store(uri)
    if store.size("") is not None:
        return True
    return False if store.files() else None


def names(folder: Uri) -> list[str]:
    """The files in a folder and below it, by their names relative to it.

    Raises:
        ConfigError: it is on the web, where folders cannot be listed.
        EnvironmentProblem: it cannot be reached.
    """
    if is_web(folder):
        raise ConfigError(
            f"{folder} is on the web, where files cannot be listed: give the address of each file, "
            "without --glob and --hive"
        )
    return list(Store(folder).files())


def fetch(folder: Uri, name: str, scratch: Path) -> Path:
    """Copy one file to a new place below `scratch`.

    Raises:
        EnvironmentProblem: it cannot be reached.
        OutputError: the disk of this machine is full.
    """
    scratch.mkdir(exist_ok=True)
    place = scratch / f"{sum(1 for _ in scratch.iterdir()):06d}" / name.rpartition("/")[2]
    place.parent.mkdir()
    if is_web(folder):
        _download(folder.below(name), place)
    else:
        Store(folder).download(name, place)
    return place


def _download(uri: Uri, place: Path) -> None:
    address = quote(str(uri), safe=":/?&=%+,;@~")
    try:
        with (
            urllib.request.urlopen(address, timeout=_SECONDS) as source,
            place.open("wb") as target,
        ):
            shutil.copyfileobj(source, target)
            expected = source.headers.get("Content-Length")
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise EnvironmentProblem(f"{uri} cannot be reached: {reason}") from error
    if expected is not None and place.stat().st_size != int(expected):
        raise EnvironmentProblem(
            f"{uri} ended after {place.stat().st_size:,} of {int(expected):,} bytes: try again"
        )
