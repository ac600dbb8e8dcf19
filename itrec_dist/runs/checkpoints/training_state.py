"""The full state of a training run, which stands beside the weights in `checkpoints/last/state/`.

    state/
      state.json            format version, position, how it was made, checksum of each file
      workers.safetensors   of each worker: random states, its share of the epoch's loss
      optimizer.*           optimiser, schedule and loss scaling, see engines/optimizer_state.py

With the weights beside it, this is all that a step depends on: the order of windows follows from
the seed and the epoch alone. It is the same for every engine. No file holds code.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from itrec_dist.distributed.context import WorkerContext
from itrec_dist.engines import optimizer_state
from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.errors import CheckpointError
from itrec_dist.runs.checkpoints.format import STATE_FOLDER as FOLDER
from itrec_dist.storage import atomic
from itrec_dist.storage import tensors as tensor_files

FORMAT_VERSION = 2
RECORD_FILE = "state.json"
WORKERS_FILE = "workers.safetensors"


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
    skipped: int = 0
    """Batches in all that were left out because their loss was not finite."""
    skipped_in_epoch: int = 0
    """Of these, batches of the epoch that `batches` belong to."""
    skipped_windows: int = 0
    """Their windows, over all workers."""
    in_a_row: int = 0
    """Batches that were left out since the last update."""


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


def worker_state(position: Position, device: torch.device) -> dict[str, torch.Tensor]:
    """A worker's own part: its random states and its share of the epoch's loss."""
    tensors = {
        "random/cpu": torch.get_rng_state(),
        "loss": torch.tensor([position.loss], dtype=torch.float64),
    }
    if device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def write(
    folder: Path, workers: Mapping[str, Sequence[torch.Tensor]], optimizer: OptimizerState,
    position: Position, made: Made,
) -> None:  # fmt: skip
    """Write a training state into `folder`, `state.json` last.

    Args:
        folder: where it shall stand; it is there and empty.
        workers: what `worker_state` gave on each worker, in the order of ranks.
        optimizer: the engine's state.
        position: of worker 0; what differs between workers stands in `workers`.
        made: how it came about.

    Raises:
        OSError: a file cannot be written.
    """
    stacked = {name: torch.stack(list(parts)) for name, parts in workers.items()}
    tensor_files.write(folder / WORKERS_FILE, stacked)
    optimizer_state.write(folder, optimizer)
    files = sorted(p for p in folder.iterdir() if p.is_file())
    content = {
        "format_version": FORMAT_VERSION,
        "position": asdict(position) | {"loss": None},  # it is the workers' own
        "made": asdict(made),
        "files": {p.name: tensor_files.sha256(p) for p in files},
    }
    atomic.write_json(folder / RECORD_FILE, content)


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


def restore_worker(
    state: State, tensors: Mapping[str, torch.Tensor], context: WorkerContext
) -> float:
    """Take up a worker's random states; returns its share of the epoch's loss.

    With another number of workers than before, those that were there keep their random states,
    new ones keep what they are seeded with, and the first takes the whole loss.

    Args:
        state: what is gone on from.
        tensors: what stands in its file of the workers.
        context: whose rank and device are taken.

    Raises:
        CheckpointError: the workers' file does not hold what it should.
    """
    rank, before = context.rank, state.made.world_size
    try:
        losses = tensors["loss"].flatten().tolist()
        if len(losses) != before:
            raise CheckpointError(f"{state.folder / WORKERS_FILE} is not of {before} workers")
        if rank < before:
            _set_random_states(tensors, rank, context.device)
    except (KeyError, RuntimeError, IndexError) as error:
        raise CheckpointError(f"{state.folder / WORKERS_FILE} is damaged: {error}") from error
    if context.world_size == before:
        return float(losses[rank])
    return float(sum(losses)) if rank == 0 else 0.0


def _set_random_states(
    tensors: Mapping[str, torch.Tensor], rank: int, device: torch.device
) -> None:
    # Copied: handed a view with an offset into its storage, set_rng_state crashes the process.
    torch.set_rng_state(tensors["random/cpu"][rank].clone())
    if device.type == "cuda" and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"][rank].clone(), device)


def _verify(folder: Path, files: dict[str, Any]) -> None:
    for name, checksum in files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: the checkpoint is incomplete")
        if tensor_files.sha256(path) != checksum:
            raise CheckpointError(f"{path} is damaged: its checksum is not the recorded one")
