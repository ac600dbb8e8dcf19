"""Loading, overriding, printing and storing configurations.

A configuration is a tree of frozen dataclasses with a docstring under each field. Recipes (YAML),
dotted overrides and Tune trials all go through the one parser made here, by jsonargparse: it
checks every type and refuses unknown keys. This file adds the names that would have been valid.
"""

import dataclasses
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import jsonargparse
import yaml

from itrec_dist.errors import ConfigError

T = TypeVar("T")

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Parser(jsonargparse.ArgumentParser):
    """An argument parser whose every refusal is one ConfigError sentence."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            exit_on_error=False,
            allow_abbrev=False,
            print_config="--print-%s",
            formatter_class=jsonargparse.DefaultHelpFormatter,
        )

    def add_config_file(self) -> None:
        """Add `--config RECIPE` and `--print-config`."""
        self.add_argument(
            "--config",
            action=jsonargparse.ActionConfigFile,
            metavar="RECIPE",
            help="YAML file with settings; options that follow it win over it.",
        )

    def parse(self, arguments: Sequence[str]) -> Any:
        """Parse and instantiate the dataclasses.

        Raises:
            ConfigError: an unknown option or key, a wrong type, a missing value.
        """
        try:
            return self.instantiate(self.parse_args(_with_underscores(arguments)))
        except (jsonargparse.ArgumentError, ValueError, TypeError, yaml.YAMLError) as error:
            raise ConfigError(self._explain(str(error))) from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage and leaving the process."""
        raise ConfigError(self._explain(message)) from ex

    def options(self) -> list[str]:
        """Every dotted option name this parser knows, without dashes."""
        names = (s for action in self._actions for s in action.option_strings)
        return sorted(n[2:] for n in names if n.startswith("--"))

    def _explain(self, message: str) -> str:
        sentence = re.sub(r"\s+", " ", message).strip()
        sentence = re.sub(r'^Parser key "([^"]+)": ', r"\1: ", sentence)
        sentence = re.sub(r"<class '([\w.]+)'>", r"\1", sentence).replace("typing.", "")
        sentence = sentence.replace("NoneType", "null")
        group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", sentence)
        if group:
            prefix, key = group.groups()
            known = [n[len(prefix) + 1 :] for n in self.options() if n.startswith(prefix + ".")]
            return f"there is no setting {prefix}.{key}{_valid(key, known)}"
        unknown = re.search(
            r"(?:[Uu]nrecognized arguments: --|does not accept option ')([\w.]+)", sentence
        )
        if unknown:
            key = unknown.group(1)
            section, _, _ = key.rpartition(".")
            known = [n for n in self.options() if n.startswith(section)] or self.options()
            return f"there is no setting {key}{_valid(key, known)}"
        return sentence


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


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain values, ready for YAML and JSON."""
    return {k: _plain(v) for k, v in dataclasses.asdict(config).items()}


def to_yaml(config: Any) -> str:
    """A configuration as the YAML that `load` reads back."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def field_names(cls: type[Any], prefix: str = "") -> list[str]:
    """Every dotted leaf field of a configuration class."""
    hints = get_type_hints(cls)
    names: list[str] = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        name = prefix + field.name
        names += field_names(hint, f"{name}.") if dataclasses.is_dataclass(hint) else [name]
    return names


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _valid(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{hint}; valid here: {', '.join(known)}"


def _with_underscores(arguments: Sequence[str]) -> list[str]:
    """Accept `--top-items` for `--top_items`; values are left alone."""
    fixed = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--") and not name.startswith("--print-"):
            name = "--" + name[2:].replace("-", "_")
        fixed.append(name + equals + value)
    return fixed


def wants_config_printed(arguments: Sequence[str] = tuple(sys.argv[1:])) -> bool:
    """Whether the user asked for the resolved configuration only."""
    return any(a.startswith("--print-config") for a in arguments)
