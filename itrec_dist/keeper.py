"""The keeping and taking up of checkpoints by all workers of a run together.

`best` is what people use; `last` holds the full training state besides. Every worker writes its
part into one folder beside them, then worker 0 swaps the whole checkpoint in: what stood there
before stays until that moment, so that a kill or a full disk costs the newest checkpoint only.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from itrec_dist import checkpoint, training_state
from itrec_dist.checkpoint import Record
from itrec_dist.context import WorkerContext
from itrec_dist.engines.engine import Engine
from itrec_dist.errors import CheckpointError, OutputError, TrainingError
from itrec_dist.run_directory import RunDirectory
from itrec_dist.training_state import Made, Position, State

BEST, LAST = "best", "last"


class Keeper:
    """One worker's part in the checkpoints of a run."""

    def __init__(
        self, run: RunDirectory, items: Path, made: Made, engine: Engine, context: WorkerContext
    ) -> None:
        self._run, self._items, self._made = run, items, made
        self._engine, self._context = engine, context
        self._is_first = context.rank == 0
        self._kept = 0  # the step that `last` holds
        self._parts = run.checkpoints / ".state"  # where the workers' parts are put together

    def keep(self, names: Sequence[str], at: Position, figures: Mapping[str, float]) -> None:
        """Write the checkpoints named, `best` first; called by all workers between two updates.

        In this order, because a run that stopped between the two trains the epoch again.

        Raises:
            OutputError: a place cannot be written; the checkpoints before it are as they were.
            TrainingError: the weights are not finite any more.
        """
        try:
            weights = self._engine.weights()
            record = Record(at.epoch, at.step, self._made.fingerprint, dict(figures))
            if self._is_first:
                _refuse_non_finite(weights, at)
                if BEST in names:
                    self._save(BEST, weights, record)
                self._make_room()
            self._meet()
            training_state.write_worker(self._parts, self._context.rank, at, self._context.device)
            self._engine.save(self._parts)
            self._meet()
            if self._is_first:
                training_state.seal(self._parts, at, self._made)
                self._save(LAST, weights, record, self._parts)
            self._kept = at.step
        except (OSError, OutputError) as error:
            raise OutputError(self._explain(error, at)) from error
        finally:
            if self._is_first:
                shutil.rmtree(self._parts, ignore_errors=True)

    def resume(self, state: State) -> Position:
        """Bring the engine and this worker's random states to where `last` stands.

        Raises:
            CheckpointError: the checkpoint is damaged or does not fit.
        """
        if state.made.fingerprint != self._made.fingerprint:
            raise CheckpointError(f"{state.folder} belongs to a run on other data")
        record, weights = checkpoint.read_weights(self._run.checkpoints / LAST)
        if record.step != state.position.step:
            raise CheckpointError(
                f"{state.folder} is of step {state.position.step}, the weights beside it are of "
                f"step {record.step}: they do not belong together"
            )
        self._engine.load_weights(weights)
        self._engine.load(state.folder)
        loss = training_state.restore_worker(
            state, self._context.rank, self._context.world_size, self._context.device
        )
        self._kept = state.position.step
        return replace(state.position, loss=loss)

    def load_best(self) -> Record:
        """Bring the best epoch's weights into the engine, once worker 0 has written them."""
        self._meet()
        record, weights = checkpoint.read_weights(self._run.checkpoints / BEST)
        self._engine.load_weights(weights)
        return record

    def _save(
        self, name: str, weights: Mapping[str, torch.Tensor], record: Record,
        state: Path | None = None,
    ) -> None:  # fmt: skip
        place = self._run.checkpoints / name
        checkpoint.save(place, weights, record, self._run.path, self._items, state)

    def _make_room(self) -> None:
        shutil.rmtree(self._parts, ignore_errors=True)
        self._parts.mkdir(parents=True)

    def _meet(self) -> None:
        self._context.sum(torch.zeros(1, device=self._context.device))

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
