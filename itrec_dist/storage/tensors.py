"""Tensors on disk: written, checked and read as safetensors, which hold no code to run."""

import errno
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from itrec_dist.errors import CheckpointError


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors, from whatever device, and make sure that they have reached the disk.

    Raises:
        OSError: the file cannot be written; the library's own error hides which kind it is.
    """
    on_cpu = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        safetensors.torch.save_file(on_cpu, path)
    except safetensors.SafetensorError as error:
        told = re.search(r"\(os error (\d+)\)", str(error))
        number = int(told.group(1)) if told else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors to the CPU.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: the checkpoint is incomplete") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def sha256(path: Path) -> str:
    """The checksum that is recorded beside a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
