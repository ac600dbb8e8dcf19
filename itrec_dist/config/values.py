"""Configurations as plain values: YAML, JSON and dotted names."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, get_type_hints

import yaml

from itrec_dist.config import kinds
from itrec_dist.storage.uri import Uri


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain values, ready for YAML and JSON."""
    plain = {k: to_plain(v) for k, v in dataclasses.asdict(config).items()}
    for name, field in kinds.sections(type(config)).items():
        if (section := getattr(config, name)) is not None:
            plain[name] = {"kind": kinds.stored(field, section)} | {
                k: v for k, v in plain[name].items() if k != "kind"
            }
    return plain


def to_yaml(config: Any) -> str:
    """A configuration as YAML that `load` reads back."""
    return as_yaml(to_dict(config))


def as_yaml(values: dict[str, Any]) -> str:
    """Settings as the YAML of a recipe."""
    return yaml.safe_dump(to_plain(values), sort_keys=False, allow_unicode=True)


def flat(config: Any, separator: str = ".") -> dict[str, Any]:
    """The leaves of a configuration, or of nested mappings, by their dotted names.

    Lists are leaves, empty mappings are dropped; the leaves of a configuration are plain values.
    """

    def walk(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{name}{separator}")
            else:
                yield f"{prefix}{name}", value

    return dict(walk(config if isinstance(config, Mapping) else to_dict(config), ""))


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flat`: dotted names become sections."""
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
        classes = field.metadata.get(kinds.KINDS)
        if classes:
            inner = (field_names(one, f"{prefix}{field.name}.") for one in classes.values())
            names += dict.fromkeys(itertools.chain.from_iterable(inner))
            continue
        hint = hints[field.name]
        name = prefix + field.name
        is_section = isinstance(hint, type) and dataclasses.is_dataclass(hint)
        names += field_names(hint, f"{name}.") if is_section else [name]
    return names


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings given by a program as a recipe holds them: dataclasses become sections."""
    return {name: _plain_setting(value) for name, value in settings.items()}


def _plain_setting(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain_settings({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return plain_settings({str(name): inner for name, inner in value.items()})
    if isinstance(value, (list, tuple)):
        return [_plain_setting(inner) for inner in value]
    if hasattr(value, "item") and hasattr(value, "dtype"):  # a number of NumPy
        return value.item()
    return str(value) if isinstance(value, PurePath) else value


def texts(cls: type[Any], prefix: str = "") -> dict[str, bool]:
    """The dotted text fields of a configuration class -> whether they may be null."""
    if not dataclasses.is_dataclass(cls):
        return {}
    fields: dict[str, bool] = {}
    for name, hint in get_type_hints(cls).items():
        if hint in (str, str | None):
            fields[prefix + name] = hint is not str
        elif isinstance(hint, type):
            fields |= texts(hint, f"{prefix}{name}.")
    return fields


def to_plain(value: Any) -> Any:
    """A value of a configuration as plain data for YAML and JSON."""
    if isinstance(value, dict):
        return {k: to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return str(value) if isinstance(value, (Path, Uri)) else value
