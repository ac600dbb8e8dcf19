"""The tasks: one folder each.

A folder `some_name/` holds `task.py` with one class `SomeName(Task)`; the settings of a model give
its name as `task`. Nothing else has to be told about it.
"""

from itrec_dist.config.registry import Registry
from itrec_dist.tasks.task import Task

TASKS: Registry[type[Task]] = Registry(
    "task", "itrec_dist.tasks", group="itrec_dist.tasks", file="task"
)
"""Name -> class."""
