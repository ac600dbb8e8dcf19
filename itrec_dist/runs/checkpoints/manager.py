"""Saves and loads checkpoints across all workers of a run.

`best` is for inference; `last` also holds the training state. Worker 0 gathers all shards and
starts the writer: a checkpoint is replaced only when the new one is complete, so a kill or a full
disk loses at most the newest. Worker 0 also reads for all: no other worker needs the run directory.

    CheckpointManager.save -> CheckpointWriter (a thread) -> retention.put, which creates the folder
    -> training_state.write and format.write, which fill it -> remote.Sender, for a URI
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from itrec_dist.distributed.context import WorkerContext
from itrec_dist.engines.engine import Engine
from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.errors import CheckpointError, TrainingError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import training_state
from itrec_dist.runs.checkpoints.format import Record
from itrec_dist.runs.checkpoints.training_state import Position, Provenance, ResumePoint, State
from itrec_dist.runs.checkpoints.writer import CheckpointWriter, Snapshot
from itrec_dist.runs.directory import BEST, RunDirectory


class CheckpointManager:
    """One worker's side of saving and loading the checkpoints of a run."""

    def __init__(
        self, run: RunDirectory, writer: CheckpointWriter | None, provenance: Provenance,
        engine: Engine, context: WorkerContext,
    ) -> None:  # fmt: skip
        """`writer` belongs to worker 0 and is None on the others."""
        self._checkpoints, self._writer, self._provenance = run.checkpoints, writer, provenance
        self._engine, self._context = engine, context

    def save(self, kinds: Sequence[str], at: Position, figures: Mapping[str, float]) -> None:
        """Start writing checkpoints; called by all workers between two updates.

        Args:
            kinds: LAST, or BEST and LAST.
            at: the position of training.
            figures: the monitored figure by name, if there is one.

        Raises:
            OutputError: the previous checkpoint could not be written; older ones are unchanged.
            TrainingError: the weights are no longer finite.
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
            Snapshot(tuple(kinds), at, self._provenance, dict(figures), weights, optimizer, workers)
        )

    def wait(self) -> None:
        """Wait until the checkpoint in progress is written.

        Raises:
            OutputError: it could not be written; older ones are unchanged.
        """
        if self._writer is not None:
            self._writer.wait()

    def close(self) -> str | None:
        """Wait and stop; returns a sentence if the last checkpoint was not written."""
        return None if self._writer is None else self._writer.close()

    def resume(self, state: State, point: ResumePoint | None) -> Position:
        """Restore the engine and this worker's random states.

        Args:
            state: the record of the training state in `last`, on every worker.
            point: the content of `last`, on worker 0; None on the others.

        Raises:
            CheckpointError: the checkpoint does not fit.
        """
        if state.provenance.fingerprint != self._provenance.fingerprint:
            raise CheckpointError(f"{state.folder} belongs to a run on other data")
        if self._writer is not None:
            assert point is not None
            if point.record.step != state.position.step:
                raise CheckpointError(
                    f"{state.folder} is of step {state.position.step}, the weights beside it are "
                    f"of step {point.record.step}: they do not belong together"
                )
            self._writer.saved_step = point.record.step
        share = self._context.share_tensors
        self._engine.load_weights(share(point.weights if point else None))
        self._engine.load_state(self._share_optimizer(point.optimizer if point else None))
        workers = share(point.workers if point else None)
        loss = training_state.restore_worker(state, workers, self._context)
        return replace(state.position, loss=loss)

    def _share_optimizer(self, state: OptimizerState | None) -> OptimizerState:
        plain = self._context.share(replace(state, tensors={}) if state else None)
        return replace(plain, tensors=self._context.share_tensors(state.tensors if state else None))

    def load_best(self) -> Record:
        """Load the best epoch's weights into the engine; returns the record of its checkpoint.

        Raises:
            OutputError: the newest checkpoint could not be written.
            CheckpointError: the best one is damaged.
        """
        record, weights = None, None
        if self._writer is not None:
            self._writer.wait()
            folder = self._checkpoints / BEST
            record = checkpoint_format.read_record(folder)
            weights = checkpoint_format.read_weights(folder, record)
        self._engine.load_weights(self._context.share_tensors(weights))
        return self._context.share(record)


def _refuse_non_finite(weights: Mapping[str, torch.Tensor], at: Position) -> None:
    """Refuse to replace a good checkpoint with one whose weights are not finite."""
    lost = [n for n, w in weights.items() if w.is_floating_point() and not w.isfinite().all()]
    if lost:
        raise TrainingError(
            f"weights are no longer finite at step {at.step} ({lost[0]} first): lower "
            "optimizer.learning_rate, set optimizer.clip_norm or use engine.precision=fp32; the "
            "checkpoint before it is kept"
        )
