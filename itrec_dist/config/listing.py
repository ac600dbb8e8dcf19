"""The options of a command as data, for shell completion and for the reference in `docs/`."""

import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from itrec_dist.config import kinds
from itrec_dist.config.parser import Parser
from itrec_dist.storage.uri import Uri


@dataclass(frozen=True)
class Option:
    """One option, or one argument without dashes."""

    names: tuple[str, ...]
    """As written: `-k` and `--k`, or `RUN` for an argument without dashes."""
    description: str
    """What it does, with type and default in brackets, as `--help` prints it."""
    takes_value: bool
    """False for a switch."""
    choices: tuple[str, ...]
    """The values it allows; empty if they cannot be listed."""
    is_path: bool
    """Whether its value is a file or a folder."""

    @property
    def has_dashes(self) -> bool:
        """Whether it is an option."""
        return self.names[0].startswith("-")


def listed(parser: Parser, words: tuple[str, ...] = ()) -> dict[str, list[Option]]:
    """The options of a fresh parser by the heading of their section, as `--help` orders them.

    `words` is the beginning of a command line, such as `--model.kind=sasrec`: it chooses the kinds
    of the sections that have several.

    Raises:
        ConfigError: `words` names a kind that there is not.
    """
    if parser.sections:
        parser.prepare(parser.choose(parser.read(words))[1])
    formatter: Any = parser._get_formatter()
    found: dict[str, list[Option]] = {}
    for group in parser._action_groups:
        heading = re.sub(r" \(.*itrec_dist.*\)$|:$", "", group.title or "")
        for action in group._group_actions:
            is_shown = action.help and action.help != "==SUPPRESS==" and action.metavar != "CONFIG"
            if is_shown and action.dest != "help":
                found.setdefault(heading, []).append(_option(action, formatter))
    return found


def of_kinds(parser: Parser) -> dict[str, dict[str, Parser]]:
    """For each section with several kinds a parser of each kind's settings alone."""
    return {
        name: {kind: _section(field, kind) for kind in field.metadata[kinds.KINDS]}
        for name, field in parser.sections.items()
    }


def _section(field: Any, kind: str) -> Parser:
    parser = Parser("itrec", "")
    parser.add_class_arguments(kinds.class_of(field, kind), field.name, skip={"kind"})
    return parser


def _option(action: Any, formatter: Any) -> Option:
    hints = tuple(_parts(getattr(action, "_typehint", None)))
    choices: tuple[Any, ...] = tuple(action.choices or ())
    for hint in hints:
        if typing.get_origin(hint) is Literal:
            choices += typing.get_args(hint)
        elif hint is bool:
            choices += ("true", "false")
    return Option(
        tuple(action.option_strings) or (str(action.metavar or action.dest).upper(),),
        " ".join(formatter._expand_help(action).split()),
        action.nargs != 0,
        tuple(map(str, choices)),
        action.dest == "config" or any(hint in (Path, Uri) for hint in hints),
    )


def _parts(hint: Any) -> Iterator[Any]:
    """A type, and the members of a union or the entries of a list."""
    yield hint
    origin = typing.get_origin(hint)
    if origin is not None and origin is not Literal and not issubclass(_class(origin), Mapping):
        for inner in typing.get_args(hint):
            yield from _parts(inner)


def _class(origin: Any) -> type[Any]:
    return origin if isinstance(origin, type) else object
