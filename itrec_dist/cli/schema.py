"""`itrec schema`: the JSON Schema of a command's recipes."""

import json
from typing import Any

from itrec_dist.api.schemas import Recipes, schema
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
        type=Recipes,
        help="Command whose recipes are meant: train, window, sweep or reproduce.",
    )
    return options


def run(parsed: Any) -> int:
    """Print it."""
    print(json.dumps(schema(parsed.command), indent=2, ensure_ascii=False))
    return 0
