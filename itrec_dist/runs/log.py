"""Writes the log of a run: JSON lines, TensorBoard, and events for a watcher.

Only rank 0 writes; on other workers the calls do nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from itrec_dist.errors import OutputError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.runs.directory import RunDirectory

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Watcher = Callable[[dict[str, Any]], None]
"""Called with every event of the log."""


class Recorder:
    """Writes the events that `runs/directory.py` describes."""

    def __init__(
        self, run: RunDirectory | None, watcher: Watcher | None = None, step: int | None = None
    ) -> None:
        """Write to `run`, or nowhere if it is None (workers other than rank 0).

        `step` is the step that a run resumes from: TensorBoard drops the steps after it.
        """
        self._run = run
        self._watch = watcher
        purge = {} if step is None else {"purge_step": step + 1}
        self._board: SummaryWriter | None = None
        if run is not None:
            from torch.utils.tensorboard import SummaryWriter  # only rank 0 pays for the import

            self._board = SummaryWriter(str(run.tensorboard), **purge)

    def start(self, **fields: Any) -> None:
        """Called once, before the first step."""
        self._append("start", fields)

    def progress(self, **fields: Any) -> None:
        """Called at every progress interval."""
        self._append("progress", fields)
        for name in ("loss", "windows_per_second", "learning_rate", "grad_norm"):
            self._scalar(f"step/{name}", fields.get(name), fields["step"])

    def epoch(self, **fields: Any) -> None:
        """Called after each epoch and its evaluation."""
        self._append("epoch", fields)
        self._scalar("epoch/loss", fields["loss"], fields["epoch"])
        for split in ("train", "validation"):
            if fields[split] is not None:
                for name, value in Judgement.from_json(fields[split]).figures():
                    self._scalar(f"{split}/{name}", value, fields["epoch"])
        self._flush()

    def note(self, message: str) -> None:
        """Log a message for the user."""
        self._append("note", {"message": message})

    def restart(self, **fields: Any) -> None:
        """Called when workers were restarted in the middle of the run."""
        self._append("restart", fields)

    def end(self, **fields: Any) -> None:
        """Called once, at the end of the run."""
        self._append("end", fields)
        if self._board is not None:
            self._board.close()

    def _append(self, event: str, fields: dict[str, Any]) -> None:
        if self._run is None:
            return
        self._run.append(event, **fields)
        if self._watch is not None:
            self._watch({"event": event, **fields})

    def _scalar(self, name: str, value: float | None, step: int) -> None:
        if self._board is not None and value is not None:
            with self._explained():
                self._board.add_scalar(name, value, step)

    def _flush(self) -> None:
        if self._board is not None:
            with self._explained():
                self._board.flush()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Explain errors of TensorBoard, which surface in later calls than their cause."""
        try:
            yield
        except OSError as error:
            assert self._run is not None
            raise OutputError(
                f"cannot write {self._run.tensorboard}: {error.strerror or error}; free some "
                "space, then --resume continues from the last checkpoint"
            ) from error
