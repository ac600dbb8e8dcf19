"""Folders whose files are found by name: `some_name.py` holds one class `SomeName`.

Adding a task or a baseline is a new file; nothing else has to be told about it.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from itrec_dist.errors import ConfigError


def names(folder: ModuleType) -> list[str]:
    """The names of a package's files, in order."""
    return sorted(module.name for module in pkgutil.iter_modules(folder.__path__))


def find(folder: ModuleType, name: str, what: str) -> Any:
    """The class of a name; `what` says in a message what the folder holds.

    Raises:
        ConfigError: there is none of that name; the message names those there are.
    """
    if name not in names(folder):
        raise ConfigError(f"there is no {what} {name!r}; there are: {', '.join(names(folder))}")
    module = importlib.import_module(f"{folder.__name__}.{name}")
    return getattr(module, name.title().replace("_", ""))
