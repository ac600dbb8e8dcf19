"""The parser of recipes and dotted overrides.

A configuration is a tree of frozen dataclasses with a docstring under each field. Recipes (YAML)
and dotted overrides go through one parser, built on jsonargparse, which checks every type and
refuses unknown keys; this file adds the valid names to its messages. A recipe is read once, and
its settings are passed to jsonargparse as options, at the recipe's position on the command line.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import docstring_parser
import jsonargparse
import yaml
from jsonargparse.typing import register_type

from itrec_dist.config import kinds, recipes
from itrec_dist.config.recipes import Recipe, as_text
from itrec_dist.config.registry import did_you_mean
from itrec_dist.config.values import plain_settings, texts
from itrec_dist.errors import ConfigError
from itrec_dist.storage.uri import Uri, shown, squashed

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
# jsonargparse would read and parse a class's source at every parsing, half of what that costs.
docstring_parser.parse_from_object = functools.cache(docstring_parser.parse_from_object)
register_type(Uri, str, Uri)


_NOTE = re.compile(r"(.*?)(?: \(((?:required|type|default)\b.*)\))?$", re.DOTALL)
"""An option's help text, and the note on its type and default that jsonargparse appends."""


class _Help(jsonargparse.DefaultHelpFormatter):
    """Help for users: no Python type names, no defaults that are obvious."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any = None) -> None:
        """Print one line; the options are listed right below anyway."""
        places = " ".join(str(a.metavar or a.dest).upper() for a in actions if not a.option_strings)
        usage = " ".join(part for part in ("%(prog)s", places, "[options]") if part)
        super().add_usage(usage, [], groups, prefix)

    def add_argument(self, action: Any) -> None:
        """Leave out jsonargparse's options that read a section from a file: recipes do that."""
        if action.metavar != "CONFIG":
            super().add_argument(action)

    def _expand_help(self, action: Any) -> str:
        text, note = _NOTE.match(super()._expand_help(action)).groups()  # type: ignore[union-attr]
        kind = re.search(r"type: (.*?)(?=, default: |$)", note or "")
        default = re.search(r"default: (.*)$", note or "")
        parts = (
            ["required"] if (note or "").startswith("required") and action.option_strings else []
        )
        if kind and not re.search(r"Literal|Path|str|bool", kind.group(1)):
            parts.append(kind.group(1))
        if default and default.group(1) not in ("False", "null", "", "()"):
            listed = re.sub(r"^\((.*?),?\)$", r"[\1]", default.group(1)).replace("'", "")
            parts.append(f"default: {listed}")
        return f"{text} ({', '.join(parts)})" if parts else text


class Choice(NamedTuple):
    """The classes of the sections that hold one of several, and the defaults that follow."""

    classes: tuple[tuple[str, type[Any]], ...]
    """The class of each section, by its name."""

    defaults: tuple[tuple[str, str], ...]
    """The kind of each section if none is given."""

    following: tuple[tuple[str, Any], ...]
    """Settings whose defaults follow from the classes."""


class Parser(jsonargparse.ArgumentParser):
    """An argument parser that reports every mistake as a one-sentence ConfigError."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            exit_on_error=False,
            allow_abbrev=False,
            print_config="--print-%s",
            formatter_class=_Help,
        )
        self._classes: list[type[Any]] = []
        self.sections: dict[str, dataclasses.Field[Any]] = {}  # that hold one of several classes
        self._texts: dict[str, bool] = {}
        self._followed: frozenset[str] = frozenset()
        self._given_defaults: jsonargparse.Namespace | None = None
        self.takes_recipes = False

    def add_class_arguments(self, theclass: type[Any], *names: Any, **options: Any) -> Any:
        """Add a class's fields; sections with several classes wait until their kind is known."""
        waiting = kinds.sections(theclass)
        assert not (waiting and names), "kinds are chosen at the top level alone"
        self.sections |= waiting
        self._classes.append(theclass)
        self._texts |= texts(theclass, f"{names[0]}." if names else "")
        skipped = {*options.pop("skip", ()), *waiting}
        return super().add_class_arguments(theclass, *names, skip=skipped, **options)

    def add_config_file(self) -> None:
        """Add `--config RECIPE` and `--print-config`."""
        self.takes_recipes = True
        self.add_argument(
            "--config",
            action="config",
            metavar="RECIPE",
            help="YAML file with settings; options after it override it.",
        )
        for action in self._actions:
            if "--print-config" in action.option_strings:
                action.help = (
                    "Print the resolved configuration, as --config reads it, and exit; the flag "
                    "skip_default omits defaults."
                )

    def parse(self, arguments: Sequence[str]) -> Any:
        """Parse and instantiate the dataclasses.

        Raises:
            ConfigError: an unknown option or key, a wrong type, a missing value.
        """
        return self._parse(self.read(arguments))

    def parse_settings(self, settings: Mapping[str, Any]) -> Any:
        """The same of settings by the names of the options, as a recipe holds them.

        Sections are mappings or dataclasses; `config` names a recipe, which the others override.

        Raises:
            ConfigError: an unknown name, a wrong type, a missing value.
        """
        named = plain_settings(settings)
        for name, field in self.sections.items():
            if dataclasses.is_dataclass(given_section := settings.get(name)):
                named[name]["kind"] = kinds.stored(field, given_section)
        given: kinds.Given = []
        if (recipe := named.pop("config", None)) is not None:
            given.append(recipes.read(str(recipe)))
        return self._parse([*given, Recipe("", named)])

    def _parse(self, given: kinds.Given) -> Any:
        given, choice = self.choose(given)
        self.prepare(choice)
        return self.parse_given(given, choice)

    def read(self, arguments: Sequence[str]) -> kinds.Given:
        """The arguments of a command line, with each `--config` replaced by its recipe.

        Raises:
            ConfigError: a recipe cannot be read.
        """
        return self._read(_with_underscores(arguments))

    def choose(self, given: kinds.Given) -> tuple[kinds.Given, Choice]:
        """Choose the classes of the sections; the parser itself stays as it is.

        Raises:
            ConfigError: there is no such kind, or two are given.
        """
        chosen: dict[str, type[Any]] = {}
        defaults: dict[str, str] = {}
        following: dict[str, Any] = {}
        for field in sorted(self.sections.values(), key=lambda field: field.default is None):
            name, default = field.name, kinds.default_kind(field)
            if default is None:
                following = following or self._following(chosen)
                default = str(following.pop(f"{name}.kind"))
            kind, given = kinds.take(given, field, default)
            chosen[name] = kinds.class_of(field, kind)
            defaults[name] = default
            given = [f"--{name}.kind={kind}", *given]
        return given, Choice(
            tuple(chosen.items()), tuple(defaults.items()), tuple(following.items())
        )

    def prepare(self, choice: Choice) -> None:
        """Add the chosen classes' settings, and set the defaults that follow from the choice."""
        defaults, following = dict(choice.defaults), dict(choice.following)
        for name, cls in choice.classes:
            self._add_section(self.sections[name], cls, defaults[name])
        self.set_defaults(following)
        self._followed = frozenset(following)

    def parse_given(self, given: kinds.Given, choice: Choice) -> Any:
        """Parse what `choose` returned, with a parser that was prepared for that choice.

        Raises:
            ConfigError: an unknown option or key, a wrong type, a missing value.
        """
        has_places = self._has_places(given)
        options: list[str] = []
        for part in given:
            found = self._options_of(part) if isinstance(part, Recipe) else [part]
            if has_places and isinstance(part, Recipe):  # the command line's replace the recipe's
                found = [option for option in found if option.startswith("--")]
            options += found
        try:
            # With `defaults`, jsonargparse collects them anew each time and looks among them for
            # classes to build, of which there are none: half the time of a parse.
            self._given_defaults = self._given_defaults or self.get_defaults(skip_validation=True)
            parsed = self.parse_args(options, namespace=self._given_defaults, defaults=False)
            for name, cls in choice.classes:
                if kinds.has_own_kind(cls):
                    del parsed[name].kind
            parsed = self.instantiate(parsed)
            _check_no_broken_uri(parsed)
            return parsed
        except (jsonargparse.ArgumentError, ValueError, TypeError, yaml.YAMLError) as error:
            raise ConfigError(self._explain(str(error))) from error

    def _has_places(self, given: kinds.Given) -> bool:
        """Whether the command line has arguments without dashes that are no option's value."""
        takes_value = False
        for part in given:
            if isinstance(part, Recipe):
                takes_value = False
            elif part.startswith("-"):
                action = self._option_string_actions.get(part)
                takes_value = action is not None and action.nargs != 0
            elif takes_value:
                takes_value = action is not None and action.nargs == "+"
            else:
                return True
        return False

    def _read(self, arguments: Sequence[str]) -> kinds.Given:
        """The arguments, with each `--config` replaced by its recipe."""
        given: kinds.Given = []
        waits = False
        for argument in arguments:
            if waits:
                given[-1] = recipes.read(argument)
                waits = False
            elif self.takes_recipes and argument.startswith("--config="):
                given.append(recipes.read(argument.partition("=")[2]))
            else:
                given.append(argument)
                waits = self.takes_recipes and argument == "--config"
        return given

    def _following(self, chosen: dict[str, type[Any]]) -> dict[str, Any]:
        return {
            name: value
            for cls in self._classes if hasattr(cls, "following")
            for name, value in cls.following(chosen).items()
        }  # fmt: skip

    def _add_section(self, field: dataclasses.Field[Any], cls: type[Any], default: str) -> None:
        name = field.name
        self._texts |= texts(cls, f"{name}.")
        super().add_class_arguments(cls, name, skip={"kind"})
        assert self.groups is not None
        self.groups[name].add_argument(
            f"--{name}.kind",
            type=str,
            default=default,
            help=f"{kinds.listed(field)}; `--{name}.kind KIND --help` lists the settings of one.",
        )

    def _options_of(self, recipe: Recipe) -> list[str]:
        """A recipe's settings as options."""
        places = [a.dest for a in self._actions if not a.option_strings]
        # A program's settings may name a recipe, one recipe may not name another.
        valid_keys = [o for o in [*self.options(), *places] if o != "config" or not recipe.path]
        return list(self._leaves(recipe.content, recipe.path, "", valid_keys))

    def _leaves(
        self, content: dict[str, Any], path: str, prefix: str, valid_keys: Sequence[str]
    ) -> Iterator[str]:
        """The settings of a section as options; errors are raised here, where the file is known."""
        where = f"{path}: " if path else ""  # settings of a program have none
        for name, value in content.items():
            key = f"{prefix}{name}"
            inner = [o for o in valid_keys if o.startswith(key + ".")]
            if inner and isinstance(value, dict):
                yield from self._leaves(value, path, key + ".", valid_keys)
            elif inner:
                raise ConfigError(
                    f"{where}{key} must be a section with settings ({', '.join(inner)}), "
                    f"not {value!r}"
                )
            elif key not in valid_keys:
                raise ConfigError(f"{where}there is no setting {key}{valid(key, valid_keys)}")
            elif value is not None or key not in self._followed:
                yield from self._as_option(key, value)

    def _as_option(self, key: str, value: Any) -> list[str]:
        action = self._option_string_actions.get(f"--{key}")
        if action is None:
            return [as_text(value)]
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise ConfigError(f"{key} must be true or false, not {as_text(value)!r}")
            return [f"--{key}"] if value else []
        if key in self._texts and not isinstance(value, str):
            takes_null = self._texts[key]
            if value is not None or not takes_null:
                null = " or null" if takes_null else ""
                raise ConfigError(f"{key} must be text{null}, not {as_text(value)!r}")
        if action.nargs == "+" and isinstance(value, list):
            return [f"--{key}", *map(as_text, value)]
        return [f"--{key}={as_text(value)}"]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise ConfigError(self._explain(message)) from ex

    def options(self) -> list[str]:
        """Every dotted option that takes a value, without dashes."""
        flags = (s[2:] for a in self._actions for s in a.option_strings if s.startswith("--"))
        names = sorted(n for n in flags if n != "help" and not n.startswith("print"))
        return [n for n in names if not any(o.startswith(n + ".") for o in names)]

    def _explain(self, message: str) -> str:
        sentence = re.sub(r"\s+", " ", message).strip()
        sentence = re.sub(r'^Parser key "([^"]+)": ', r"\1: ", sentence)
        sentence = re.sub(r"<class '([\w.]+)'>", r"\1", sentence).replace("typing.", "")
        sentence = sentence.replace("NoneType", "null")
        unknown = re.search(
            r"[Uu]nrecognized arguments: --([\w.-]+)|does not accept option '([\w.]+)'", sentence
        )
        if unknown:
            key = unknown.group(1) or unknown.group(2)
            return f"there is no setting {key}{valid(key, self.options())}"
        missing = re.search(r"arguments are required: (.*)", sentence)
        if missing:
            return f"something is missing: give {self._as_written(missing.group(1))}"
        stray = re.search(r"[Uu]nrecognized arguments: (.*)", sentence)
        if stray:
            return f"{stray.group(1)!r} belongs to no setting: write --name=value"
        kind = re.match(r"([\w.]+): Expected an? (.+?)\. Got value: ?(.*)$", sentence)
        union = re.match(r"([\w.]+): .*Subtypes: \[(.+?)\] Errors:.*Given value: ?(.*)$", sentence)
        if kind or union:
            key, expected, given = (kind or union).groups()  # type: ignore[union-attr]
            allowed = expected.replace(", null", " or null") if union else expected
            choice = re.fullmatch(r"Literal\[(.*?)\](.*)", allowed)
            words = "one of {}{}".format(*choice.groups()) if choice else _in_words(allowed)
            return f"{key} must be {words}, not {given!r}"
        return sentence

    def _as_written(self, names: str) -> str:
        """Settings as a command line names them: `--out`, or `RUN` for positional ones."""
        places = {a.dest: str(a.metavar or a.dest).upper() for a in self._actions
                  if not a.option_strings}  # fmt: skip
        return ", ".join(places.get(n, f"--{n}") for n in names.split(", "))


def valid(key: str, options: Sequence[str]) -> str:
    """The end of a message about a wrong key: the closest option and those of the same section."""
    sections = {o.rpartition(".")[0] for o in options} - {""}
    hint = did_you_mean(key, [*options, *sections])
    section = key.rpartition(".")[0]
    beside = [o for o in options if section and o.startswith(section + ".")] or options
    return f"{hint}; valid here: {', '.join(beside)}"


def _check_no_broken_uri(parsed: Any) -> None:
    """Refuse a path that was meant to be a URI: it would create a local folder named `s3:`."""
    for name, value in vars(parsed).items():
        values = value if isinstance(value, (list, tuple)) else [value]
        for meant in (squashed(v) for v in values if isinstance(v, Path)):
            if meant is not None:
                raise ConfigError(f"{name} must be a path on this machine, not {shown(meant)!r}")


def _in_words(kind: str) -> str:
    words = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "text",
        "tuple": "a list, as in [1, 2]",
        "list": "a list, as in [1, 2]",
    }
    return re.sub(r"\b[a-z]+\b", lambda match: words.get(match.group(), match.group()), kind)


def _with_underscores(arguments: Sequence[str]) -> list[str]:
    """Replace `--top-items` by `--top_items`; values are left alone."""
    fixed = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--") and not name.startswith("--print-"):
            name = "--" + name[2:].replace("-", "_")
        fixed.append(name + equals + value)
    return fixed
