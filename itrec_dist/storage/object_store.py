"""Folders at a URI: on object stores, HDFS, or any other file system that pyarrow supports.

Owns reading, writing, listing and removing, and the error messages for their failures. Retries are
the file system's own (S3 tries three times, GCS for some time). An object is written atomically,
but a folder is not, and nothing can be renamed: runs/remote.py deals with that.

`pyarrow.fs.copy_files` suits folders that never change; it is not used for runs, whose files are
hashed in transit, and whose checkpoints have a record that must be sent last.
"""

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pyarrow as pa
from pyarrow import fs

from itrec_dist.errors import ConfigError, EnvironmentProblem
from itrec_dist.storage import atomic
from itrec_dist.storage.uri import Uri

P = ParamSpec("P")
T = TypeVar("T")

_CHUNK = 8 * 2**20


def _unreachable(uri: Uri, error: Exception) -> EnvironmentProblem:
    reason = " ".join(str(error).split()).rstrip(".")
    return EnvironmentProblem(f"{uri} cannot be reached: {reason}")


def _explained(act: Callable[P, T]) -> Callable[P, T]:
    """Turn the file system's errors into messages that name the URI."""

    @functools.wraps(act)
    def explained(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return act(*args, **kwargs)
        except (OSError, pa.ArrowException) as error:
            store: Any = args[0]
            raise _unreachable(store.uri, error) from error

    return explained


class Store:
    """A folder at a URI; names in it are relative, with slashes.

    Every call raises EnvironmentProblem if the URI cannot be reached.
    """

    def __init__(self, uri: Uri) -> None:
        """Connect to the file system; the folder need not exist.

        Raises:
            ConfigError: the URI names no file system.
            EnvironmentProblem: its file system cannot be reached.
        """
        self.uri = uri
        self._fs, base = _open(uri)
        self._base = base.rstrip("/")

    def __str__(self) -> str:
        return str(self.uri)

    @_explained
    def files(self, under: str = "") -> dict[str, int]:
        """Size of every file in the folder, or in a subfolder, by name relative to the folder."""
        selector = fs.FileSelector(self._at(under), recursive=True, allow_not_found=True)
        return {
            info.path[len(self._base) + 1 :]: info.size
            for info in self._fs.get_file_info(selector)
            if info.type == fs.FileType.File
        }

    @_explained
    def size(self, name: str) -> int | None:
        """Size of a file in bytes; None if it does not exist."""
        info = self._fs.get_file_info(self._at(name))
        return info.size if info.type == fs.FileType.File else None

    @_explained
    def age(self, name: str) -> float | None:
        """Seconds since a file was written, by the store's clock; None if it does not exist."""
        probe = f".probe-{os.urandom(8).hex()}"
        self._put(b"", probe)
        now, then = self._fs.get_file_info([self._at(probe), self._at(name)])
        self._fs.delete_file(self._at(probe))
        return None if then.mtime is None else (now.mtime - then.mtime).total_seconds()

    @_explained
    def read(self, name: str, start: int = 0) -> bytes | None:
        """The content of a file from a position on; None if it does not exist."""
        try:
            with self._fs.open_input_file(self._at(name)) as file:
                if start >= file.size():
                    return b""
                file.seek(start)
                content: bytes = file.read()
                return content
        except FileNotFoundError:
            return None

    @_explained
    def open(self, name: str) -> pa.NativeFile | None:
        """A file to read at any position, such as a footer; None if it does not exist."""
        try:
            return self._fs.open_input_file(self._at(name))
        except FileNotFoundError:
            return None

    @_explained
    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        self._put(content, name)

    def download(self, name: str, place: Path) -> str:
        """Copy a file to this machine, atomically; returns its SHA-256.

        Raises:
            OutputError: `place` cannot be written.
        """
        digest = hashlib.sha256()
        with atomic.new_file(place) as temporary, temporary.open("wb") as target:
            for chunk in self._chunks(name):
                digest.update(chunk)
                target.write(chunk)
        return digest.hexdigest()

    def download_all(self, folder: Path) -> None:
        """Copy all files to an empty folder on this machine, several at a time.

        Raises:
            OSError: this machine's disk is full.
        """
        try:
            fs.copy_files(
                self._base, str(folder), source_filesystem=self._fs,
                destination_filesystem=fs.LocalFileSystem(),
            )  # fmt: skip
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and atomic.is_full(error):
                raise
            raise _unreachable(self.uri, error) from error
        for path in folder.rglob("*"):
            if path.is_file():
                atomic.flush(path)

    @_explained
    def upload(self, path: Path, name: str) -> None:
        """Copy a file from this machine."""
        with path.open("rb") as source, self._stream(name) as target:
            while chunk := source.read(_CHUNK):
                target.write(chunk)

    @_explained
    def remove(self, name: str) -> None:
        """Remove a file or a folder, if it exists."""
        place = self._at(name)
        kind = self._fs.get_file_info(place).type
        if kind == fs.FileType.File:
            self._fs.delete_file(place)
        elif kind == fs.FileType.Directory:
            self._fs.delete_dir(place)

    def _chunks(self, name: str) -> Iterator[bytes]:
        try:
            with self._fs.open_input_stream(self._at(name)) as source:
                while chunk := source.read(_CHUNK):
                    yield chunk
        except (OSError, pa.ArrowException) as error:
            raise _unreachable(self.uri, error) from error

    def _put(self, content: bytes, name: str) -> None:
        with self._stream(name) as target:
            target.write(content)

    @contextlib.contextmanager
    def _stream(self, name: str) -> Iterator[Any]:
        place = self._at(name)
        if not isinstance(self._fs, (fs.S3FileSystem, fs.GcsFileSystem)):  # those have no folders
            self._fs.create_dir(place.rpartition("/")[0], recursive=True)
        with self._fs.open_output_stream(place) as stream:
            yield stream

    def _at(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base


def _open(uri: Uri) -> tuple[fs.FileSystem, str]:
    asked = str(uri)
    if asked.startswith("s3://"):  # a small file in one request instead of three and a delay
        asked += f"{'&' if '?' in asked else '?'}allow_delayed_open=true"
    try:
        opened: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(asked)
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{uri} names no file system: {reason}; give a path, or a URI of s3, gs, abfs, hdfs "
            "or file"
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise _unreachable(uri, error) from error
    return opened
