"""Packages whose parts are found by name, so that adding one is a new file or folder.

A file `some_name.py` holds one class `SomeName`; a folder `some_name/` holds it in a file that is
named for what the package collects, as `tasks/some_name/task.py` does.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from itrec_dist.errors import ConfigError


def names(package: ModuleType) -> list[str]:
    """The names of a package's files, in order."""
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg)


def folder_names(package: ModuleType) -> list[str]:
    """The names of a package's folders, in order."""
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.ispkg)


def find(package: ModuleType, name: str, what: str) -> Any:
    """The class of a name; `what` says in a message, and for a folder names the file, what it is.

    Raises:
        ConfigError: there is none of that name; the message names those there are.
    """
    folders = folder_names(package)
    known = folders or names(package)
    if name not in known:
        raise ConfigError(f"there is no {what} {name!r}; there are: {', '.join(known)}")
    path = f"{package.__name__}.{name}" + (f".{what}" if folders else "")
    return getattr(importlib.import_module(path), name.title().replace("_", ""))
