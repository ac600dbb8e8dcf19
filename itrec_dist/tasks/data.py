"""The part of a task besides model and loss: its windows and its baselines.

It is separate from the task's class so that windows can be cut without importing PyTorch.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

from itrec_dist.data.windowing.task_windows import TaskWindows
from itrec_dist.tasks.baselines import TaskBaselines


@dataclass(frozen=True)
class TaskData:
    """The windows of a task and the baselines that are judged on them.

    Our tasks define it as `DATA` in `tasks/NAME/data.py`; every task with its own windows has it as
    the class attribute `data`.
    """

    windows: TaskWindows[Any]
    baselines: TaskBaselines[Any, Any, Any] | None = None

    def named(self, task: str) -> "TaskData":
        """A copy for a task that is referred to by another name, such as `module:Class`."""
        windows = copy.copy(self.windows)
        windows.task = task
        return replace(self, windows=windows)
