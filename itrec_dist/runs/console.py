"""Shows a run in a terminal: one line per epoch, and a progress bar with the time left.

Takes the events of a run's log, from this process or from a worker elsewhere.
"""

import functools
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from itrec_dist import metrics
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import FigureName

_SPEED_SECONDS = 300.0  # steps are averaged over this time to estimate the time left


class ProgressView:
    """Shows events; plain lines without a bar if the output is no terminal."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        """Show events on a console, None being standard output; `quiet` shows nothing."""
        # Without markup: the name of a run may hold brackets.
        self._console = console or Console(
            soft_wrap=True, highlight=False, markup=False, emoji=False
        )
        self._quiet = quiet
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._epochs = 0
        self._steps = 0

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event."""
        if self._quiet:
            return
        show = getattr(self, f"_show_{event['event']}", None)
        if show is not None:
            show(event)

    def close(self) -> None:
        """Remove the progress bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._bar = None

    def _show_start(self, event: dict[str, Any]) -> None:
        self._epochs = event["epochs"]
        self._steps = event["epochs"] * event["steps_per_epoch"]
        self._console.print(
            f"{event['name']}: {event['num_parameters']:,} parameters, {event['workers']} "
            f"worker{_s(event['workers'])}, {event['epochs']} epoch{_s(event['epochs'])} of "
            f"{event['steps_per_epoch']} step{_s(event['steps_per_epoch'])} of {_batch(event)}"
        )
        if event.get("loss_memory"):
            self._console.print(event["loss_memory"])
        self.close()  # from before workers were lost
        if self._console.is_terminal:
            self._progress = _progress(self._console)
            self._bar = self._progress.add_task("first step ...", total=None, figures="")
            self._progress.start()

    def _show_progress(self, event: dict[str, Any]) -> None:
        if self._progress is None or self._bar is None:
            return
        if self._progress.tasks[0].total is None:  # a resumed run does not start at step 0
            self._progress.reset(self._bar, total=self._steps, completed=event["step"])
        self._progress.update(
            self._bar, completed=event["step"],
            description=f"epoch {event['epoch']}/{self._epochs}",
            figures=f"loss {event['loss']:.4f}  {event['windows_per_second']:,.0f} windows/s",
        )  # fmt: skip

    def _show_epoch(self, event: dict[str, Any]) -> None:
        parts = [
            f"epoch {event['epoch']:>3}/{self._epochs}",
            f"loss {event['loss']:8.4f}",
            f"{event['windows_per_second']:>9,.0f} windows/s",
        ]
        if event["validation"] is not None:
            parts += in_brief(Judgement.from_json(event["validation"]))
        parts.append("best" if event["is_best"] else "")
        self._console.print("  ".join(parts).rstrip())

    def _show_note(self, event: dict[str, Any]) -> None:
        self._console.print(event["message"])

    def _show_restart(self, event: dict[str, Any]) -> None:
        self._console.print(event["message"])

    def _show_end(self, event: dict[str, Any]) -> None:
        self.close()
        best = f", best epoch {event['best_epoch']}" if event["best_epoch"] else ""
        self._console.print(f"{event['reason']} after {event['seconds']:.0f} s{best}")


def _s(count: int) -> str:
    """The ending of a plural."""
    return "" if count == 1 else "s"


def _batch(event: dict[str, Any]) -> str:
    """What an update learns from, in words."""
    if event.get("batch_tokens"):
        return f"up to {event['batch_tokens']} positions"
    return f"{event['batch_size']} windows"


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeRemainingColumn(), TextColumn("left", markup=False),
        console=console, transient=True, refresh_per_second=4,
        speed_estimate_period=_SPEED_SECONDS,
    )  # fmt: skip


def in_brief(judgement: Judgement) -> list[str]:
    """The first two figures of each group as short text, or the loss if there is no group."""
    names = metrics.in_order(name for name, _ in judgement.figures())
    groups = list(dict.fromkeys(name.group for name in names if name.group))
    if not groups:
        return [] if judgement.loss is None else [f"validation loss {judgement.loss:.4f}"]
    parts = []
    for group in groups:
        firsts = {n.metric: n for n in reversed(names) if n.group == group}  # lowest cut-off
        shown = [n for n in names if n in firsts.values() and n.group == group][:2]
        words = [f"{_short(name)} {judgement.value(name):.4f}" for name in shown]
        parts.append(" ".join([group, *words] if len(groups) > 1 else words))
    return parts


def _short(name: FigureName) -> str:
    """`P@5`."""
    metric = metrics.of(name.metric)
    return replace(name, group="", metric=metric.short or metric.label).key


class LogFollower(threading.Thread):
    """Shows the lines that another process appends to a log, until `finish` is called."""

    def __init__(
        self, log: Path | Callable[[int], bytes], view: ProgressView, interval: float = 0.5, *,
        from_end: bool = False,
    ) -> None:  # fmt: skip
        """Follow `log`: a file, or a function that returns its bytes after a position.

        With `from_end`, lines that it holds already are not shown.
        """
        super().__init__(name="itrec-log-follower", daemon=True)
        self._read = functools.partial(_after, log) if isinstance(log, Path) else log
        self._view, self._interval = view, interval
        self._stopping = threading.Event()
        self._position = len(self._read(0)) if from_end else 0

    def run(self) -> None:
        """Show new lines until asked to stop."""
        while not self._stopping.wait(self._interval):
            self._read_on()
        self._read_on()

    def finish(self) -> None:
        """Show the remaining lines and end."""
        self._stopping.set()
        self.join()
        self._view.close()

    def _read_on(self) -> None:
        for line in self._read(self._position).splitlines(keepends=True):
            if not line.endswith(b"\n"):  # still being written
                return
            self._position += len(line)
            try:
                event = json.loads(line)
            except ValueError:  # truncated by a crash; the next line is complete
                continue
            self._view(event)


def _after(log: Path, position: int) -> bytes:
    if not log.is_file():
        return b""
    with log.open("rb") as file:
        file.seek(position)
        return file.read()
