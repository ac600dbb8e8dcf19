"""Several events of one user with one item: kept, dropped or refused, as `--repeats` says."""

from collections.abc import Mapping
from typing import Literal

from itrec_dist.data.database import Database
from itrec_dist.errors import DataError

Repeats = Literal["keep", "first", "last", "refuse"]

Sized = tuple[str, Mapping[str, int]]
"""The name of a step, and how many events, users and items it left."""


def sizes(database: Database) -> Mapping[str, int]:
    """How many events, users and items `events` has; fills `event_users` and `event_items`."""
    database.table("event_users", "next_items/event_users")
    database.table("event_items", "next_items/event_items")
    found: Mapping[str, int] = database.rows("next_items/event_sizes")[0]
    return found


def settle(database: Database, repeats: Repeats | None) -> list[Sized]:
    """Drop repeats from `events` where the setting says so, and return that step, if any.

    Raises:
        DataError: an item repeats that may not.
    """
    if repeats == "refuse":
        for row in database.rows("checks/repeated_events"):
            raise DataError(
                f"user {row['user_source_id']} has {row['num_events']} events with item "
                f"{row['item_source_id']} and --repeats is refuse: give keep, first or last, or "
                "remove all but one of them"
            )
    if repeats not in ("first", "last"):
        return []
    database.table("events", "next_items/repeats", keeps_last=repeats == "last")
    return [(f"{repeats} of each user and item", sizes(database))]
