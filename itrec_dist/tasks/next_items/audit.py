"""The leakage audit of windows of items, and what each protocol promises.

Owns running `sql/checks/` over the cut windows, and the table of promises. The counts are defined
in the header of `sql/checks/leakage.sql`.
"""

from collections.abc import Mapping
from typing import Any

from itrec_dist.data.database import Database
from itrec_dist.data.windowing import totals
from itrec_dist.data.windowing.leakage import Leakage, hold

EXPLANATIONS = {
    "targets_in_training_inputs": "targets that the model was shown as inputs in training",
    "targets_in_training_targets": "targets that were targets in training as well",
    "targets_counted_in_catalogue": "targets that were counted when the catalogue was made",
    "targets_tied_with_training": "targets at the very timestamp of a training event of the user",
    "training_events_not_before": "training events at or after the first target, of any user",
    "training_events_after_own": "training events at or after the same user's first target",
    "shared_events": "events that windows of both sides use",
    "shared_users": "users with windows on both sides",
}
"""Count -> a one-line description."""

_WHOLES = {
    "targets": "targets", "training": "training_events", "shared_events": "training_events",
    "shared_users": "num_users",
}  # fmt: skip

_NO_LEAK = (
    "targets_in_training_inputs",
    "targets_in_training_targets",
    "targets_counted_in_catalogue",
    "training_events_after_own",
)

PROMISES: dict[str, tuple[str, ...]] = {
    "random_windows": (),
    "user_disjoint": (*_NO_LEAK, "targets_tied_with_training", "shared_events", "shared_users"),
    "leave_last": _NO_LEAK,
    "global_time": (*_NO_LEAK, "targets_tied_with_training", "training_events_not_before"),
}
"""Protocol -> counts that it guarantees to be zero in every evaluation split."""

LEAKAGE = Leakage(EXPLANATIONS, _WHOLES, PROMISES)
"""The audit of windows of items."""

HISTORY_LEAKAGE = Leakage(
    {**EXPLANATIONS, "shared_events": "events that rows of both sides use"}
    | {"shared_users": "users with rows on both sides"},
    _WHOLES,
    {
        "leave_one_out": _NO_LEAK,
        "random_windows": ("targets_in_training_targets",),
        **{name: PROMISES[name] for name in ("leave_last", "global_time", "user_disjoint")},
    },
)
"""The audit of histories of items."""


def audit(database: Database, protocol: str, widths: Mapping[str, int]) -> dict[str, Any]:
    """The leakage counts of every evaluation split that has windows, by split.

    Raises:
        AssertionError: a check of `sql/checks/` returned rows or a promise is broken; no user
            input can cause this.
    """
    hold(database, "checks/window_count")
    hold(database, "checks/window_numbers")
    hold(database, "checks/window_order")
    hold(database, "checks/window_widths", **widths)
    hold(database, "checks/window_places", **widths)
    if protocol == "global_time":
        length = widths["target_length"]
        hold(database, "checks/training_before_cut", target_length=length)

    def counts(split: str) -> Mapping[str, int]:
        database.table("event_uses", "checks/event_uses", split=split, **widths)
        return leakage(database)

    found = LEAKAGE.audit(database, protocol, counts)
    database.drop("event_uses")
    return found


def leakage(database: Database) -> Mapping[str, int]:
    """The counts of sql/checks/leakage.sql, of all users."""
    database.table("first_targets", "checks/first_targets")
    first = database.rows("checks/first_target_time")[0]["first_time"]
    found = totals.added(database.rows("checks/leakage", first_time=first))
    database.drop("first_targets")
    return found


def audit_histories(
    database: Database, protocol: str, lengths: Mapping[str, int]
) -> dict[str, Any]:
    """The same for histories; `lengths` are max_length and target_length.

    Raises:
        AssertionError: as `audit`.
    """
    hold(database, "checks/window_count")
    hold(database, "checks/window_numbers")
    hold(database, "checks/window_order")
    is_by_window = protocol == "random_windows"
    hold(database, "checks/history_learned" if is_by_window else "checks/history_targets")
    hold(database, "checks/history_rows", **lengths)
    hold(database, "checks/history_places")
    if protocol == "global_time":
        hold(database, "checks/histories_before_cut")

    def counts(split: str) -> Mapping[str, int]:
        database.table("event_uses", "checks/history_uses", split=split)
        return leakage(database)

    found = HISTORY_LEAKAGE.audit(database, protocol, counts)
    database.drop("event_uses")
    return found
