"""The tasks: one folder each, found by its name.

A folder `some_name/` holds `task.py` with one class `SomeName(Task)`; the settings of a model give
its name as `task`. Nothing else has to be told about it.
"""

import sys

from itrec_dist.config import registry
from itrec_dist.tasks.task import Task


def names() -> list[str]:
    """Every task, by name."""
    return registry.folder_names(sys.modules[__name__])


def find(name: str) -> type[Task]:
    """The class of a task.

    Raises:
        ConfigError: there is none of that name; the message names those there are.
    """
    found: type[Task] = registry.find(sys.modules[__name__], name, "task")
    return found
