"""The sources of ratings: one file each.

A file `some_name.py` holds one frozen dataclass `SomeNameConfig`: its settings, and the source that
they describe (a `Source` of `data/sources/source.py`), which is `--source some-name`. Our sources
have their SQL in `sql/staging/`, those of other packages in their `sql_folder`. Nothing else has to
be told about a source.

Downloads (`download.py`) and generated data (`synthetic/`) make files that a source reads.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from itrec_dist.config.registry import Registry
from itrec_dist.errors import ConfigError

if TYPE_CHECKING:
    from itrec_dist.data.sources.source import Source

SOURCES: Registry[type[Source]] = Registry(
    "source", "itrec_dist.data.sources", group="itrec_dist.sources", suffix="Config", hyphens=True
)
"""Name -> class."""

WITH_SETTINGS = "table"
"""The source whose settings are options of `itrec window` unless another source has its own."""


def settings_of(name: str) -> type[Source]:
    """The class whose fields are options of `itrec window --source NAME`.

    Raises:
        ConfigError: there is no such source, or it is no dataclass.
    """
    return _class_of(name) if fields(_class_of(name)) else SOURCES[WITH_SETTINGS]


def chosen(name: str, settings: Source | None = None) -> Source:
    """The source of a name with its settings; None takes its defaults.

    Raises:
        ConfigError: there is no such source, or the settings are those of another one.
    """
    kind = _class_of(name)
    if settings is None or isinstance(settings, kind):
        return settings or kind()
    usual = type(settings)()
    given = [
        f.name for f in fields(settings) if getattr(settings, f.name) != getattr(usual, f.name)
    ]
    if given:
        raise ConfigError(
            f"--source {name} has its own files and columns: give "
            f"{', '.join(f'--{field}' for field in given)} with --source {_name_of(settings)} only"
        )
    return kind()


def _class_of(name: str) -> type[Source]:
    from itrec_dist.data.sources.source import Source

    kind = SOURCES[name]
    if not (isinstance(kind, type) and issubclass(kind, Source)):
        raise ConfigError(f"the source {name} is no class derived from {Source.__module__}.Source")
    return kind


def _name_of(settings: Source) -> str:
    """The name that a source's settings belong to, among those that are listed."""
    kind = type(settings)
    named = (name for name in SOURCES if SOURCES[name] is kind)
    return next(named, f"{kind.__module__}:{kind.__qualname__}")
