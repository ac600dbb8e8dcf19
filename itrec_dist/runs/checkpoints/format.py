"""Checkpoints for people to use: weights, configuration, item table, fingerprint. No pickles.

    CHECKPOINT/
      model.safetensors   the weights of the task's model
      config.yaml         the resolved configuration of the run
      manifest.json       the manifest of the data it was trained on
      items.parquet       the item table that its output columns stand for
      checkpoint.json     format version, epoch, step, fingerprint, checksum of every other file
      state/              in `last` alone: what training goes on from, see training_state.py

A folder appears whole or not at all (retention.py); a damaged, foreign or newer one is refused in
a sentence.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from itrec_dist.data.schema import ITEMS_FILE, MANIFEST_FILE
from itrec_dist.errors import CheckpointError
from itrec_dist.storage import atomic
from itrec_dist.storage import tensors as tensor_files

FORMAT_VERSION = 2
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
RECORD_FILE = "checkpoint.json"
STATE_FOLDER = "state"
STATE_RECORD = f"{STATE_FOLDER}/state.json"


@dataclass(frozen=True)
class Record:
    """What `checkpoint.json` says."""

    epoch: int
    """Epochs that are finished; `last` may stand in the middle of the next one."""
    step: int
    fingerprint: str
    monitor: dict[str, float]
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each other file, by its path; the state's own record stands for the state."""
    format_version: int = FORMAT_VERSION


def write(
    folder: Path, weights: Mapping[str, torch.Tensor], record: Record, beside: Path, items: Path,
    state: Path | None = None,
) -> None:  # fmt: skip
    """Write a checkpoint into an empty folder, its record last.

    Args:
        folder: where it is put together.
        weights: of the task's model, by name.
        record: epoch, step and figures; checksums are filled in.
        beside: the run directory, whose config.yaml and manifest.json are copied.
        items: the item table to copy.
        state: a complete training state on the same disk, which is moved into the checkpoint.

    Raises:
        OSError: a file cannot be written.
    """
    tensor_files.write(folder / WEIGHTS_FILE, weights)
    shutil.copyfile(beside / CONFIG_FILE, folder / CONFIG_FILE)
    shutil.copyfile(beside / MANIFEST_FILE, folder / MANIFEST_FILE)
    shutil.copyfile(items, folder / ITEMS_FILE)
    names = [WEIGHTS_FILE, CONFIG_FILE, MANIFEST_FILE, ITEMS_FILE]
    if state is not None:
        state.rename(folder / STATE_FOLDER)
        names.append(STATE_RECORD)
    files = {name: tensor_files.sha256(folder / name) for name in names}
    atomic.write_json(folder / RECORD_FILE, asdict(record) | {"files": files})


def read_record(folder: Path) -> Record:
    """What a checkpoint says of itself.

    Raises:
        CheckpointError: there is none, it is damaged, or a newer version wrote it.
    """
    path = folder / RECORD_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.get("format_version")
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no checkpoint (no {RECORD_FILE})") from error
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder} has checkpoint format {version!r}, this version reads {FORMAT_VERSION}"
        )
    try:
        record = Record(**content)
        missing = {WEIGHTS_FILE, CONFIG_FILE, MANIFEST_FILE, ITEMS_FILE}.difference(record.files)
    except TypeError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if missing:
        raise CheckpointError(f"{path} is damaged: it has no checksum of {min(missing)}")
    return record


def verify(folder: Path, *, state: bool = True) -> Record:
    """What a checkpoint says of itself, after looking at every byte of every file.

    Args:
        folder: the checkpoint.
        state: whether the record of the training state is looked at too, if there is one.

    Raises:
        CheckpointError: the checkpoint is damaged or incomplete.
    """
    record = read_record(folder)
    for name in record.files:
        if state or name != STATE_RECORD:
            _verify_file(folder, name, record)
    return record


def read_weights(folder: Path) -> tuple[Record, dict[str, torch.Tensor]]:
    """What a checkpoint says of itself, and its weights by name.

    Raises:
        CheckpointError: the record or the weights are damaged or missing.
    """
    record = read_record(folder)
    return record, tensor_files.read(_verify_file(folder, WEIGHTS_FILE, record))


def load_weights(folder: Path, module: nn.Module) -> Record:
    """Restore the weights of `module`, every one of them.

    Raises:
        CheckpointError: the weights are damaged, or belong to a module of another shape.
    """
    record, weights = read_weights(folder)
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        path = folder / WEIGHTS_FILE
        raise CheckpointError(f"{path} does not fit its configuration: {reason}") from error
    return record


def _verify_file(folder: Path, name: str, record: Record) -> Path:
    path = folder / name
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {name}: the checkpoint is incomplete")
    if tensor_files.sha256(path) != record.files[name]:
        raise CheckpointError(f"{path} is damaged: its checksum is not the recorded one")
    return path
