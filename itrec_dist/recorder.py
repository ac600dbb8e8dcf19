"""What a run writes while it goes: the JSON-lines log, TensorBoard, and lines for a person.

Only rank 0 records; on the other workers every call does nothing.
"""

from collections.abc import Callable
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from itrec_dist.run_directory import RunDirectory

Watcher = Callable[[dict[str, Any]], None]
"""Is shown every event of the log as it happens."""


class Recorder:
    """Writes the events that `run_directory.py` describes."""

    def __init__(
        self, run: RunDirectory | None, watcher: Watcher | None = None, step: int = 0
    ) -> None:
        """Record into `run`, or nowhere if it is None (workers other than rank 0).

        `step` is where a resumed run goes on: TensorBoard forgets the steps after it.
        """
        self._run = run
        self._watch = watcher
        purge = {"purge_step": step + 1} if step else {}
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
            for name, value in _flat(fields[split] or {}):
                self._scalar(f"{split}/{name}", value, fields["epoch"])
        if self._board is not None:
            self._board.flush()

    def note(self, message: str) -> None:
        """Something that a person should know."""
        self._append("note", {"message": message})

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
            self._board.add_scalar(name, value, step)


def _flat(judgement: dict[str, Any]) -> list[tuple[str, float]]:
    figures = [("loss", judgement.get("loss"))]
    for group, inner in judgement.items():
        if isinstance(inner, dict):
            figures += [(f"{group}/{n}", v) for n, v in inner.items()]
    return [(name, value) for name, value in figures if value is not None]
