"""Writes checkpoints in the background: one at a time, in a thread of worker 0.

Training waits for the copy of its state, and for the previous checkpoint if that is still being
written. An error is raised when the next checkpoint is started, or at the end. A process that exits
normally waits for the write in progress; one that is killed leaves the previous checkpoint.
"""

import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.errors import CheckpointError, ItrecError, OutputError, ShardsError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import retention, training_state
from itrec_dist.runs.checkpoints.format import Record
from itrec_dist.runs.checkpoints.parts import Parts
from itrec_dist.runs.checkpoints.training_state import Position, Provenance
from itrec_dist.runs.directory import BEST, LAST, RunDirectory
from itrec_dist.storage import atomic


@dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are written, and how many are kept."""

    steps: int | None = None
    """Also save the checkpoint `last` after every so many updates; null saves only at the end of
    each epoch."""
    keep_last: int = 1
    """Number of newest checkpoints to keep: `last`, and earlier ones as last-STEP."""
    keep_best: int = 1
    """Number of best epochs to keep: `best`, and earlier best ones as best-STEP."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"checkpoints.steps={self.steps} must be at least 1, or null")
        if self.keep_last < 1 or self.keep_best < 1:
            raise ValueError(
                f"checkpoints.keep_last={self.keep_last} and checkpoints.keep_best="
                f"{self.keep_best} must be at least 1"
            )

    @property
    def keeps(self) -> dict[str, int]:
        """How many of each kind of checkpoint to keep."""
        return {LAST: self.keep_last, BEST: self.keep_best}


@dataclass(frozen=True)
class Snapshot:
    """The content of the checkpoints of one moment, in copies that no later update changes."""

    kinds: Sequence[str]
    """The checkpoints to write: LAST, or BEST and LAST."""
    at: Position
    provenance: Provenance
    figures: Mapping[str, float]
    weights: Mapping[str, torch.Tensor]
    optimizer: OptimizerState
    workers: Mapping[str, Sequence[torch.Tensor]]
    """What `training_state.worker_state` returned on each worker."""
    parts: Parts | None = None
    """Sharded item vectors and what the optimiser keeps of them, already written."""
    tables: Mapping[str, int] = field(default_factory=dict)
    """The tables in them; see `Record.tables`."""


class CheckpointWriter:
    """Writes snapshots into a run directory, one at a time."""

    def __init__(
        self, run: RunDirectory, items: Path, config: CheckpointConfig,
        afterwards: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """Write into `run`, with the item table `items`.

        The table is read once: its shards may be out of reach, or windowed anew, by the time of a
        checkpoint. `afterwards` is called in the writer's thread after each snapshot.

        Raises:
            ShardsError: the item table cannot be read.
        """
        self._run = run
        try:
            self._items = items.read_bytes()
        except OSError as error:
            raise ShardsError(f"{items} cannot be read: {error.strerror or error}") from error
        self._keep = config.keeps
        self._afterwards = afterwards
        # Not a daemon thread: the interpreter waits for it before it exits.
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "itrec-checkpoint")
        self._in_progress: concurrent.futures.Future[None] | None = None
        self.saved_step = 0
        """The step of `last`."""

    def start(self, snapshot: Snapshot) -> None:
        """Start writing; the previous snapshot must be finished, see `wait`."""
        assert self._in_progress is None
        self._in_progress = self._pool.submit(self._write, snapshot)

    def wait(self) -> None:
        """Wait until the current snapshot is written.

        Raises:
            OutputError: it could not be written; older checkpoints are unchanged.
        """
        in_progress, self._in_progress = self._in_progress, None
        if in_progress is not None:
            in_progress.result()

    def close(self) -> str | None:
        """Wait and stop; returns a sentence if the last snapshot was not written."""
        try:
            self.wait()
        except ItrecError as error:
            return str(error)
        finally:
            self._pool.shutdown()
        return None

    def _write(self, snapshot: Snapshot) -> None:
        """Write `best` before `last`: a run stopped between the two trains the epoch again."""
        try:
            for kind in sorted(snapshot.kinds):
                self._write_one(kind, snapshot)
            self.saved_step = snapshot.at.step
        except (OSError, OutputError, CheckpointError) as error:
            raise OutputError(self._explain(error, snapshot.at)) from error
        finally:
            if snapshot.parts is not None:
                atomic.remove(snapshot.parts.folder)
        if self._afterwards is not None:
            self._afterwards()

    def _write_one(self, kind: str, snapshot: Snapshot) -> None:
        at = snapshot.at
        record = Record(at.epoch, at.step, snapshot.provenance.fingerprint, dict(snapshot.figures),
                        tables=dict(snapshot.tables))  # fmt: skip

        def fill(folder: Path) -> None:
            there = snapshot.parts.place(folder) if snapshot.parts else {}
            if kind == LAST:
                there |= training_state.write(
                    folder, snapshot.workers, snapshot.optimizer, at, snapshot.provenance,
                    snapshot.parts,
                )  # fmt: skip
            checkpoint_format.write(
                folder, snapshot.weights, record, self._run.path, self._items, there
            )

        retention.put(self._run.checkpoints, kind, at.step, self._keep[kind], fill)

    def _explain(self, error: Exception, at: Position) -> str:
        reason = str(error)
        if isinstance(error, OSError):
            reason = f"cannot write {self._run.checkpoints}: {error.strerror or error}"
        step = self.saved_step
        hint = f"step {step} is kept: --resume continues from it" if step else "start again"
        return (
            f"the checkpoint of step {at.step} is lost, {reason}; {hint} once that folder can be "
            "written"
        )
