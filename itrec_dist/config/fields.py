"""What a setting declares beside its type: when its value may change.

A setting says so where it stands, so that a new model's settings need no entry elsewhere:

    dropout: float = field(default=0.2, metadata=CHANGEABLE)

On a section, a mark holds for all of its settings.
"""

import dataclasses
from typing import Any, Final

FREE: Final = {"free": True}
"""The setting may differ when a run is resumed; all others have to be what they were."""
CHANGEABLE: Final = {"changeable": True}
"""The setting may change while a run trains: what is learned keeps its form, and the order of
windows and the number of steps stay."""


def is_marked(field: dataclasses.Field[Any], mark: dict[str, bool]) -> bool:
    """Whether a field bears a mark itself."""
    return all(field.metadata.get(name) == value for name, value in mark.items())


def marked(
    config: Any, mark: dict[str, bool], prefix: str = "", *, whole: bool = False
) -> set[str]:
    """The dotted settings of a configuration that bear a mark, with the kinds it has."""
    found: set[str] = set()
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        has_mark = whole or is_marked(field, mark)
        if dataclasses.is_dataclass(value):
            found |= marked(value, mark, f"{name}.", whole=has_mark)
        elif has_mark:
            found.add(name)
    return found
