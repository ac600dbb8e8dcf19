"""Sets dotted settings on a typed configuration, without reading its recipe again.

A search builds hundreds of configurations that differ from one base in a few settings. Each value
is parsed once, as its field's type, by the same rules as on a command line. The rest is
`dataclasses.replace`, which runs every check of the dataclasses.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, get_type_hints

from itrec_dist.config import kinds
from itrec_dist.config.parser import Parser, valid
from itrec_dist.config.recipes import as_text
from itrec_dist.config.values import flat, to_plain
from itrec_dist.errors import ConfigError

T = TypeVar("T")

_NOTHING: Mapping[str, Any] = {}


class Setter(Generic[T]):
    """Builds variants of a base configuration; each value is parsed only once."""

    def __init__(self, base: T, prog: str = "itrec") -> None:
        self.base = base
        self._prog = prog
        self._sections = kinds.sections(type(base))
        self._parser = Parser(prog, "")
        self._hints: dict[str, Any] = {}
        self._read: dict[tuple[str, Any, str], Any] = {}

    def names(self, chosen: Mapping[str, Any] | None = None) -> list[str]:
        """Every setting of the base and of the kinds in `chosen`; a section's name is its kind."""
        owners = {name: [getattr(self.base, name)] for name in self._sections}
        for name, kind in (chosen or {}).items():
            if name in owners:
                owners[name].append(self._section(name, kind))
        names = [n for n in flat(self.base) if n.partition(".")[0] not in owners]
        for name, candidates in owners.items():
            names.append(name)
            for owner in candidates:
                names += (f"{name}.{f.name}" for f in dataclasses.fields(owner) if f.name != "kind")
        return list(dict.fromkeys(names))

    def plain(self, name: str, value: Any, chosen: Mapping[str, Any] | None = None) -> Any:
        """A value, parsed as the type of the setting `name`, as plain data for YAML and JSON.

        For a section, the value is its kind. `chosen` maps sections to kinds where they differ from
        the base's.

        Raises:
            ConfigError: there is no such setting, or the value has the wrong type.
        """
        if name in self._sections:
            kind = as_text(value)
            if not self.has_kind(name, kind):
                known = ", ".join(map(repr, self._sections[name].metadata[kinds.KINDS]))
                raise ConfigError(f"{name} must be one of {known}, not {kind!r}")
            self._class_of(name, kind)
            return kind
        section = name.partition(".")[0]
        root: Any = self.base
        if chosen and section in self._sections and section in chosen:
            root = dataclasses.replace(root, **{section: self._section(section, chosen[section])})
        *sections, last = name.split(".")
        owner = root
        for inner in sections:
            owner = getattr(owner, inner, None)
        return to_plain(self._value(owner, name, last, value))

    def has_kind(self, section: str, kind: str) -> bool:
        """Whether a section has a kind of this name."""
        return kind in self._sections[section].metadata[kinds.KINDS]

    def set(self, settings: Mapping[str, Any]) -> T:
        """The base with other values of some settings, by their dotted names.

        Raises:
            ConfigError: a name is not a setting, or a value is invalid or conflicts with another.
        """
        tree: dict[str, Any] = {}
        for name, value in settings.items():
            *sections, last = name.split(".")
            if name in self._sections:
                sections, last = [name], "kind"
            branch = tree
            for section in sections:
                branch = branch.setdefault(section, {})
            branch[last] = value
        made: T = self._with(self.base, tree, "")
        return made

    def _with(
        self, owner: Any, tree: Mapping[str, Any], prefix: str, kept: Mapping[str, Any] = _NOTHING
    ) -> Any:
        changed = dict(kept)
        for last, value in tree.items():
            name = f"{prefix}{last}"
            if isinstance(value, dict) and dataclasses.is_dataclass(getattr(owner, last, None)):
                inner, base = dict(value), getattr(owner, last)
                section = base
                if name in self._sections and "kind" in inner:
                    section = self._section(name, as_text(inner.pop("kind")))
                changed[last] = self._with(section, inner, f"{name}.", _shared(base, section))
            else:
                changed[last] = self._value(owner, name, last, value)
        try:
            return dataclasses.replace(owner, **changed) if changed else owner
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def _class_of(self, name: str, kind: str) -> type[Any]:
        field = self._sections[name]
        if kind == kinds.stored(field, getattr(self.base, name)):
            return type(getattr(self.base, name))
        return kinds.class_of(field, kind)

    def _section(self, name: str, kind: str) -> Any:
        """The base's section if it is of that kind, else one with that kind's defaults."""
        cls, base = self._class_of(name, kind), getattr(self.base, name)
        if cls is type(base):
            return base
        return cls() if kinds.has_own_kind(cls) else cls(kind=kind)

    def _value(self, owner: Any, name: str, last: str, value: Any) -> Any:
        fields = {f.name for f in dataclasses.fields(owner)} if owner is not None else set()
        if last not in fields or last == "kind":
            raise ConfigError(f"there is no setting {name}{valid(name, self.names())}")
        key = (name, type(owner), as_text(value))
        if key not in self._read:
            hint = get_type_hints(type(owner))[last]
            if name not in self._hints:
                self._parser.add_argument(f"--{name}", type=hint)
                self._hints[name] = hint
            parser = self._parser
            if self._hints[name] != hint:  # the same name in another kind of section
                parser = Parser(self._prog, "")
                parser.add_argument(f"--{name}", type=hint)
            self._read[key] = parser.parse([f"--{name}={key[2]}"])[name]
        return self._read[key]


def _shared(base: Any, section: Any) -> dict[str, Any]:
    """What the base sets in a section of one kind, as far as another kind has such settings."""
    if type(section) is type(base):
        return {}
    own, other = get_type_hints(type(base)), get_type_hints(type(section))
    return {
        field.name: getattr(base, field.name)
        for field in dataclasses.fields(base)
        if field.name != "kind"
        and own[field.name] == other.get(field.name)
        and getattr(base, field.name) != _default(field)
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
