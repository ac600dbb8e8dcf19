"""What a run writes while it goes: the JSON-lines log, TensorBoard, and lines for a person.

Only rank 0 records; on the other workers every call does nothing.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from itrec_dist.errors import OutputError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.runs.directory import RunDirectory

Watcher = Callable[[dict[str, Any]], None]
"""Is shown every event of the log as it happens."""


class Recorder:
    """Writes the events that `runs/directory.py` describes."""

    def __init__(
        self, run: RunDirectory | None, watcher: Watcher | None = None, step: int | None = None
    ) -> None:
        """Record into `run`, or nowhere if it is None (workers other than rank 0).

        `step` is where a run goes on that was begun before: TensorBoard forgets the steps after it.
        """
        self._run = run
        self._watch = watcher
        purge = {} if step is None else {"purge_step": step + 1}
        self._board = None if run is None else SummaryWriter(str(run.tensorboard), **purge)

    def start(self, **fields: Any) -> None:
        """The run begins."""
        self._append("start", fields)

    def progress(self, **fields: Any) -> None:
        """Some steps later."""
        self._append("progress", fields)
        for name in ("loss", "windows_per_second", "learning_rate", "grad_norm"):
            self._scalar(f"step/{name}", fields.get(name), fields["step"])

    def epoch(self, **fields: Any) -> None:
        """An epoch was trained and judged."""
        self._append("epoch", fields)
        self._scalar("epoch/loss", fields["loss"], fields["epoch"])
        for split in ("train", "validation"):
            if fields[split] is not None:
                for name, value in Judgement.from_json(fields[split]).figures():
                    self._scalar(f"{split}/{name}", value, fields["epoch"])
        self._flush()

    def note(self, message: str) -> None:
        """Something that a person should know."""
        self._append("note", {"message": message})

    def restart(self, **fields: Any) -> None:
        """Workers were started again in the middle of the run."""
        self._append("restart", fields)

    def end(self, **fields: Any) -> None:
        """The run is over."""
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
        """The board writes in a thread of its own, whose errors come out at a later call."""
        try:
            yield
        except OSError as error:
            assert self._run is not None
            raise OutputError(
                f"cannot write {self._run.tensorboard}: {error.strerror or error}; make room, then "
                "--resume goes on from the last checkpoint"
            ) from error
