"""Registries: the parts of one kind, found by name, so that adding one edits nothing.

A name is one of three things:

* a file `some_name.py` of the registry's package that holds a class `SomeName` (with the registry's
  suffix, such as `Config`; upper and lower case are one, so that `bst.py` may hold `BSTConfig`),
  or, where the registry names a `file`, a folder `some_name/` with that file;
* an entry point of an installed package, in the registry's group:

      [project.entry-points."itrec_dist.models"]
      sasrec = "my_package.sasrec:SASRecConfig"

* `module:Class`, of any module that can be imported from the working directory or `PYTHONPATH`.

Names are listed without importing anything.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from itrec_dist.errors import ConfigError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Name -> class, as a read-only mapping; `module:Class` is contained but not listed."""

    def __init__(
        self,
        what: str,
        package: str,
        *,
        group: str,
        suffix: str = "",
        file: str = "",
        hyphens: bool = False,
    ) -> None:
        """Describe a registry; nothing is imported yet.

        Args:
            what: the kind of part, for messages: "model".
            package: the dotted name of the package with our own parts: "itrec_dist.models".
            group: the entry-point group of other packages' parts: "itrec_dist.models".
            suffix: the end of every class name: "Config".
            file: parts are folders, and the class is in this file of each: "task".
            hyphens: `some_name.py` is called `some-name`.
        """
        self.what = what
        self.group = group
        self._package = package
        self._suffix = suffix
        self._file = file
        self._hyphens = hyphens

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._own, *self._installed}))

    def __len__(self) -> int:
        return len({*self._own, *self._installed})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (
            ":" in name or name in self._own or name in self._installed
        )

    def __getitem__(self, name: str) -> T:
        """The class of a name.

        Raises:
            ConfigError: there is none of that name, or it cannot be imported.
        """
        if ":" in name:
            return self._load(name, f"{name} of the working directory or PYTHONPATH")
        if name in self._own and name in self._installed:
            raise ConfigError(
                f"{self._installed[name]} has a {self.what} named {name!r}, which itrec-dist has "
                "too: rename it there"
            )
        if name in self._own:
            module, found = self._own[name]
            return getattr(importlib.import_module(module), found)  # type: ignore[no-any-return]
        if name in self._installed:
            entry = self._installed[name]
            return self._load(entry, f"{name} of an installed package")
        raise ConfigError(
            f"there is no {self.what} {name!r}; there are: {', '.join(self)}, or give one of your "
            "own as module:Class"
        )

    def _load(self, path: str, where: str) -> T:
        """Import `module:Class`; modules of the working directory can be imported too."""
        if "" not in sys.path and (here := os.getcwd()) not in sys.path:  # noqa: PTH109
            sys.path.append(here)
        module, _, attribute = path.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
        except Exception as error:  # whatever a module of somebody else's raises on import
            raise ConfigError(
                f"the {self.what} {where} cannot be imported from {path}: "
                f"{type(error).__name__}: {error}"
            ) from error

    @cached_property
    def _own(self) -> dict[str, tuple[str, str]]:
        """Name -> (module, class) of the parts in our package."""
        spec = importlib.util.find_spec(self._package)
        assert spec is not None
        assert spec.submodule_search_locations is not None, f"{self._package} is no package"
        pattern = f"*/{self._file}.py" if self._file else "*.py"
        found = {}
        for folder in spec.submodule_search_locations:
            for path in sorted(Path(folder).glob(pattern)):
                name = path.parent.name if self._file else path.stem
                if (class_name := self._class_in(path, name)) is not None:
                    module = f"{self._package}.{name}" + (f".{self._file}" if self._file else "")
                    shown = name.replace("_", "-") if self._hyphens else name
                    found[shown] = (module, class_name)
        return found

    def _class_in(self, path: Path, name: str) -> str | None:
        """The class of a file that bears the file's name, read from its text."""
        wanted = (name.replace("_", "") + self._suffix).lower()
        classes = re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        return next((c for c in classes if c.lower() == wanted), None)

    @cached_property
    def _installed(self) -> dict[str, str]:
        """Name -> `module:Class` of the entry points of installed packages."""
        return {e.name: e.value for e in importlib.metadata.entry_points(group=self.group)}
