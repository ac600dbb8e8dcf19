"""Loading, overriding, printing and storing configurations.

A configuration is a tree of frozen dataclasses with a docstring under each field. Recipes (YAML),
dotted overrides and Tune trials all go through the one parser made here, by jsonargparse: it
checks every type and refuses unknown keys. This file adds the names that would have been valid.
"""

import dataclasses
import difflib
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jsonargparse
import yaml
from jsonargparse.typing import register_type

from itrec_dist.config.values import KINDS
from itrec_dist.errors import ConfigError
from itrec_dist.storage.uri import Uri, shown, squashed

T = TypeVar("T")


jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
register_type(Uri, str, Uri)


_NOTE = re.compile(r"(.*?)(?: \(((?:required|type|default)\b.*)\))?$", re.DOTALL)
"""An option's text, and the note on its type and default that the library appends."""


class _Help(jsonargparse.DefaultHelpFormatter):
    """Help in a person's words: no Python types, no noise about what is plain to see."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any = None) -> None:
        """One line; the options are listed right below anyway."""
        places = " ".join(str(a.metavar or a.dest).upper() for a in actions if not a.option_strings)
        usage = " ".join(part for part in ("%(prog)s", places, "[options]") if part)
        super().add_usage(usage, [], groups, prefix)

    def add_argument(self, action: Any) -> None:
        """Leave out the options that read a whole section from a file: recipes do that."""
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


class Parser(jsonargparse.ArgumentParser):
    """An argument parser whose every refusal is one ConfigError sentence."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            exit_on_error=False,
            allow_abbrev=False,
            print_config="--print-%s",
            formatter_class=_Help,
        )
        self._sections: dict[str, dataclasses.Field[Any]] = {}

    def add_class_arguments(self, theclass: type[Any], *names: Any, **options: Any) -> Any:
        """Add a class's fields; one that holds one of several classes waits for its kind."""
        fields = dataclasses.fields(theclass) if dataclasses.is_dataclass(theclass) else ()
        waiting = {f.name: f for f in fields if KINDS in f.metadata}
        assert not (waiting and names), "kinds are chosen at the top level alone"
        self._sections |= waiting
        skipped = {*options.pop("skip", ()), *waiting}
        return super().add_class_arguments(theclass, *names, skip=skipped, **options)

    def add_config_file(self) -> None:
        """Add `--config RECIPE` and `--print-config`."""
        self.add_argument(
            "--config",
            action="config",
            metavar="RECIPE",
            help="YAML file with settings; options that follow it win over it.",
        )
        for action in self._actions:
            if "--print-config" in action.option_strings:
                action.help = (
                    "Print the resolved configuration, as --config reads it, and leave; the flag "
                    "skip_default leaves out what is at its default."
                )

    def parse(self, arguments: Sequence[str]) -> Any:
        """Parse and instantiate the dataclasses.

        Raises:
            ConfigError: an unknown option or key, a wrong type, a missing value.
        """
        arguments = _with_underscores(arguments)
        self._add_chosen(arguments)
        for recipe in _recipes(arguments):
            self._check_recipe(recipe)
        try:
            parsed = self.instantiate(self.parse_args(arguments))
            _refuse_squashed(parsed)
            return parsed
        except (jsonargparse.ArgumentError, ValueError, TypeError, yaml.YAMLError) as error:
            raise ConfigError(self._explain(str(error))) from error

    def _add_chosen(self, arguments: Sequence[str]) -> None:
        """Add the settings of the classes that the arguments choose by their kind."""
        while self._sections:
            name, field = self._sections.popitem()
            assert callable(field.default_factory)
            default = field.default_factory().kind
            recipes, given = _given_kinds(arguments, name)
            kind = [default, *recipes, *given][-1]
            if kind not in field.metadata[KINDS]:
                known = ", ".join(field.metadata[KINDS])
                raise ConfigError(f"there is no {name}.kind {kind!r}; there are: {known}")
            for other in (*recipes, *given):
                if other != kind:
                    raise ConfigError(
                        f"{name}.kind={other} and {name}.kind={kind} are both given, and have "
                        f"settings of their own: give one of them, with a recipe of its kind"
                    )
            super().add_class_arguments(field.metadata[KINDS][kind], name)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage and leaving the process."""
        raise ConfigError(self._explain(message)) from ex

    def options(self) -> list[str]:
        """Every dotted option name that holds a value, without dashes."""
        names = (s[2:] for a in self._actions for s in a.option_strings if s.startswith("--"))
        found = sorted(n for n in names if n != "help" and not n.startswith("print"))
        return [n for n in found if not any(o.startswith(n + ".") for o in found)]

    def _keys(self) -> list[str]:
        """Every dotted key that a recipe may hold: the options, and what stands without dashes."""
        places = [a.dest for a in self._actions if not a.option_strings]
        return [o for o in [*self.options(), *places] if o != "config"]

    def _check_recipe(self, path: str) -> None:
        """Refuse what the parser behind would refuse without naming file, line or valid keys."""
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"the recipe {path} is not UTF-8 text: save it as UTF-8") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            raise ConfigError(
                f"the recipe {path} is no YAML: line {line}: {error.problem}"
            ) from error
        if not isinstance(content, dict):
            raise ConfigError(
                f"the recipe {path} must hold settings, one `name: value` a line, "
                f"not {'nothing' if content is None else _shortened(repr(content))}"
            )
        self._check_keys(content, path, "")

    def _check_keys(self, content: dict[str, Any], path: str, prefix: str) -> None:
        options = self._keys()
        for name, value in content.items():
            key = f"{prefix}{name}"
            inner = [o for o in options if o.startswith(key + ".")]
            if inner and isinstance(value, dict):
                self._check_keys(value, path, key + ".")
            elif inner:
                raise ConfigError(
                    f"{path}: {key} must be a section with settings ({', '.join(inner)}), "
                    f"not {value!r}"
                )
            elif key not in options:
                raise ConfigError(f"{path}: there is no setting {key}{valid(key, options)}")

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
        """Settings as a command line names them: `--out`, or `RUN` for what has no dashes."""
        places = {a.dest: str(a.metavar or a.dest).upper() for a in self._actions
                  if not a.option_strings}  # fmt: skip
        return ", ".join(places.get(n, f"--{n}") for n in names.split(", "))


def load(
    cls: type[T], recipe: Path | None = None, overrides: Sequence[str] = (), prog: str = "itrec"
) -> T:
    """Build a `cls` from a recipe and dotted overrides such as `model.width=64`.

    Raises:
        ConfigError: the recipe cannot be read, or a key or value does not fit `cls`.
    """
    parser = Parser(prog, "")
    parser.add_config_file()
    parser.add_class_arguments(cls)
    arguments = [] if recipe is None else ["--config", str(recipe)]
    arguments += [f"--{override.removeprefix('--')}" for override in overrides]
    return pick(cls, parser.parse(arguments))


def pick(cls: type[T], parsed: Any) -> T:
    """The `cls` whose fields stand at the top level of a parsed namespace."""
    try:
        return cls(**{f.name: parsed[f.name] for f in dataclasses.fields(cls)})  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(str(error)) from error


def valid(key: str, options: Sequence[str]) -> str:
    """The closest option to a wrong key, and those that stand beside it, as a refusal's end."""
    sections = {o.rpartition(".")[0] for o in options} - {""}
    close = difflib.get_close_matches(key, [*options, *sections], n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    section = key.rpartition(".")[0]
    beside = [o for o in options if section and o.startswith(section + ".")] or options
    return f"{hint}; valid here: {', '.join(beside)}"


def _refuse_squashed(parsed: Any) -> None:
    """A path that was meant to be a URI would make a folder called `s3:` here."""
    for name, value in vars(parsed).items():
        values = value if isinstance(value, (list, tuple)) else [value]
        for meant in (squashed(v) for v in values if isinstance(v, Path)):
            if meant is not None:
                raise ConfigError(f"{name} must be a path on this machine, not {shown(meant)!r}")


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _in_words(kind: str) -> str:
    words = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "text",
        "tuple": "a list, as in [1, 2]",
        "list": "a list, as in [1, 2]",
    }
    return re.sub(r"\b[a-z]+\b", lambda found: words.get(found.group(), found.group()), kind)


def _recipes(arguments: Sequence[str]) -> list[str]:
    """The files that `--config FILE` and `--config=FILE` name."""
    after = [b for a, b in itertools.pairwise(arguments) if a == "--config"]
    return after + [a.partition("=")[2] for a in arguments if a.startswith("--config=")]


def _given_kinds(arguments: Sequence[str], section: str) -> tuple[list[str], list[str]]:
    """The kinds of a section that recipes give, and those that options give.

    A recipe that cannot be read gives none here: it is refused when it is checked.
    """
    recipes: list[str] = []
    given: list[str] = []
    option = f"--{section}.kind"
    for argument, after in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        flag, equals, value = argument.partition("=")
        value = value if equals else after
        if flag == option:
            given.append(value)
        elif flag == "--config":
            try:
                content = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError):
                continue
            inner = content.get(section) if isinstance(content, dict) else None
            if isinstance(inner, dict) and "kind" in inner:
                recipes.append(str(inner["kind"]))
    return recipes, given


def _with_underscores(arguments: Sequence[str]) -> list[str]:
    """Accept `--top-items` for `--top_items`; values are left alone."""
    fixed = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--") and not name.startswith("--print-"):
            name = "--" + name[2:].replace("-", "_")
        fixed.append(name + equals + value)
    return fixed
