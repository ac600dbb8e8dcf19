"""Sections that hold one of several classes: how the class is chosen and stored.

A section is declared by a field with `KINDS` in its metadata: a mapping from kind to class, such as
a `Registry`, which takes `module:Class` too. `model.kind` chooses the class of the section `model`;
`--model bst` on a command line and `model: bst` in a recipe are short for `model.kind`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from itrec_dist.config.recipes import Recipe
from itrec_dist.config.registry import Registry, did_you_mean
from itrec_dist.errors import ConfigError

KINDS = "kinds"
"""Metadata of a field that holds one of several dataclasses: kind -> class.

Each of them has a field `kind`. The kind that a recipe or an option gives decides which settings
are valid. If neither does, the field's default factory decides; a field whose default is None takes
the kind that `following` of its configuration returns.
"""

Given = list[str | Recipe]
"""A command line whose `--config` options have been replaced by the recipes they name."""


def sections(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a configuration class that hold one of several classes, by name."""
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return {field.name: field for field in fields if KINDS in field.metadata}


def default_kind(field: dataclasses.Field[Any]) -> str | None:
    """The kind of a section if none is given; None if it depends on other settings."""
    if field.default is None:
        return None
    assert callable(field.default_factory)
    return stored(field, field.default_factory())


def class_of(field: dataclasses.Field[Any], kind: str) -> type[Any]:
    """The class of a kind.

    Raises:
        ConfigError: there is no such kind, or its class is no dataclass with a field `kind`.
    """
    classes: Mapping[str, Any] = field.metadata[KINDS]
    if kind not in classes:
        known = ", ".join(classes)
        own = ", or one of your own as module:Class" if isinstance(classes, Registry) else ""
        hint = did_you_mean(kind, classes)
        raise ConfigError(f"there is no {field.name}.kind {kind!r}{hint}; there are: {known}{own}")
    cls = classes[kind]
    if not dataclasses.is_dataclass(cls) or not isinstance(cls, type):
        raise ConfigError(
            f"{field.name}.kind={kind} is not a dataclass: decorate it with @dataclass(frozen=True)"
        )
    if not any(inner.name == "kind" for inner in dataclasses.fields(cls)):
        raise ConfigError(
            f"{field.name}.kind={kind} is a dataclass without a field `kind`: add `kind: str = "
            f'"{cls.__name__}"` to it'
        )
    return cls


def stored(field: dataclasses.Field[Any], value: Any) -> str:
    """The kind from which `class_of` gives the class of `value` again."""
    classes: Mapping[str, Any] = field.metadata[KINDS]
    kind = str(value.kind)
    if ":" not in kind and kind in classes and classes[kind] is type(value):
        return kind
    return f"{type(value).__module__}:{type(value).__qualname__}"


def has_own_kind(cls: type[Any]) -> bool:
    """Whether a section's class has a default for its own `kind`."""
    kind = next(field for field in dataclasses.fields(cls) if field.name == "kind")
    return kind.default is not dataclasses.MISSING


def listed(field: dataclasses.Field[Any]) -> str:
    """The available kinds, for a help text."""
    own = " or module:Class" if isinstance(field.metadata[KINDS], Registry) else ""
    return f"{', '.join(field.metadata[KINDS])}{own}"


def take(given: Given, field: dataclasses.Field[Any], default: str) -> tuple[str, Given]:
    """Take the kind of a section out of the arguments; returns it and the other arguments.

    The last kind that is given wins. Of a recipe of another kind, the settings that both kinds have
    stay, as in the space of a sweep; its defaults, which the stored configuration of a run holds
    too, and settings that the new kind lacks are left out.
    """
    name = field.name
    kinds: list[tuple[str | None, int | None]] = []  # and the place of their recipe in `rest`
    rest: Given = []
    waits = False
    for part in given:
        if isinstance(part, Recipe):
            content, kind = _without_kind(part.content, field)
            if kind is not _ABSENT:
                kinds.append((kind, len(rest)))
            rest.append(Recipe(part.path, content))
            continue
        option, equals, value = part.partition("=")
        if waits:
            kinds.append((_or_null(part), None))
            waits = False
        elif option in (f"--{name}", f"--{name}.kind") and equals:
            kinds.append((_or_null(value), None))
        elif option in (f"--{name}", f"--{name}.kind"):
            waits = True
        else:
            rest.append(part)
    if waits:
        rest.append(f"--{name}.kind")  # without a value, which the parser reports
    kind = next((kind for kind, _ in reversed(kinds) if kind is not None), None)
    if kinds and kinds[-1][0] is None:
        kind = None
    kind = kind or default
    for other, place in kinds:
        if place is not None and other is not None and other != kind:
            recipe = rest[place]
            assert isinstance(recipe, Recipe)
            rest[place] = _carried(recipe, field, other, kind)
    return kind, rest


_ABSENT: Any = object()


def _or_null(value: str) -> str | None:
    return None if value == "null" else value


def _without_kind(
    content: Mapping[str, Any], field: dataclasses.Field[Any]
) -> tuple[dict[str, Any], Any]:
    """A recipe without a section's kind, and the kind."""
    name, rest = field.name, dict(content)
    kind = rest.pop(f"{name}.kind", _ABSENT)
    section = rest.get(name, _ABSENT)
    if isinstance(section, str) or (section is None and field.default is None):
        kind = rest.pop(name)
    elif isinstance(section, dict):
        inner = dict(section)
        kind = inner.pop("kind", kind)
        rest[name] = inner
        if not inner and section:
            del rest[name]
    return rest, kind if kind is _ABSENT or kind is None else str(kind)


def _carried(recipe: Recipe, field: dataclasses.Field[Any], other: str, kind: str) -> Recipe:
    """A recipe of the kind `other` with those of its settings that `kind` has too.

    Defaults of `other` are left out: those of `kind` hold in their place.
    """
    name = field.name
    theirs = {f.name: f.default for f in dataclasses.fields(class_of(field, other))}
    ours = {f.name for f in dataclasses.fields(class_of(field, kind))}

    def stays(setting: str, value: Any) -> bool:
        # What neither has stays, to be refused as the mistake that it is.
        return setting not in theirs or (setting in ours and theirs[setting] != value)

    rest = {
        key: value
        for key, value in recipe.content.items()
        if key == name or not key.startswith(f"{name}.") or stays(key.partition(".")[2], value)
    }
    settings = rest.pop(name, None) or {}
    if kept := {key: value for key, value in settings.items() if stays(key, value)}:
        rest[name] = kept
    return Recipe(recipe.path, rest)
