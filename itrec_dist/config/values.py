"""Configurations as plain values: YAML, JSON and dotted names."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from itrec_dist.storage.uri import Uri

KINDS = "kinds"
"""Metadata of a field that holds one of several dataclasses: kind -> class.

Each of them has a field `kind`, a Literal of its own name, and the kind that a recipe or an
option gives decides which settings are valid; the field's default is taken where neither does.
"""


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain values, ready for YAML and JSON."""
    return {k: to_plain(v) for k, v in dataclasses.asdict(config).items()}


def to_yaml(config: Any) -> str:
    """A configuration as the YAML that `load` reads back."""
    return as_yaml(to_dict(config))


def as_yaml(values: dict[str, Any]) -> str:
    """Settings as a recipe holds them."""
    return yaml.safe_dump(to_plain(values), sort_keys=False, allow_unicode=True)


def flat(config: Any) -> dict[str, Any]:
    """Every leaf of a configuration by its dotted name, as plain values."""

    def walk(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    return dict(walk(to_dict(config), ""))


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """The opposite of `flat`: dotted names as sections."""
    tree: dict[str, Any] = {}
    for name, value in leaves.items():
        *sections, last = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[last] = value
    return tree


def field_names(cls: type[Any], prefix: str = "") -> list[str]:
    """Every dotted leaf field of a configuration class."""
    hints = get_type_hints(cls)
    names: list[str] = []
    for field in dataclasses.fields(cls):
        classes = field.metadata.get(KINDS)
        if classes:
            inner = (field_names(one, f"{prefix}{field.name}.") for one in classes.values())
            names += dict.fromkeys(itertools.chain.from_iterable(inner))
            continue
        hint = hints[field.name]
        name = prefix + field.name
        is_section = isinstance(hint, type) and dataclasses.is_dataclass(hint)
        names += field_names(hint, f"{name}.") if is_section else [name]
    return names


def to_plain(value: Any) -> Any:
    """A value of a configuration as YAML and JSON can hold it."""
    if isinstance(value, dict):
        return {k: to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return str(value) if isinstance(value, (Path, Uri)) else value
