"""The full state of a training run, which stands beside the weights in `checkpoints/last/state/`.

    state/
      state.json                 format version, position, how it was made, checksum of each file
      worker-00000.safetensors   one per worker: random states, its share of the epoch's loss
      ...                        what the engine writes: optimiser, schedule, loss scaling

With the weights beside it, this is all that a step depends on: the order of windows follows from
the seed and the epoch alone. No file holds code.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from itrec_dist import outputs, tensor_files
from itrec_dist.checkpoint import STATE_FOLDER as FOLDER
from itrec_dist.errors import CheckpointError, EnvironmentProblem

FORMAT_VERSION = 1
RECORD_FILE = "state.json"


@dataclass(frozen=True)
class Position:
    """How far training has come."""

    epoch: int = 0
    """Epochs that are finished."""
    batches: int = 0
    """Batches that are done in the epoch after them."""
    step: int = 0
    """Updates in all."""
    seconds: float = 0.0
    """Time spent on the epoch that `batches` belong to."""
    loss: float = 0.0
    """Sum of the losses of this worker's windows in these batches."""
    best: float | None = None
    """Best monitored figure so far."""
    best_epoch: int = 0
    """The epoch it belongs to; 0 if none is finished."""


@dataclass(frozen=True)
class Made:
    """How a state came about, to be compared with what shall go on from it."""

    engine: str
    world_size: int
    fingerprint: str
    """Of the data."""
    is_streamed: bool
    """Whether windows were shuffled while they were read, not permuted in memory."""


@dataclass(frozen=True)
class State:
    """What `state.json` says."""

    folder: Path
    position: Position
    made: Made


def write_worker(folder: Path, rank: int, position: Position, device: torch.device) -> None:
    """Write a worker's own part: its random states and its share of the epoch's loss."""
    tensors = {
        "random/cpu": torch.get_rng_state(),
        "loss": torch.tensor(position.loss, dtype=torch.float64),
    }
    if device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(device)
    tensor_files.write(_worker_file(folder, rank), tensors)


def seal(folder: Path, position: Position, made: Made) -> None:
    """Write `state.json` once all workers and the engine have written theirs.

    Raises:
        EnvironmentProblem: a worker's file cannot be seen from here.
    """
    for rank in range(made.world_size):
        if not _worker_file(folder, rank).is_file():
            raise EnvironmentProblem(
                f"worker {rank} wrote no state that worker 0 can see in {folder.parent}: put the "
                "run directory in a folder that all workers share under the same path"
            )
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    content = {
        "format_version": FORMAT_VERSION,
        "position": asdict(position) | {"loss": None},  # it is the workers' own
        "made": asdict(made),
        "files": {p.relative_to(folder).as_posix(): tensor_files.sha256(p) for p in files},
    }
    outputs.write_json(folder / RECORD_FILE, content)


def read(checkpoint: Path, *, verify: bool) -> State:
    """The training state in a checkpoint; with `verify`, after looking at every byte of it.

    Raises:
        CheckpointError: there is none, it is damaged, or a newer version wrote it.
    """
    folder = checkpoint / FOLDER
    path = folder / RECORD_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.get("format_version")
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{checkpoint} holds no training state to go on from (no {FOLDER}/{RECORD_FILE})"
        ) from error
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder} has training state format {version!r}, this version reads {FORMAT_VERSION}"
        )
    try:
        position = Position(**content["position"] | {"loss": 0.0})
        made = Made(**content["made"])
        files = dict(content["files"])
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if verify:
        _verify(folder, files)
    return State(folder, position, made)


def restore_worker(state: State, rank: int, world_size: int, device: torch.device) -> float:
    """Take up a worker's random states; returns its share of the epoch's loss.

    With another number of workers than before, those that were there keep their random states,
    new ones keep what they are seeded with, and the first takes the whole loss.

    Raises:
        CheckpointError: the worker's file is missing or damaged.
    """
    losses = []
    for other in range(state.made.world_size):
        tensors = tensor_files.read(_worker_file(state.folder, other))
        try:
            losses.append(float(tensors["loss"]))
            if other == rank:
                _set_random_states(tensors, device)
        except (KeyError, RuntimeError) as error:
            where = _worker_file(state.folder, other)
            raise CheckpointError(f"{where} is damaged: {error}") from error
    if world_size == state.made.world_size:
        return losses[rank]
    return sum(losses) if rank == 0 else 0.0


def _set_random_states(tensors: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(tensors["random/cpu"])
    if device.type == "cuda" and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"], device)


def _verify(folder: Path, files: dict[str, Any]) -> None:
    for name, checksum in files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: the checkpoint is incomplete")
        if tensor_files.sha256(path) != checksum:
            raise CheckpointError(f"{path} is damaged: its checksum is not the recorded one")


def _worker_file(folder: Path, rank: int) -> Path:
    return folder / f"worker-{rank:05d}.safetensors"
