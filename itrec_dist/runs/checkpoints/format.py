"""The format of checkpoints: weights, configuration, item table, fingerprint. No pickles.

    CHECKPOINT/
      model.safetensors   the weights of the task's model
      items-*             the item vectors, if they are sharded: see parts.py
      config.yaml         the resolved configuration of the run
      manifest.json       the manifest of the data it was trained on
      items.parquet       the item table that the model's output columns refer to
      checkpoint.json     format version, epoch, step, fingerprint, checksum of every other file
      state/              only in `last`: the training state, see training_state.py

A checkpoint is written atomically (retention.py). One that is damaged, or of another format
version, is refused with a message that names the file.

Ray's own checkpoints are not used: they are folders that a worker hands to Ray Train, which moves
them, decides which ones to keep, and supports neither `best` and `last` nor a run without Ray.
These are the same files under torchrun, in one process and on Ray, and training does not wait for
them.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from itrec_dist.data.schema import ITEMS_FILE, MANIFEST_FILE
from itrec_dist.errors import CheckpointError
from itrec_dist.runs.checkpoints import parts
from itrec_dist.storage import atomic, hashed_files
from itrec_dist.storage import tensors as tensor_files
from itrec_dist.storage.hashed_files import Written

FORMAT_VERSION = 2
"""The version of checkpoint.json and the files beside it."""
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
RECORD_FILE = "checkpoint.json"
STATE_FOLDER = "state"
STATE_RECORD = f"{STATE_FOLDER}/state.json"


@dataclass(frozen=True)
class Record:
    """The content of `checkpoint.json`."""

    epoch: int
    """Finished epochs; `last` may be from the middle of the next one."""
    step: int
    fingerprint: str
    """Of the data."""
    monitor: dict[str, float]
    """The monitored figure by name; empty within an epoch."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each other file by path. Of the training state only its record is listed, which
    in turn lists the state's files."""
    format_version: int = FORMAT_VERSION
    tables: dict[str, int] = field(default_factory=dict)
    """The tables in parts of their own, and how many empty rows each begins with where a model has
    it whole; not written where there are none."""


def write(
    folder: Path, weights: Mapping[str, torch.Tensor], record: Record, beside: Path, items: bytes,
    there: Mapping[str, Written] | None = None,
) -> None:  # fmt: skip
    """Write a checkpoint into a folder, its record last, and check that it is complete.

    Args:
        folder: a folder that holds nothing, or only what `there` says.
        weights: of the task's model, by name.
        record: epoch, step and figures; checksums are filled in.
        beside: the run directory, whose config.yaml and manifest.json are copied.
        items: the content of the item table.
        there: the files that it holds already, by their paths: of the training state, and parts.

    Raises:
        OSError: a file cannot be written.
        CheckpointError: a file has vanished or lost bytes since it was written.
    """
    own = {
        WEIGHTS_FILE: tensor_files.write(folder / WEIGHTS_FILE, weights),
        CONFIG_FILE: hashed_files.copy(beside / CONFIG_FILE, folder / CONFIG_FILE),
        MANIFEST_FILE: hashed_files.copy(beside / MANIFEST_FILE, folder / MANIFEST_FILE),
        ITEMS_FILE: hashed_files.write(folder / ITEMS_FILE, items),
    }
    written = {**own, **(there or {})}
    files = {
        name: file.sha256
        for name, file in written.items()
        if name == STATE_RECORD or not name.startswith(f"{STATE_FOLDER}/")
    }
    fields = asdict(record) | {"files": files}
    if not record.tables:
        del fields["tables"]
    content = atomic.json_text(fields).encode()
    written[RECORD_FILE] = hashed_files.write(folder / RECORD_FILE, content)
    hashed_files.refuse_incomplete(folder, written)


def read_record(folder: Path) -> Record:
    """Read the record of a checkpoint.

    Raises:
        CheckpointError: there is none, it is damaged, or of another format version.
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


def verify(
    folder: Path, *, except_for: Collection[str] = (), record: Record | None = None
) -> Record:
    """Compare the files of a checkpoint with their checksums; returns its record.

    Of a training state, only the record is compared; see `training_state.verify`.

    Args:
        folder: the checkpoint.
        except_for: names of files that the caller reads and compares, or does not need.
        record: the checkpoint's record, if it was already read.

    Raises:
        CheckpointError: a file is damaged or missing.
    """
    record = record or read_record(folder)
    for name, checksum in record.files.items():
        if name not in except_for:
            hashed_files.verify(_existing(folder, name), checksum)
    return record


def compare(folder: Path, checksums: Mapping[str, str]) -> Record:
    """Compare the checksums of received files with the recorded ones; returns the record.

    Args:
        folder: the checkpoint.
        checksums: SHA-256 by path; a training state may be missing as a whole.

    Raises:
        CheckpointError: a file is damaged or missing.
    """
    record = read_record(folder)
    has_state = any(name.startswith(f"{STATE_FOLDER}/") for name in checksums)
    for name, recorded in record.files.items():
        if name in checksums:
            hashed_files.refuse_wrong_checksum(folder / name, checksums[name], recorded)
        elif has_state or name != STATE_RECORD:
            _existing(folder, name)
    return record


def read_weights(
    folder: Path, record: Record | None = None, *, is_whole: bool = True
) -> dict[str, torch.Tensor]:
    """Read a checkpoint's weights by name.

    Args:
        folder: the checkpoint.
        record: its record, if it was already read.
        is_whole: also read tables that are in parts, each into one place.

    Raises:
        CheckpointError: the record or the weights are damaged or missing.
    """
    record = record or read_record(folder)
    weights = tensor_files.read(_existing(folder, WEIGHTS_FILE), record.files[WEIGHTS_FILE])
    if is_whole and record.tables:
        for name in parts.names(record.files):
            hashed_files.verify(_existing(folder, name), record.files[name])
        tables = parts.mapped(folder, record.files)
        for name, padding in record.tables.items():
            weights[name] = parts.whole(tables, name, padding)
    return weights


def load_weights(folder: Path, module: nn.Module, *, is_whole: bool = True) -> Record:
    """Load all weights of `module`; returns the checkpoint's record.

    Without `is_whole` the module has the tables that are in parts elsewhere.

    Raises:
        CheckpointError: the weights are damaged, or belong to a module of another shape.
    """
    record = read_record(folder)
    weights = read_weights(folder, record, is_whole=is_whole)
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        path = folder / WEIGHTS_FILE
        raise CheckpointError(f"{path} does not fit its configuration: {reason}") from error
    return record


def _existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {name}: the checkpoint is incomplete")
    return path
