"""Checkpoints written while training goes on: one at a time, in a thread of worker 0.

Training stands still for as long as its state is copied, and no longer unless the checkpoint
before is still being written. An error comes out where the next checkpoint is handed in, or at
the end. A process that ends in order waits for the write under way; one that is killed leaves the
checkpoint before it.
"""

import concurrent.futures
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.errors import CheckpointError, ItrecError, OutputError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import retention, training_state
from itrec_dist.runs.checkpoints.format import Record
from itrec_dist.runs.checkpoints.retention import BEST, LAST
from itrec_dist.runs.checkpoints.training_state import Made, Position
from itrec_dist.runs.directory import RunDirectory


@dataclass(frozen=True)
class CheckpointConfig:
    """When a checkpoint is written, and how many stay."""

    steps: int | None = None
    """Save the checkpoint `last` also after every so many updates; null saves at each epoch's
    end alone."""
    keep_last: int = 1
    """Newest checkpoints to keep: `last`, and those before it as last-STEP."""
    keep_best: int = 1
    """Best epochs to keep: `best`, and those that were the best before it as best-STEP."""

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
        """How many of each kind of checkpoint stay."""
        return {LAST: self.keep_last, BEST: self.keep_best}


@dataclass(frozen=True)
class Snapshot:
    """All that the checkpoints of a moment hold, in copies that no later update changes."""

    kinds: Sequence[str]
    """Which checkpoints are written: "last", and "best" before it."""
    at: Position
    made: Made
    figures: Mapping[str, float]
    weights: Mapping[str, torch.Tensor]
    optimizer: OptimizerState
    workers: Mapping[str, Sequence[torch.Tensor]]
    """What `training_state.worker_state` gave on each worker."""


class CheckpointWriter:
    """Writes snapshots into a run directory, the newest at once and one at a time."""

    def __init__(
        self, run: RunDirectory, items: Path, config: CheckpointConfig,
        afterwards: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """Write beside the files of `run`, with the item table `items`.

        `afterwards` is called in the thread of the writer after each of them.
        """
        self._run, self._items = run, items
        self._keep = config.keeps
        self._afterwards = afterwards
        self._state = run.checkpoints / ".state"  # where the training state is put together
        # Not a daemon: the interpreter waits for this thread before it ends.
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "itrec-checkpoint")
        self._under_way: concurrent.futures.Future[None] | None = None
        self.kept = 0
        """The step that `last` holds."""

    def start(self, snapshot: Snapshot) -> None:
        """Begin to write; the snapshot before has to be done by then, see `wait`."""
        assert self._under_way is None
        self._under_way = self._pool.submit(self._write, snapshot)

    def wait(self) -> None:
        """Return when what was handed in is written.

        Raises:
            OutputError: it could not be; the checkpoints before it are as they were.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> str | None:
        """Wait, and take no more; returns in a sentence what could not be written, if anything."""
        try:
            self.wait()
        except ItrecError as error:
            return str(error)
        finally:
            self._pool.shutdown()
        return None

    def _write(self, snapshot: Snapshot) -> None:
        """Write `best` first: a run that stopped between the two trains the epoch again."""
        try:
            for kind in sorted(snapshot.kinds):
                self._write_one(kind, snapshot)
            self.kept = snapshot.at.step
        except (OSError, OutputError, CheckpointError) as error:
            raise OutputError(self._explain(error, snapshot.at)) from error
        finally:
            shutil.rmtree(self._state, ignore_errors=True)
        if self._afterwards is not None:
            self._afterwards()

    def _write_one(self, kind: str, snapshot: Snapshot) -> None:
        at, state = snapshot.at, None
        if kind == LAST:
            state = self._state
            shutil.rmtree(state, ignore_errors=True)
            state.mkdir(parents=True)
            training_state.write(state, snapshot.workers, snapshot.optimizer, at, snapshot.made)
        record = Record(at.epoch, at.step, snapshot.made.fingerprint, dict(snapshot.figures))

        def fill(folder: Path) -> None:
            checkpoint_format.write(
                folder, snapshot.weights, record, self._run.path, self._items, state
            )
            if kind == LAST:
                training_state.read(folder, verify=True)

        retention.put(self._run.checkpoints, kind, at.step, self._keep[kind], fill)

    def _explain(self, error: Exception, at: Position) -> str:
        told = str(error)
        if isinstance(error, OSError):
            told = f"cannot write {self._run.checkpoints}: {error.strerror or error}"
        kept = f"step {self.kept} is kept: --resume goes on from it" if self.kept else "start again"
        return (
            f"the checkpoint of step {at.step} is lost, {told}; {kept} once that place can be "
            "written"
        )
