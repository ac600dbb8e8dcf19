"""Registries: models, losses, metrics and other parts by name; adding one needs no edit elsewhere.

A name is one of three things:

* a file `some_name.py` in the registry's package that defines a class `SomeName` (plus the
  registry's suffix, such as `Config`; case is ignored, so that `bst.py` may define `BSTConfig`),
  or, if the registry names a `file`, a folder `some_name/` with that file;
* an entry point of an installed package, in the registry's group:

      [project.entry-points."itrec_dist.models"]
      sasrec = "my_package.sasrec:SASRecConfig"

* `module:Class`, of any module that can be imported from the working directory or `PYTHONPATH`.

Names are listed without importing anything.
"""

import difflib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from itrec_dist.errors import ConfigError

T = TypeVar("T")


def did_you_mean(given: str, names: Iterable[str]) -> str:
    """The name that is most like a wrong one, as a question in brackets; empty if none is."""
    close = difflib.get_close_matches(given, [*names], n=1)
    return f" (did you mean {close[0]}?)" if close else ""


class Registry(Mapping[str, T]):
    """A read-only mapping of name -> class; `module:Class` is a valid key but not listed."""

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
            what: what an entry is called in messages: "model".
            package: the package with the built-in entries: "itrec_dist.models".
            group: the entry-point group of other packages' entries: "itrec_dist.models".
            suffix: the end of every class name: "Config".
            file: if given, entries are folders, with the class in this file of each: "task".
            hyphens: whether the entry of `some_name.py` is called `some-name`.
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
            return self._load(name, f"{name} in the working directory or PYTHONPATH")
        if name in self._own and name in self._installed:
            raise ConfigError(
                f"{self._installed[name]} has a {self.what} named {name!r}, which itrec-dist has "
                "too: rename it there"
            )
        if name in self._own:
            module, class_name = self._own[name]
            return getattr(importlib.import_module(module), class_name)  # type: ignore[no-any-return]
        if name in self._installed:
            entry = self._installed[name]
            return self._load(entry, f"{name} of an installed package")
        raise ConfigError(
            f"there is no {self.what} {name!r}{did_you_mean(name, self)}; there are: "
            f"{', '.join(self)}, or give one of your own as module:Class"
        )

    def _load(self, path: str, where: str) -> T:
        """Import `module:Class`; modules of the working directory can be imported too."""
        if "" not in sys.path and (here := os.getcwd()) not in sys.path:  # noqa: PTH109
            sys.path.append(here)
        module, _, attribute = path.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
        except Exception as error:  # foreign code may raise anything on import
            raise ConfigError(
                f"the {self.what} {where} cannot be imported from {path}: "
                f"{type(error).__name__}: {error}"
            ) from error

    @cached_property
    def _own(self) -> dict[str, tuple[str, str]]:
        """Name -> (module, class) of the built-in entries."""
        spec = importlib.util.find_spec(self._package)
        assert spec is not None
        assert spec.submodule_search_locations is not None, f"{self._package} is no package"
        pattern = f"*/{self._file}.py" if self._file else "*.py"
        classes = {}
        for folder in spec.submodule_search_locations:
            for path in sorted(Path(folder).glob(pattern)):
                name = path.parent.name if self._file else path.stem
                if (class_name := self._class_in(path, name)) is not None:
                    module = f"{self._package}.{name}" + (f".{self._file}" if self._file else "")
                    shown = name.replace("_", "-") if self._hyphens else name
                    classes[shown] = (module, class_name)
        return classes

    def _class_in(self, path: Path, name: str) -> str | None:
        """The class in a file whose name matches the file's, read from its text without import."""
        wanted = (name.replace("_", "") + self._suffix).lower()
        classes = re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        return next((c for c in classes if c.lower() == wanted), None)

    @cached_property
    def _installed(self) -> dict[str, str]:
        """Name -> `module:Class` of the entry points of installed packages."""
        return {e.name: e.value for e in importlib.metadata.entry_points(group=self.group)}
