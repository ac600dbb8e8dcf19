"""The JSON Schema of recipes: what `itrec schema` prints."""

from __future__ import annotations

from typing import Any, Literal, get_args

from itrec_dist.errors import ConfigError
from itrec_dist.options import reproduce, sweep, train, window

Recipes = Literal["train", "window", "sweep", "reproduce"]
"""The commands that take recipes."""


def schema(command: Recipes) -> dict[str, Any]:
    """The JSON Schema of the recipes of a command, with which editors complete and check them.

    Args:
        command: "train", "window", "sweep" or "reproduce".

    Raises:
        ConfigError: it has no recipes.

    Examples:
        >>> Path("train.json").write_text(json.dumps(itrec.schema("train")))
    """
    from itrec_dist.config.recipe_schema import recipe_schema

    if command not in get_args(Recipes):
        raise ConfigError(f"{command!r} has no recipes: give one of {', '.join(get_args(Recipes))}")
    one = {"train": train.parser, "sweep": sweep.parser, "reproduce": reproduce.parser}
    return recipe_schema(window.every_parser() if command == "window" else [one[command]()])
