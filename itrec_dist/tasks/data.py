"""The part of a task besides model and loss: its windows and its baselines.

It is separate from the task's class so that windows can be cut without importing PyTorch.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

from itrec_dist.data.manifest import SampleKind
from itrec_dist.data.windowing.task_windows import TaskWindows
from itrec_dist.errors import ConfigError
from itrec_dist.tasks.baselines import TaskBaselines


@dataclass(frozen=True)
class TaskData:
    """The windows of a task and the baselines that are judged on them.

    Our tasks define it as `DATA` in `tasks/NAME/data.py`; every task with its own windows has it as
    the class attribute `data`.
    """

    windows: TaskWindows[Any]
    baselines: TaskBaselines[Any, Any, Any] | None = None
    histories: TaskWindows[Any] | None = None
    """The same ratings as histories of any length, if the task has them."""

    @property
    def kinds(self) -> dict[SampleKind, TaskWindows[Any]]:
        """The kinds of sample that the task has, the usual one first."""
        both: dict[SampleKind, TaskWindows[Any]] = {"windows": self.windows}
        return both | ({"histories": self.histories} if self.histories else {})

    def of(self, samples: str) -> TaskWindows[Any]:
        """The samples of one kind.

        Raises:
            ConfigError: the task has no such samples.
        """
        for kind, found in self.kinds.items():
            if kind == samples:
                return found
        raise ConfigError(
            f"the task {self.windows.task} has no samples {samples!r}: give --samples "
            f"{' or '.join(self.kinds)}"
        )

    def named(self, task: str) -> "TaskData":
        """A copy for a task that is referred to by another name, such as `module:Class`."""
        windows, histories = copy.copy(self.windows), copy.copy(self.histories)
        windows.task = task
        if histories is not None:
            histories.task = task
        return replace(self, windows=windows, histories=histories)
