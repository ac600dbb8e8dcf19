"""Metadata of a setting that says when its value may change.

It is declared with the setting, so that a new model's settings need no entry elsewhere:

    dropout: float = field(default=0.2, metadata=CHANGEABLE)

A mark on a section applies to all of its settings.
"""

import dataclasses
from typing import Any, Final

FREE: Final = {"free": True}
"""The setting may differ when a run is resumed; all others must keep their values."""
CHANGEABLE: Final = {"changeable": True}
"""The setting may change during training, because it changes neither the shapes of weights nor the
order of windows nor the number of steps."""


def is_marked(field: dataclasses.Field[Any], mark: dict[str, bool]) -> bool:
    """Whether a field itself has a mark."""
    return all(field.metadata.get(name) == value for name, value in mark.items())


def marked(
    config: Any, mark: dict[str, bool], prefix: str = "", *, whole: bool = False
) -> set[str]:
    """The dotted settings of a configuration that have a mark, with the kinds it has chosen."""
    names: set[str] = set()
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        has_mark = whole or is_marked(field, mark)
        if dataclasses.is_dataclass(value):
            names |= marked(value, mark, f"{name}.", whole=has_mark)
        elif has_mark:
            names.add(name)
    return names
