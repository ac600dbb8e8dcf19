"""The tasks: one folder each.

A folder `some_name/` holds `task.py` with one class `SomeName(Task)`; models refer to it by the
name in their settings' `task`. A task with its own windows also has `data.py`, which is imported
without PyTorch. No other file needs to change.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from itrec_dist.config.registry import Registry
from itrec_dist.errors import ConfigError, ShardsError

if TYPE_CHECKING:
    from itrec_dist.data.manifest import Manifest
    from itrec_dist.tasks.data import TaskData
    from itrec_dist.tasks.task import Task

TASKS: Registry[type[Task]] = Registry(
    "task", "itrec_dist.tasks", group="itrec_dist.tasks", file="task"
)
"""Name -> class."""

DEFAULT = "next_items"
"""The task that `itrec window` cuts windows for by default."""

WITH_WINDOWS = tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/data.py")))
"""The names of our tasks that have their own windows."""


def data_of(task: str) -> TaskData:
    """Windows and baselines of a task: ours, one of an installed package, or `module:Class`.

    Raises:
        ConfigError: there is no such task, or it has no windows of its own.
    """
    if task in WITH_WINDOWS:
        found: TaskData = importlib.import_module(f"{__name__}.{task}.data").DATA
        return found
    data = TASKS[task].data
    if data is None:
        raise ConfigError(
            f"the task {task} has no windows of its own: give one of {', '.join(WITH_WINDOWS)}"
        )
    return data.named(task)


def protocols() -> list[str]:
    """Every protocol of our tasks, task by task."""
    kinds = [kind for task in WITH_WINDOWS for kind in data_of(task).kinds.values()]
    return list(dict.fromkeys(name for kind in kinds for name in kind.protocols))


def task_of(manifest: Manifest) -> str:
    """The task that shards were windowed for; in older manifests it follows from the protocol.

    Raises:
        ShardsError: no task has that protocol.
    """
    if manifest.task:
        return manifest.task
    for task in WITH_WINDOWS:
        if manifest.protocol in data_of(task).windows.protocols:
            return task
    raise ShardsError(
        f"no task has the protocol {manifest.protocol!r} of these shards: window the data again "
        "with this version"
    )
