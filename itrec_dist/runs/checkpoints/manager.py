"""Saves and loads checkpoints across all workers of a run.

`best` is for inference; `last` also holds the training state. Worker 0 gathers all shards and
starts the writer: a checkpoint is replaced only when the new one is complete, so a kill or a full
disk loses at most the newest. Worker 0 also reads for all: no other worker needs the run directory.
Rows of sharded item vectors are the exception: every worker writes and reads its own (parts.py).

    CheckpointManager.save -> CheckpointWriter (a thread) -> retention.put, which creates the folder
    -> training_state.write and format.write, which fill it -> remote.Sender, for a URI
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from itrec_dist.distributed.context import WorkerContext
from itrec_dist.engines.engine import Engine
from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.errors import CheckpointError, OutputError, TrainingError
from itrec_dist.models.parts.sharded_items import PADDING_ROWS
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import parts as parts_of_tables
from itrec_dist.runs.checkpoints import training_state
from itrec_dist.runs.checkpoints.format import Record
from itrec_dist.runs.checkpoints.parts import Parts
from itrec_dist.runs.checkpoints.training_state import Position, Provenance, ResumePoint, State
from itrec_dist.runs.checkpoints.writer import CheckpointWriter, Snapshot
from itrec_dist.runs.directory import BEST, RunDirectory
from itrec_dist.storage import atomic


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
        self._refuse_non_finite(weights, at)
        parts, tables = self._write_parts(at)
        if self._writer is None:
            return
        assert optimizer is not None
        self._writer.start(
            Snapshot(
                tuple(kinds), at, self._provenance, dict(figures), weights, optimizer, workers,
                parts, tables,
            )
        )  # fmt: skip

    def _refuse_non_finite(self, weights: Mapping[str, torch.Tensor], at: Position) -> None:
        """Refuse to replace a good checkpoint with one whose weights are not finite."""
        rows = self._engine.rows
        lost = parts_of_tables.first_lost(weights)
        if rows is not None:  # each worker knows of its own, and all end alike
            own = lost or parts_of_tables.first_lost(rows.items.tables)
            lost = next(filter(None, self._context.collect(own)), None)
        if lost is not None:
            raise TrainingError(
                f"weights are no longer finite at step {at.step} ({lost} first): lower "
                "optimizer.learning_rate, set optimizer.clip_norm or use engine.precision=fp32; "
                "the checkpoint before it is kept"
            )

    def _write_parts(self, at: Position) -> tuple[Parts | None, dict[str, int]]:
        """Write every worker's rows of sharded tables; returns their files, and the tables."""
        rows = self._engine.rows
        if rows is None:
            return None, {}
        folder = self._context.share(self._checkpoints / f".parts-{at.step:08d}")
        own = rows.items.tables
        try:
            parts = parts_of_tables.write(folder, own, rows.state, self._context)
        except OutputError as error:
            if self._writer is not None:
                atomic.remove(folder)
            raise OutputError(
                f"the checkpoint of step {at.step} is lost, {error}; the one before it is kept"
            ) from error
        return parts, {name: PADDING_ROWS[name] for name in own}

    def _read_parts(self, folder: Path, record: Record, state: State | None = None) -> None:
        """Read this worker's rows, and what the optimiser keeps of them if a state is given."""
        rows = self._engine.rows
        if rows is None:
            return
        items = rows.items
        for place, files, own in (
            (folder, record.files, items.tables),
            *([(state.folder, state.files, rows.state)] if state and rows.state else []),
        ):
            tables = parts_of_tables.mapped(place, files)
            parts_of_tables.load(tables, own, items.sharding, items.num_items)

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
        record = self._context.share(point.record if point else None)
        self._read_parts(state.folder.parent, record, state)
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
            weights = checkpoint_format.read_weights(folder, record, is_whole=False)
        self._engine.load_weights(self._context.share_tensors(weights))
        record = self._context.share(record)
        self._read_parts(self._checkpoints / BEST, record)
        return record
