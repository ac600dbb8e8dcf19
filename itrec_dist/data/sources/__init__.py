"""The sources of ratings: one file each.

A file `some_name.py` holds one frozen dataclass `SomeNameConfig`, which is both the settings and
the source (a `Source` of `data/sources/source.py`), selected by `--source some-name`. Our sources
have their SQL in `sql/staging/`, those of other packages in their `sql_folder`. No other file needs
to change.

Downloads (`download.py`) and generated data (`synthetic/`) produce files that a source reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.config.registry import Registry
from itrec_dist.errors import ConfigError
from itrec_dist.storage.uri import Uri, refuse_credentials

if TYPE_CHECKING:
    from itrec_dist.data.doors.files import Place
    from itrec_dist.data.sources.source import Source

SOURCES: Registry[type[Source]] = Registry(
    "source", "itrec_dist.data.sources", group="itrec_dist.sources", suffix="Config", hyphens=True
)
"""Name -> class."""

WITH_SETTINGS = "table"
"""The source whose settings are options of `itrec window` if the chosen source has none."""


def settings_of(name: str) -> type[Source]:
    """The class whose fields are options of `itrec window --source NAME`.

    Raises:
        ConfigError: there is no such source, or it is not a dataclass.
    """
    kind: Any = _class_of(name)  # a dataclass, as every source has to be
    own: type[Source] = kind if fields(kind) else SOURCES[WITH_SETTINGS]
    return own


def chosen(name: str, settings: Source | None = None) -> Source:
    """The source of a name with its settings; None takes the defaults.

    Raises:
        ConfigError: there is no such source, or the settings belong to another one.
    """
    kind = _class_of(name)
    if settings is None or isinstance(settings, kind):
        return settings or kind()
    other: Any = settings  # a dataclass, as every source has to be
    defaults = type(other)()
    given = [f.name for f in fields(other) if getattr(other, f.name) != getattr(defaults, f.name)]
    if given:
        raise ConfigError(
            f"--source {name} has its own files and columns: give "
            f"{', '.join(f'--{field}' for field in given)} with --source {_name_of(settings)} only"
        )
    return kind()


def given(name: str, source: Source, places: Place | Sequence[Place]) -> Any:
    """The input as `stage` of the source takes it.

    Raises:
        ConfigError: the source takes no such input, or a URI carries a credential.
    """
    several = tuple(places) if isinstance(places, (list, tuple)) else (places,)
    for place in several:
        if isinstance(place, Uri):
            try:
                refuse_credentials(place, "input")
            except ValueError as error:
                raise ConfigError(str(error)) from error
    if len(several) == 1 and isinstance(several[0], Path):
        return several[0]
    if not source.takes_places:
        raise ConfigError(
            f"--source {name} reads one folder or file on this machine, not {shown(several)}: give "
            "its path"
        )
    return several


def shown(places: Place | Sequence[Place]) -> str:
    """The input in the manifest's form."""
    several = places if isinstance(places, (list, tuple)) else (places,)
    return ", ".join(str(p.absolute() if isinstance(p, Path) else p) for p in several)


def _class_of(name: str) -> type[Source]:
    from itrec_dist.data.sources.source import Source

    kind = SOURCES[name]
    if not (isinstance(kind, type) and issubclass(kind, Source)):
        raise ConfigError(
            f"the source {name} is not a class derived from {Source.__module__}.Source"
        )
    return kind


def _name_of(settings: Source) -> str:
    """The name of a source, given its settings."""
    kind = type(settings)
    named = (name for name in SOURCES if SOURCES[name] is kind)
    return next(named, f"{kind.__module__}:{kind.__qualname__}")
