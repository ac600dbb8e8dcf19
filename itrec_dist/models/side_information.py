"""The levels of side information, the same for every model that has them."""

from typing import Literal

from itrec_dist.data.manifest import Manifest
from itrec_dist.errors import ConfigError

SideInformation = Literal["none", "user", "item", "movie", "both"]
"""Which features a model sees besides the ids: none, those of the user, those of the items (item
and movie are the same), or both."""


def uses_users(level: SideInformation) -> bool:
    """Whether the level has user features."""
    return level in ("user", "both")


def uses_items(level: SideInformation) -> bool:
    """Whether the level has item features."""
    return level in ("item", "movie", "both")


def refuse_missing(level: SideInformation, data: Manifest) -> None:
    """Refuse data without the features of a level.

    Raises:
        ConfigError: the message says what the data lacks.
    """
    for kind, table, other, uses, there in (
        ("item", "an item table", "user", uses_items(level), data.item_feature_width),
        ("user", "a user table", "item", uses_users(level), data.user_features),
    ):
        if uses and not there:
            raise ConfigError(
                f"model.side_information={level} needs {kind} features, the shards have none: "
                f"window the data with {table}, or choose none or {other}"
            )
