"""Reads and writes tensors as safetensors, hashing the file on the way.

With the safetensors package, `save_file` and `load_file` would need a second reading of the file
for its hash, and `save` and `load` hold everything in memory twice. The format is simple enough to
stream: the length of a JSON header, the header, and the bytes of each tensor. Files are identical
to the package's, byte for byte. No file holds code.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from itrec_dist.errors import CheckpointError
from itrec_dist.storage import hashed_files
from itrec_dist.storage.hashed_files import Written

# In reverse of the order in which the format sorts tensors, then by name: wide types come before
# narrow ones, so that every tensor starts at a multiple of its element's size.
_DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn, "I16": torch.int16, "U16": torch.uint16, "F16": torch.float16,
    "BF16": torch.bfloat16, "I32": torch.int32, "U32": torch.uint32, "F32": torch.float32,
    "C64": torch.complex64, "F64": torch.float64, "I64": torch.int64, "U64": torch.uint64,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_RANKS = {name: rank for rank, name in enumerate(_DTYPES)}
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, struct.error)


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> Written:
    """Write tensors, from any device, and flush them to the disk.

    Raises:
        OSError: the file cannot be written.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-_RANKS[_NAMES[item[1].dtype]], item[0]))
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with hashed_files.writing(path) as file:
        file.write(_LENGTH.pack(len(text)))
        file.write(text)
        for _, tensor in ordered:
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)
    return file.written


def read(path: Path, checksum: str | None = None) -> dict[str, torch.Tensor]:
    """Read tensors to the CPU, and compare the file with the recorded checksum if there is one.

    They are views of one buffer of the file's size.

    Raises:
        CheckpointError: the file is missing, damaged, or has another checksum.
    """
    try:
        buffer = torch.empty(path.stat().st_size, dtype=torch.uint8)
        digest = hashed_files.read_into(path, buffer.numpy().data)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: the checkpoint is incomplete") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if checksum is not None:
        hashed_files.refuse_wrong_checksum(path, digest, checksum)
    try:
        return _views(buffer)
    except _MALFORMED as error:
        raise _damaged(path, error) from error


def mapped(path: Path) -> dict[str, torch.Tensor]:
    """Map tensors into memory, where their pages are read when they are used; not to be changed.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        size = path.stat().st_size
        buffer = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
        return _views(buffer)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: the checkpoint is incomplete") from error
    except (OSError, *_MALFORMED) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return CheckpointError(f"{path} is damaged: it is not a safetensors file ({reason})")


def _views(buffer: torch.Tensor) -> dict[str, torch.Tensor]:
    raw = buffer.numpy().data
    (length,) = _LENGTH.unpack(raw[: _LENGTH.size])
    start = _LENGTH.size + length
    if start > len(raw):
        raise ValueError(f"a header of {length} bytes in a file of {len(raw)}")
    data, tensors, covered = buffer[start:], {}, 0
    for name, entry in json.loads(bytes(raw[_LENGTH.size : start])).items():
        if name == "__metadata__":
            continue
        (first, last), shape = entry["data_offsets"], [int(size) for size in entry["shape"]]
        dtype = _DTYPES[entry["dtype"]]
        if not 0 <= first <= last <= len(data) or last - first != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} has bytes {first} to {last} of {len(data)}")
        part = data[first:last]
        if (start + first) % dtype.itemsize:
            part = part.clone()
        tensors[name] = part.view(dtype).reshape(shape)
        covered += last - first
    if covered != len(data):
        raise ValueError(f"{covered} of {len(data)} bytes belong to a tensor")
    return tensors
