"""The keeping and taking up of checkpoints by all workers of a run together.

`best` is what people use; `last` holds the full training state besides. Worker 0 gathers all
parts, writes them beside their place and swaps the whole checkpoint in: what stood there before
stays until that moment, so that a kill or a full disk costs the newest checkpoint only. It also
reads for all: no other worker needs to see the run directory.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from itrec_dist import checkpoint, tensor_files, training_state
from itrec_dist.checkpoint import Record
from itrec_dist.context import WorkerContext
from itrec_dist.engines import optimizer_state
from itrec_dist.engines.engine import Engine
from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.errors import CheckpointError, OutputError, TrainingError
from itrec_dist.run_directory import RunDirectory
from itrec_dist.training_state import Made, Position, State

BEST, LAST = "best", "last"


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


class Keeper:
    """One worker's part in the checkpoints of a run."""

    def __init__(
        self, run: RunDirectory, items: Path, made: Made, engine: Engine, context: WorkerContext
    ) -> None:
        self._run, self._items, self._made = run, items, made
        self._engine, self._context = engine, context
        self._is_first = context.rank == 0
        self._kept = 0  # the step that `last` holds
        self._state = run.checkpoints / ".state"  # where the training state is put together

    def keep(self, names: Sequence[str], at: Position, figures: Mapping[str, float]) -> None:
        """Write the checkpoints named, `best` first; called by all workers between two updates.

        In this order, because a run that stopped between the two trains the epoch again.

        Raises:
            OutputError: a place cannot be written; the checkpoints before it are as they were.
            TrainingError: the weights are not finite any more.
        """
        weights, optimizer = self._engine.weights(), self._engine.state()
        own = training_state.worker_state(at, self._context.device)
        workers = {name: self._context.gather(part) for name, part in own.items()}
        if not self._is_first:
            return
        assert optimizer is not None
        _refuse_non_finite(weights, at)
        record = Record(at.epoch, at.step, self._made.fingerprint, dict(figures))
        try:
            if BEST in names:
                self._save(BEST, weights, record)
            self._make_room()
            training_state.write(self._state, workers, optimizer, at, self._made)
            self._save(LAST, weights, record, self._state)
            self._kept = at.step
        except (OSError, OutputError) as error:
            raise OutputError(self._explain(error, at)) from error
        finally:
            shutil.rmtree(self._state, ignore_errors=True)

    def resume(self, state: State) -> Position:
        """Bring the engine and this worker's random states to where `last` stands.

        Raises:
            CheckpointError: the checkpoint is damaged or does not fit.
        """
        if state.made.fingerprint != self._made.fingerprint:
            raise CheckpointError(f"{state.folder} belongs to a run on other data")
        weights = workers = optimizer = None
        if self._is_first:
            record, weights = checkpoint.read_weights(self._run.checkpoints / LAST)
            if record.step != state.position.step:
                raise CheckpointError(
                    f"{state.folder} is of step {state.position.step}, the weights beside it are "
                    f"of step {record.step}: they do not belong together"
                )
            optimizer = optimizer_state.read(state.folder)
            workers = tensor_files.read(state.folder / training_state.WORKERS_FILE)
        self._engine.load_weights(self._context.share_tensors(weights))
        self._engine.load_state(self._share_optimizer(optimizer))
        shared = self._context.share_tensors(workers)
        loss = training_state.restore_worker(state, shared, self._context)
        self._kept = state.position.step
        return replace(state.position, loss=loss)

    def _share_optimizer(self, state: OptimizerState | None) -> OptimizerState:
        plain = self._context.share(replace(state, tensors={}) if state else None)
        return replace(plain, tensors=self._context.share_tensors(state.tensors if state else None))

    def load_best(self) -> Record:
        """Bring the best epoch's weights into the engine; returns what its checkpoint says."""
        record, weights = None, None
        if self._is_first:
            record, weights = checkpoint.read_weights(self._run.checkpoints / BEST)
        self._engine.load_weights(self._context.share_tensors(weights))
        return self._context.share(record)

    def _save(
        self, name: str, weights: Mapping[str, torch.Tensor], record: Record,
        state: Path | None = None,
    ) -> None:  # fmt: skip
        place = self._run.checkpoints / name
        checkpoint.save(place, weights, record, self._run.path, self._items, state)

    def _make_room(self) -> None:
        shutil.rmtree(self._state, ignore_errors=True)
        self._state.mkdir(parents=True)

    def _explain(self, error: Exception, at: Position) -> str:
        told = str(error)
        if isinstance(error, OSError):
            told = f"cannot write {self._run.checkpoints}: {error.strerror or error}"
        kept = (
            f"step {self._kept} is kept: --resume goes on from it" if self._kept else "start again"
        )
        return (
            f"the checkpoint of step {at.step} is lost, {told}; {kept} once that place can be "
            "written"
        )


def _refuse_non_finite(weights: Mapping[str, torch.Tensor], at: Position) -> None:
    """A checkpoint of weights that are lost must not take the place of a good one."""
    lost = [n for n, w in weights.items() if w.is_floating_point() and not w.isfinite().all()]
    if lost:
        raise TrainingError(
            f"weights are not finite any more at step {at.step} ({lost[0]} first): lower "
            "optimizer.learning_rate, set optimizer.clip_norm or use engine.precision=fp32; the "
            "checkpoint before it is kept"
        )
