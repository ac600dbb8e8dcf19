"""The full state of a training run, saved beside the weights in `checkpoints/last/state/`.

    state/
      state.json            format version, position, provenance, checksum of each other file
      workers.safetensors   of each worker: random states, and its part of the epoch's loss
      optimizer.*           optimiser, schedule and loss scaling, see engines/optimizer_state.py
      items-*               what it keeps of sharded item vectors, see parts.py

The next step depends only on this and the weights: the order of windows follows from the seed and
the epoch. The format is the same for every engine. No file holds code.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from itrec_dist.distributed.context import WorkerContext
from itrec_dist.engines import optimizer_state
from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.errors import CheckpointError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints.format import STATE_FOLDER as FOLDER
from itrec_dist.runs.checkpoints.format import Record
from itrec_dist.runs.checkpoints.parts import Parts
from itrec_dist.runs.checkpoints.parts import names as part_names
from itrec_dist.storage import atomic, hashed_files
from itrec_dist.storage import tensors as tensor_files
from itrec_dist.storage.hashed_files import Written

FORMAT_VERSION = 2
"""The version of state.json and the files beside it; checkpoint.json has its own."""
RECORD_FILE = "state.json"
WORKERS_FILE = "workers.safetensors"


@dataclass(frozen=True)
class Position:
    """The position of training."""

    epoch: int = 0
    """Finished epochs."""
    batches: int = 0
    """Finished batches of the current epoch."""
    step: int = 0
    """Updates in total."""
    seconds: float = 0.0
    """Time spent on the current epoch."""
    loss: float = 0.0
    """Summed loss of this worker's windows in the current epoch."""
    best: float | None = None
    """Best monitored figure so far."""
    best_epoch: int = 0
    """The epoch of the best figure; 0 if no epoch is finished."""
    skipped: int = 0
    """Batches skipped in total because their loss was not finite."""
    skipped_in_epoch: int = 0
    """Batches skipped in the current epoch."""
    skipped_windows: int = 0
    """Windows in the batches skipped in the current epoch, over all workers."""
    in_a_row: int = 0
    """Batches skipped since the last update."""


@dataclass(frozen=True)
class Provenance:
    """The engine, worker count and data that produced a state."""

    engine: str
    world_size: int
    fingerprint: str
    """The data's fingerprint."""
    is_streamed: bool
    """Whether windows were shuffled while they were read, not permuted in memory."""


@dataclass(frozen=True)
class State:
    """The content of `state.json`."""

    folder: Path
    position: Position
    provenance: Provenance
    files: Mapping[str, str]
    """SHA-256 of each other file by name."""


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint `last` in memory, verified: everything that training resumes from.

    Sharded item vectors are verified too, but stay in their files.
    """

    record: Record
    state: State
    weights: Mapping[str, torch.Tensor]
    optimizer: OptimizerState
    workers: Mapping[str, torch.Tensor]
    """The workers' states by name, stacked over workers; see `worker_state`."""


def worker_state(position: Position, device: torch.device) -> dict[str, torch.Tensor]:
    """A worker's own state: its random states and its part of the epoch's loss."""
    tensors = {
        "random/cpu": torch.get_rng_state(),
        "loss": torch.tensor([position.loss], dtype=torch.float64),
    }
    if device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def write(
    checkpoint: Path, workers: Mapping[str, Sequence[torch.Tensor]], optimizer: OptimizerState,
    position: Position, provenance: Provenance, parts: Parts | None = None,
) -> dict[str, Written]:  # fmt: skip
    """Write the training state into a checkpoint's folder; returns its files by path.

    Args:
        checkpoint: the folder in which `state` is created.
        workers: what `worker_state` returned on each worker, in the order of ranks.
        optimizer: the engine's state.
        position: worker 0's position; what differs between workers is in `workers`.
        provenance: what produced the state.
        parts: what the optimiser keeps of sharded item vectors, of all workers.

    Raises:
        OSError: a file cannot be written.
    """
    folder = checkpoint / FOLDER
    folder.mkdir()
    stacked = {name: torch.stack(list(parts)) for name, parts in workers.items()}
    written = optimizer_state.write(folder, optimizer)
    written[WORKERS_FILE] = tensor_files.write(folder / WORKERS_FILE, stacked)
    if parts is not None:
        written |= parts.place_state(folder)
    content = {
        "format_version": FORMAT_VERSION,
        "position": asdict(position) | {"loss": None},  # each worker has its own
        "made": asdict(provenance),
        "files": {name: file.sha256 for name, file in sorted(written.items())},
    }
    text = atomic.json_text(content).encode()
    written[RECORD_FILE] = hashed_files.write(folder / RECORD_FILE, text)
    return {f"{FOLDER}/{name}": file for name, file in written.items()}


def read(checkpoint: Path, checksum: str | None = None) -> State:
    """Read a checkpoint's `state.json`, and compare it with its checksum if one is given.

    Raises:
        CheckpointError: there is none, it is damaged, or of another format version.
    """
    folder = checkpoint / FOLDER
    path = folder / RECORD_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{checkpoint} holds no training state to resume from (no {FOLDER}/{RECORD_FILE})"
        )
    raw = hashed_files.read(path, checksum)
    try:
        content = json.loads(raw)
        version = content.get("format_version")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder} has training state format {version!r}, this version reads {FORMAT_VERSION}"
        )
    try:
        position = Position(**content["position"] | {"loss": 0.0})
        provenance = Provenance(**content["made"])
        files = dict(content["files"])
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return State(folder, position, provenance, files)


def verify(checkpoint: Path) -> tuple[Record, State]:
    """Compare every file of a checkpoint `last` with its checksum, without loading it.

    Raises:
        CheckpointError: a file is damaged or missing, or there is no training state.
    """
    record, state = _read_records(checkpoint)
    read_already = {checkpoint_format.STATE_RECORD}
    checkpoint_format.verify(checkpoint, except_for=read_already, record=record)
    for name, checksum in state.files.items():
        hashed_files.verify(state.folder / name, checksum)
    return record, state


def compare(checkpoint: Path, checksums: Mapping[str, str]) -> None:
    """Compare the checksums of received files with those recorded in `state.json`.

    Args:
        checkpoint: a folder that holds all of them.
        checksums: SHA-256 by path in the checkpoint.

    Raises:
        CheckpointError: a file is damaged or missing.
    """
    state = read(checkpoint)
    for name, recorded in state.files.items():
        path = state.folder / name
        if f"{FOLDER}/{name}" not in checksums:
            raise CheckpointError(f"{path} is missing: the checkpoint is incomplete")
        hashed_files.refuse_wrong_checksum(path, checksums[f"{FOLDER}/{name}"], recorded)


def load(checkpoint: Path) -> ResumePoint:
    """Read a checkpoint `last` into memory; each file is read once and verified on the way.

    Raises:
        CheckpointError: a file is damaged or missing, or there is no training state.
    """
    record, state = _read_records(checkpoint)
    loaded = {checkpoint_format.STATE_RECORD, checkpoint_format.WEIGHTS_FILE}
    checkpoint_format.verify(checkpoint, except_for=loaded, record=record)
    weights = checkpoint_format.read_weights(checkpoint, record, is_whole=False)
    for name in part_names(state.files):
        hashed_files.verify(state.folder / name, state.files[name])
    optimizer = optimizer_state.read(state.folder, state.files)
    path = state.folder / WORKERS_FILE
    workers = tensor_files.read(path, _recorded(state, WORKERS_FILE))
    return ResumePoint(record, state, weights, optimizer, workers)


def _read_records(checkpoint: Path) -> tuple[Record, State]:
    record = checkpoint_format.read_record(checkpoint)
    state = read(checkpoint, record.files.get(checkpoint_format.STATE_RECORD))
    for name in (WORKERS_FILE, optimizer_state.TENSORS_FILE, optimizer_state.PLAIN_FILE):
        _recorded(state, name)
    return record, state


def _recorded(state: State, name: str) -> str:
    if name not in state.files:
        raise CheckpointError(
            f"{state.folder / RECORD_FILE} is damaged: it has no checksum of {name}"
        )
    return state.files[name]


def restore_worker(
    state: State, tensors: Mapping[str, torch.Tensor], context: WorkerContext
) -> float:
    """Restore a worker's random states; returns its part of the epoch's loss.

    If the number of workers has changed, workers whose rank existed before get their random states
    back, new ones keep their seed, and worker 0 takes the whole loss.

    Args:
        state: the state to resume from.
        tensors: the content of its workers.safetensors.
        context: this worker's rank and device.

    Raises:
        CheckpointError: workers.safetensors lacks something.
    """
    rank, before = context.rank, state.provenance.world_size
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
    # Copied: set_rng_state crashes the process if its argument is a view with a storage offset.
    torch.set_rng_state(tensors["random/cpu"][rank].clone())
    if device.type == "cuda" and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"][rank].clone(), device)
