"""`itrec schema`: the JSON Schema of a command's recipes."""

import json
from typing import Any, Literal

from itrec_dist.cli.app import parsers_of
from itrec_dist.config import Parser


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec schema",
        "Print the JSON Schema of the recipes of a command. An editor that knows it completes and "
        "checks settings while you write: `# yaml-language-server: $schema=FILE` as the first line "
        "of a recipe names it.",
    )
    options.add_argument(
        "command",
        type=Literal["train", "window", "sweep", "reproduce"],
        help="Command whose recipes are meant: train, window, sweep or reproduce.",
    )
    return options


def run(parsed: Any) -> int:
    """Print it."""
    from itrec_dist.config.recipe_schema import recipe_schema

    print(json.dumps(recipe_schema(parsers_of(parsed.command)), indent=2, ensure_ascii=False))
    return 0
