"""`itrec completion`: a script that completes commands, options and values in a shell."""

import argparse
from collections.abc import Iterable
from typing import Any, Literal

from itrec_dist.cli.app import VERBS, parsers_of
from itrec_dist.config import Parser
from itrec_dist.config.listing import Option, listed, of_kinds
from itrec_dist.errors import EnvironmentProblem


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec completion",
        "Print a script that completes the commands of itrec, their options and values. For bash, "
        "put it into ~/.local/share/bash-completion/completions/itrec; for zsh, as _itrec into a "
        "folder of $fpath. It needs the package shtab.",
    )
    options.add_argument(
        "shell", type=Literal["bash", "zsh", "tcsh"], help="Shell: bash, zsh or tcsh."
    )
    return options


def run(parsed: Any) -> int:
    """Print it.

    Raises:
        EnvironmentProblem: shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise EnvironmentProblem(
            "itrec completion needs the package shtab: pip install 'itrec-dist[completion]'"
        ) from error
    print(shtab.complete(_tree(shtab.FILE), parsed.shell))
    return 0


def _tree(path: Any) -> argparse.ArgumentParser:
    """All commands as one plain parser with subcommands, as shtab reads it."""
    top = argparse.ArgumentParser("itrec", add_help=False)
    groups = {"": top.add_subparsers()}
    for verb, (_, line) in VERBS.items():
        group, _, name = verb.rpartition(" ")
        if group not in groups:
            inner = [v for v in VERBS if v.startswith(f"{group} ")]
            told = " or ".join(VERBS[v][1] for v in inner)
            groups[group] = groups[""].add_parser(group, help=told).add_subparsers()
        _add(groups[group].add_parser(name, help=line), _every_option(verb), path)
    return top


def _every_option(verb: str) -> Iterable[Option]:
    """The options of a command, whatever its task or model, each once."""
    found: dict[str, Option] = {}
    for parser in parsers_of(verb):
        variants = [one for kinds in of_kinds(parser).values() for one in kinds.values()]
        for sections in map(listed, [parser, *variants]):
            for option in (option for section in sections.values() for option in section):
                found.setdefault(option.names[-1], option)
    return found.values()


def _add(command: argparse.ArgumentParser, options: Iterable[Option], path: Any) -> None:
    for option in options:
        settings: dict[str, Any] = {"help": option.description.replace("%", "%%")}
        if not option.takes_value:
            settings["action"] = "store_true"
        elif option.choices:
            settings["choices"] = option.choices
        action = command.add_argument(
            *(option.names if option.has_dashes else [option.names[0].lower()]), **settings
        )
        if option.is_path and option.takes_value:
            action.complete = path  # type: ignore[attr-defined]
