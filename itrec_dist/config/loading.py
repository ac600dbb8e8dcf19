"""Reading a configuration from a recipe and dotted overrides, outside a command line."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from itrec_dist.config.parser import Choice, Parser
from itrec_dist.errors import ConfigError

T = TypeVar("T")


def load(
    cls: type[T], recipe: Path | None = None, overrides: Sequence[str] = (), prog: str = "itrec"
) -> T:
    """Build a `cls` from a recipe and dotted overrides such as `model.width=64`.

    Raises:
        ConfigError: the recipe cannot be read, or a key or value does not fit `cls`.
    """
    arguments = [] if recipe is None else ["--config", str(recipe)]
    arguments += [f"--{override.removeprefix('--')}" for override in overrides]
    made: Any = cls  # mypy does not see that a class is hashable
    bare = _unprepared(made, prog)
    given, choice = bare.choose(bare.read(arguments))
    return pick(cls, _prepared(made, prog, choice).parse_given(given, choice))


def _made(cls: type[Any], prog: str) -> Parser:
    parser = Parser(prog, "")
    parser.add_config_file()
    parser.add_class_arguments(cls)
    return parser


_unprepared = functools.lru_cache(maxsize=8)(_made)


@functools.lru_cache(maxsize=32)
def _prepared(cls: type[Any], prog: str, choice: Choice) -> Parser:
    """A report reads the configurations of hundreds of runs: most of that was making parsers."""
    parser = _made(cls, prog)
    parser.prepare(choice)
    return parser


def pick(cls: type[T], parsed: Any) -> T:
    """Build a `cls` from the top level of a parsed namespace.

    Raises:
        ConfigError: a value does not fit.
    """
    try:
        return cls(**{f.name: parsed[f.name] for f in dataclasses.fields(cls)})  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(str(error)) from error
