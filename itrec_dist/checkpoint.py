"""Checkpoints for people to use: weights, configuration, item table, fingerprint. No pickles.

    CHECKPOINT/
      model.safetensors   the weights of the task's model
      config.yaml         the resolved configuration of the run
      manifest.json       the manifest of the data it was trained on
      items.parquet       the item table that its output columns stand for
      checkpoint.json     format version, epoch, step, fingerprint, checksum of the weights
      state/              in `last` alone: what training goes on from, see training_state.py

A folder appears whole or not at all; a damaged, foreign or newer one is refused in a sentence.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from itrec_dist import outputs, tensor_files
from itrec_dist.errors import CheckpointError
from itrec_dist.schema import ITEMS_FILE, MANIFEST_FILE

FORMAT_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
RECORD_FILE = "checkpoint.json"
STATE_FOLDER = "state"


@dataclass(frozen=True)
class Record:
    """What `checkpoint.json` says."""

    epoch: int
    """Epochs that are finished; `last` may stand in the middle of the next one."""
    step: int
    fingerprint: str
    monitor: dict[str, float]
    weights_sha256: str = ""
    format_version: int = FORMAT_VERSION


def save(
    folder: Path, weights: Mapping[str, torch.Tensor], record: Record, beside: Path, items: Path,
    state: Path | None = None,
) -> None:  # fmt: skip
    """Write a checkpoint, replacing the one in its place as a whole.

    Args:
        folder: where the checkpoint shall stand.
        weights: of the task's model, by name.
        record: epoch, step and figures; checksum and version are filled in.
        beside: the run directory, whose config.yaml and manifest.json are copied.
        items: the item table to copy.
        state: a complete training state on the same disk, which is moved into the checkpoint.

    Raises:
        OutputError: it cannot be written, as on a full disk; what stood in its place still does.
    """
    with outputs.new_directory(folder, marker=RECORD_FILE, overwrite=True) as building:
        path = building / WEIGHTS_FILE
        tensor_files.write(path, weights)
        shutil.copyfile(beside / CONFIG_FILE, building / CONFIG_FILE)
        shutil.copyfile(beside / MANIFEST_FILE, building / MANIFEST_FILE)
        shutil.copyfile(items, building / ITEMS_FILE)
        if state is not None:
            state.rename(building / STATE_FOLDER)
        content = asdict(record) | {"weights_sha256": tensor_files.sha256(path)}
        outputs.write_json(building / RECORD_FILE, content)


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
        return Record(**content)
    except TypeError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def read_weights(folder: Path) -> tuple[Record, dict[str, torch.Tensor]]:
    """What a checkpoint says of itself, and its weights by name.

    Raises:
        CheckpointError: the checkpoint is damaged or incomplete.
    """
    record = read_record(folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS_FILE}: the checkpoint is incomplete")
    if tensor_files.sha256(path) != record.weights_sha256:
        raise CheckpointError(f"{path} is damaged: its checksum is not the recorded one")
    return record, tensor_files.read(path)


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
