"""Downloads the public MovieLens releases.

Owns the table of releases, and their download: streamed, retried, resumed, verified, and unpacked
atomically. Leaves the meaning of the columns to the sources.

The checksums of the six fixed releases are pinned here, as published by GroupLens beside the
archives. `ml-latest-small` changes over time and has no pinned checksum: its archive is compared
with the `.md5` file that the publisher serves at that time, which detects a damaged download but
not a changed release.
"""

import contextlib
import hashlib
import http.client
import re
import shutil
import stat
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from itrec_dist.errors import ConfigError, DataError, EnvironmentProblem
from itrec_dist.storage import atomic

T = TypeVar("T")

PUBLISHER_URL = "https://files.grouplens.org/datasets/movielens"
MIRROR_VARIABLE = "ITREC_MOVIELENS_URL"
"""The environment variable that names a mirror of it."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and the bytes expected (None if the server does not say)."""

_RESEARCH_ONLY = (
    "for research; no commercial or revenue-bearing use without permission of GroupLens; "
    "acknowledge the use in publications"
)
_KEEP = f"{_RESEARCH_ONLY}; not to be redistributed without separate permission"
_SHARE_ALIKE = f"{_RESEARCH_ONLY}; to be redistributed under the same conditions only"

_TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 18
_MOST_CHECKSUM_BYTES = 4096


@dataclass(frozen=True)
class Release:
    """One public release."""

    name: str
    """Its name for `itrec data get`; its archive is `<name>.zip`."""
    holds: str
    """Its size in words."""
    format: str
    """The `--source` of `itrec window` that reads it."""
    folder: str
    """The archive's top folder, whose content becomes `<to>/<name>/`."""
    ratings_file: str
    """A file that every complete copy contains."""
    terms: str
    """The licence in short; the README in the archive is authoritative."""
    md5: str | None
    """Checksum of the archive; None to compare with the one that the publisher serves."""

    @property
    def archive(self) -> str:
        """Name of the archive under the publisher's URL."""
        return f"{self.name}.zip"


def _release(name: str, holds: str, terms: str, md5: str | None, fmt: str = "ml-csv") -> Release:
    ratings = {"ml-csv": "ratings.csv", "ml-100k": "u.data"}.get(fmt, "ratings.dat")
    folder = "ml-10M100K" if name == "ml-10m" else name
    return Release(name, holds, fmt, folder, ratings, terms, md5)


RELEASES: dict[str, Release] = {
    known.name: known
    for known in (
        _release("ml-1m", "1 M ratings", _KEEP, "c4d9eecfca2ab87c1945afe126590906", "ml-1m"),
        _release("ml-100k", "100 k ratings", _KEEP, "0e33842e24a9c977be4e0107933c0723", "ml-100k"),
        _release("ml-latest-small", "100 k ratings, changes over time", _SHARE_ALIKE, None),
        _release("ml-10m", "10 M ratings", _KEEP, "ce571fd55effeba0271552578f2648bd", "ml-10m"),
        _release("ml-20m", "20 M ratings", _SHARE_ALIKE, "cd245b17a1ae2cc31bb14903e1204af3"),
        _release("ml-25m", "25 M ratings", _SHARE_ALIKE, "6b51fb2759a8657d3bfcbfc42b592ada"),
        _release("ml-32m", "32 M ratings", _SHARE_ALIKE, "d472be332d4daa821edc399621853b57"),
    )
}
"""The releases that can be downloaded, by name."""


def release(name: str) -> Release:
    """The release called `name`.

    Raises:
        ConfigError: there is none; the message lists the known ones.
    """
    if name not in RELEASES:
        raise ConfigError(f"there is no data set {name!r} to get; there are: {', '.join(RELEASES)}")
    return RELEASES[name]


@dataclass(frozen=True)
class Server:
    """Where archives are downloaded from, and how often it is retried."""

    url: str = PUBLISHER_URL
    """URL of the folder with the archives and their `.md5` files."""

    waits: tuple[float, ...] = (1.0, 3.0)
    """Seconds to wait before each retry after a transient error; a retry resumes the download."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(
                "the address of the data sets must begin with http:// or https://, not "
                f"{self.url!r}"
            )

    def address(self, file: str) -> str:
        """The full URL of `file`."""
        return f"{self.url.rstrip('/')}/{file}"


def fetch(
    name: str,
    to: Path,
    *,
    overwrite: bool = False,
    server: Server | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download, verify and unpack the release `name` into the new folder `to/name`; return it.

    Nothing is left behind unless everything succeeded, even if the process is interrupted.

    Raises:
        ConfigError: there is no such release.
        OutputError: the folder already exists, or cannot be written.
        EnvironmentProblem: the server cannot be reached, or does not send the file.
        DataError: the file is damaged or is not the expected archive.
    """
    wanted, place, server = release(name), to / name, server or Server()
    atomic.refuse_taken(place, marker=wanted.ratings_file, overwrite=overwrite)
    with (
        _removing_empty_folders(to),
        atomic.new_directory(place, marker=wanted.ratings_file, overwrite=overwrite) as building,
    ):
        expected = wanted.md5 or _published_md5(wanted, server)
        archive = building / f".{wanted.archive}"
        _download(server, wanted.archive, archive, progress or _silent)
        _check(archive, expected, server.address(wanted.archive))
        _unpack(archive, wanted, building)
        archive.unlink()
    return place


@contextlib.contextmanager
def _removing_empty_folders(to: Path) -> Iterator[None]:
    missing = [folder for folder in (to, *to.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _silent(_received: int, _expected: int | None) -> None:
    """Show no progress."""


class _TransientError(Exception):
    """An error that a retry may not meet; the text describes it."""


def _published_md5(wanted: Release, server: Server) -> str:
    address = server.address(f"{wanted.archive}.md5")
    text = _with_retries(server, address, lambda: _read_small(address))
    found = re.search(r"\b[0-9a-f]{32}\b", text.lower())
    if found is None:
        raise DataError(
            f"{address} holds no MD5 checksum, so {wanted.archive} cannot be checked and was not "
            "fetched: try again later, or get one of the fixed releases"
        )
    return found.group()


def _read_small(address: str) -> str:
    with _open(urllib.request.Request(address)) as response, _network_errors():
        content: bytes = response.read(_MOST_CHECKSUM_BYTES)
    return content.decode("ascii", errors="replace")


def _download(server: Server, file: str, target: Path, progress: Progress) -> None:
    address = server.address(file)
    target.touch()
    _with_retries(server, address, lambda: _append_rest(address, target, progress))


def _append_rest(address: str, target: Path, progress: Progress) -> None:
    """Receive the rest of `target`; start again if the server cannot resume."""
    have = target.stat().st_size
    request = urllib.request.Request(address)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with _open(request) as response:
        continues = have > 0 and response.status == http.HTTPStatus.PARTIAL_CONTENT
        received = have if continues else 0
        announced = response.headers.get("Content-Length")
        expected = received + int(announced) if announced and announced.isdigit() else None
        with target.open("ab" if continues else "wb") as file:
            progress(received, expected)
            while True:
                with _network_errors():
                    chunk = response.read(_CHUNK_BYTES)
                if not chunk:
                    break
                file.write(chunk)
                received += len(chunk)
                progress(received, expected)
    if expected is not None and received < expected:
        raise _TransientError(f"the connection ended after {received:,} of {expected:,} bytes")


@contextlib.contextmanager
def _network_errors() -> Iterator[None]:
    """Distinguish errors of the network from those of the disk: both are OSError."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise _TransientError(_reason(error)) from error


@contextlib.contextmanager
def _open(request: urllib.request.Request) -> Iterator[http.client.HTTPResponse]:
    request.add_header("User-Agent", "itrec-dist")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"the server answered {error.code} {error.reason}"
        if error.code in (408, 429) or error.code >= 500:
            raise _TransientError(answer) from error
        raise EnvironmentProblem(
            f"cannot get {request.full_url}: {answer}: check the address, or try again later"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _TransientError(_reason(error)) from error
    with response:
        yield response


def _with_retries(server: Server, address: str, attempt: Callable[[], T]) -> T:
    fault = None
    for wait in (0.0, *server.waits):
        time.sleep(wait)
        try:
            return attempt()
        except _TransientError as error:
            fault = error
    raise EnvironmentProblem(
        f"cannot get {address}: {fault} ({len(server.waits) + 1} tries): check the network, or "
        "make a data set that needs none with `itrec data make`"
    ) from fault


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    if isinstance(inner, TimeoutError):
        return f"no answer within {_TIMEOUT_SECONDS:g} seconds"
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return str(text)[:1].lower() + str(text)[1:]


def _check(archive: Path, expected: str, address: str) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise DataError(
            f"{address} has MD5 {found}, {expected} was expected: the download is damaged or is "
            "another release; try again, and if the MD5 stays the same do not use it"
        )


def _unpack(archive: Path, wanted: Release, into: Path) -> None:
    """Unpack the archive's top folder; refuse the archive if a member points elsewhere."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                parts = _safe_parts(member, archive.name)
                if parts[0] != wanted.folder or member.is_dir() or len(parts) == 1:
                    continue
                target = into.joinpath(*parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as packed, target.open("xb") as file:
                    shutil.copyfileobj(packed, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(
            f"{wanted.archive} cannot be unpacked ({error}): it is damaged; try again"
        ) from error
    if not (into / wanted.ratings_file).is_file():
        raise DataError(
            f"{wanted.archive} holds no {wanted.folder}/{wanted.ratings_file}: it is not the "
            "expected release"
        )


def _safe_parts(member: zipfile.ZipInfo, archive: str) -> tuple[str, ...]:
    name = member.filename
    path = PurePosixPath(name)
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    strange = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name
    if strange or is_link or not path.parts:
        raise DataError(
            f"{archive.removeprefix('.')} has a member {name!r} that would be written outside "
            "its folder or is a link: nothing was unpacked, do not use this archive"
        )
    return path.parts
