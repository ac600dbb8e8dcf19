"""What a task is besides its model and loss: its windows and its baselines.

It is apart from the task's class so that windows can be cut without importing PyTorch.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

from itrec_dist.data.windowing.task_windows import TaskWindows
from itrec_dist.tasks.baselines import TaskBaselines


@dataclass(frozen=True)
class TaskData:
    """The windows of a task and the baselines that are judged on them.

    A task of ours has it as `DATA` in `tasks/NAME/data.py`, and every task with windows of its own
    as the attribute `data` of its class.
    """

    windows: TaskWindows[Any]
    baselines: TaskBaselines[Any, Any, Any] | None = None

    def named(self, task: str) -> "TaskData":
        """The same for a task that is found by another name, such as `module:Class`."""
        windows = copy.copy(self.windows)
        windows.task = task
        return replace(self, windows=windows)
