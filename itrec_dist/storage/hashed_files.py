"""Hashes files while they are written or read, so that no byte is read twice.

Data is flushed to the disk before a writer returns. `Written` records what the file must hold;
`refuse_incomplete` compares it with what the file system reports, without reading the file back:
the bytes would come from the page cache and say nothing about the disk.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from itrec_dist.errors import CheckpointError

Bytes = bytes | memoryview

_CHUNK = 8 * 2**20


@dataclass(frozen=True)
class Written:
    """Checksum and size of what was written to a file."""

    sha256: str
    size: int
    """Bytes."""


class Writer:
    """An open file; see `writing`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self._size = file, hashlib.sha256(), 0

    def write(self, content: Bytes) -> None:
        """Append `content`, in chunks small enough to be hashed from the CPU's cache."""
        view = memoryview(content)
        for start in range(0, len(view), _CHUNK):
            chunk = view[start : start + _CHUNK]
            self._hash.update(chunk)
            self._file.write(chunk)
        self._size += len(view)

    @property
    def written(self) -> Written:
        """Checksum and size so far."""
        return Written(self._hash.hexdigest(), self._size)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Open a new file for writing; on leaving the block it is flushed to the disk.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as file:
        yield Writer(file)
        file.flush()
        os.fsync(file.fileno())


def write(path: Path, content: Bytes) -> Written:
    """Write a file from memory.

    Raises:
        OSError: the file cannot be written.
    """
    with writing(path) as file:
        file.write(content)
    return file.written


def copy(source: Path, path: Path) -> Written:
    """Copy a file.

    Raises:
        OSError: the source cannot be read or the copy cannot be written.
    """
    with source.open("rb") as origin, writing(path) as file:
        while chunk := origin.read(_CHUNK):
            file.write(chunk)
    return file.written


def refuse_incomplete(folder: Path, written: Mapping[str, Written]) -> None:
    """Refuse a folder in which a written file is missing or has lost bytes.

    Raises:
        CheckpointError: the message names the first such file.
    """
    for name, file in written.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            raise CheckpointError(f"{path} is missing: the checkpoint is incomplete")
        if size != file.size:
            raise CheckpointError(
                f"{path} is damaged: it has {size} bytes, {file.size} were written"
            )


def read_into(path: Path, buffer: memoryview) -> str:
    """Fill `buffer`, which is as long as the file, and return the file's SHA-256.

    Raises:
        OSError: the file cannot be read, or is shorter than the buffer.
    """
    digest, start = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while start < len(buffer):
            count = file.readinto(buffer[start : start + _CHUNK])
            if not count:
                raise OSError(f"{path} ends after {start} bytes")
            digest.update(buffer[start : start + count])
            start += count
    return digest.hexdigest()


def read(path: Path, checksum: str | None = None) -> bytes:
    """Read a small file, and compare it with the recorded checksum if there is one.

    Raises:
        CheckpointError: the file is missing, cannot be read, or has another checksum.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: the checkpoint is incomplete") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if checksum is not None:
        refuse_wrong_checksum(path, hashlib.sha256(content).hexdigest(), checksum)
    return content


def verify(path: Path, checksum: str) -> None:
    """Read a file of any size and compare it with the recorded checksum.

    Raises:
        CheckpointError: the file is missing, cannot be read, or has another checksum.
    """
    try:
        digest = sha256(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: the checkpoint is incomplete") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    refuse_wrong_checksum(path, digest, checksum)


def refuse_wrong_checksum(path: Path, digest: str, recorded: str) -> None:
    """Refuse a file whose checksum differs from the recorded one.

    Raises:
        CheckpointError: they differ; the message names the file.
    """
    if digest != recorded:
        raise CheckpointError(f"{path} is damaged: its checksum is not the recorded one")


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
