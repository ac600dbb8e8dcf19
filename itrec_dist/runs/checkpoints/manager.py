"""The keeping and taking up of checkpoints by all workers of a run together.

`best` is what people use; `last` holds the full training state besides. Worker 0 gathers all
parts and hands them to its checkpoint writer: what stood there before stays until the new one is
whole, so that a kill or a full disk costs the newest checkpoint only. It also reads for all: no
other worker needs to see the run directory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from itrec_dist.distributed.context import WorkerContext
from itrec_dist.engines import optimizer_state
from itrec_dist.engines.engine import Engine
from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.errors import CheckpointError, TrainingError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import training_state
from itrec_dist.runs.checkpoints.format import Record
from itrec_dist.runs.checkpoints.retention import BEST, LAST
from itrec_dist.runs.checkpoints.training_state import Made, Position, State
from itrec_dist.runs.checkpoints.writer import CheckpointWriter, Snapshot
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage import tensors as tensor_files


class Keeper:
    """One worker's part in the checkpoints of a run."""

    def __init__(
        self, run: RunDirectory, writer: CheckpointWriter | None, made: Made, engine: Engine,
        context: WorkerContext,
    ) -> None:  # fmt: skip
        """Take part as `context` says; `writer` is worker 0's, None on the others."""
        self._checkpoints, self._writer, self._made = run.checkpoints, writer, made
        self._engine, self._context = engine, context

    def keep(self, names: Sequence[str], at: Position, figures: Mapping[str, float]) -> None:
        """Begin to write the checkpoints named; called by all workers between two updates.

        Raises:
            OutputError: those before could not be written; what stood there still does.
            TrainingError: the weights are not finite any more.
        """
        self.wait()  # first, so that memory never holds two copies
        weights, optimizer = self._engine.weights(), self._engine.state()
        own = training_state.worker_state(at, self._context.device)
        workers = {name: self._context.gather(part) for name, part in own.items()}
        if self._writer is None:
            return
        assert optimizer is not None
        _refuse_non_finite(weights, at)
        self._writer.start(
            Snapshot(tuple(names), at, self._made, dict(figures), weights, optimizer, workers)
        )

    def wait(self) -> None:
        """Return when what was kept last has been written.

        Raises:
            OutputError: it could not be; the checkpoints before it are as they were.
        """
        if self._writer is not None:
            self._writer.wait()

    def close(self) -> str | None:
        """Wait, and keep no more; returns in a sentence what could not be written, if anything."""
        return None if self._writer is None else self._writer.close()

    def resume(self, state: State) -> Position:
        """Bring the engine and this worker's random states to where `last` stands.

        Raises:
            CheckpointError: the checkpoint is damaged or does not fit.
        """
        if state.made.fingerprint != self._made.fingerprint:
            raise CheckpointError(f"{state.folder} belongs to a run on other data")
        weights = workers = optimizer = None
        if self._writer is not None:
            record, weights = checkpoint_format.read_weights(self._checkpoints / LAST)
            if record.step != state.position.step:
                raise CheckpointError(
                    f"{state.folder} is of step {state.position.step}, the weights beside it are "
                    f"of step {record.step}: they do not belong together"
                )
            optimizer = optimizer_state.read(state.folder)
            workers = tensor_files.read(state.folder / training_state.WORKERS_FILE)
            self._writer.kept = record.step
        self._engine.load_weights(self._context.share_tensors(weights))
        self._engine.load_state(self._share_optimizer(optimizer))
        shared = self._context.share_tensors(workers)
        loss = training_state.restore_worker(state, shared, self._context)
        return replace(state.position, loss=loss)

    def _share_optimizer(self, state: OptimizerState | None) -> OptimizerState:
        plain = self._context.share(replace(state, tensors={}) if state else None)
        return replace(plain, tensors=self._context.share_tensors(state.tensors if state else None))

    def load_best(self) -> Record:
        """Bring the best epoch's weights into the engine; returns what its checkpoint says.

        Raises:
            OutputError: the newest checkpoint could not be written.
            CheckpointError: the best one is damaged.
        """
        record, weights = None, None
        if self._writer is not None:
            self._writer.wait()
            record, weights = checkpoint_format.read_weights(self._checkpoints / BEST)
        self._engine.load_weights(self._context.share_tensors(weights))
        return self._context.share(record)


def _refuse_non_finite(weights: Mapping[str, torch.Tensor], at: Position) -> None:
    """A checkpoint of weights that are lost must not take the place of a good one."""
    lost = [n for n, w in weights.items() if w.is_floating_point() and not w.isfinite().all()]
    if lost:
        raise TrainingError(
            f"weights are not finite any more at step {at.step} ({lost[0]} first): lower "
            "optimizer.learning_rate, set optimizer.clip_norm or use engine.precision=fp32; the "
            "checkpoint before it is kept"
        )
