"""The leakage audit of windows of ratings, and what each protocol promises.

The counts are defined in the headers of `sql/checks/rating_leakage.sql` and
`sql/checks/rating_inputs.sql`.
"""

from collections.abc import Mapping
from typing import Any

from itrec_dist.data.database import Database
from itrec_dist.data.windowing.leakage import Leakage, hold

EXPLANATIONS = {
    "inputs_not_before": "inputs that the user did not rate before the target",
    "inputs_held_out": "inputs that are held-out ratings themselves",
    "targets_rated_in_training": "targets whose user rated the same item in training",
    "targets_tied_with_training": "targets at the very timestamp of a training rating of the user",
    "targets_of_unknown_users": "targets of users without a training rating",
    "targets_of_unknown_items": "targets of items without a training rating",
    "training_events_not_before": "training ratings at or after the first target, of any user",
    "training_events_after_own": "training ratings after the same user's first target",
    "shared_users": "users with ratings on both sides",
}
"""Count -> a one-line description."""

_WHOLES = {
    "inputs": "inputs", "targets": "targets", "training": "training_events", "shared": "num_users",
}  # fmt: skip

_ALWAYS = ("inputs_not_before", "inputs_held_out")

PROMISES: dict[str, tuple[str, ...]] = {
    "random_ratings": _ALWAYS,
    "last_ratings": (*_ALWAYS, "training_events_after_own"),
    "ratings_by_time": (
        *_ALWAYS, "training_events_after_own", "training_events_not_before",
        "targets_tied_with_training",
    ),
}  # fmt: skip
"""Protocol -> counts that it guarantees to be zero in every evaluation split."""

LEAKAGE = Leakage(EXPLANATIONS, _WHOLES, PROMISES)
"""The audit of windows of ratings."""


def audit(database: Database, protocol: str, input_length: int) -> dict[str, Any]:
    """The counts of every evaluation split that has ratings, by split.

    Raises:
        AssertionError: a window is wrong or a promise is broken; no user input can cause this.
    """
    hold(database, "checks/rating_windows", input_length=input_length)

    def counts(split: str) -> Mapping[str, int]:
        of_targets = database.rows("checks/rating_leakage", split=split)[0]
        return of_targets | database.rows("checks/rating_inputs", split=split)[0]

    return LEAKAGE.audit(database, protocol, counts)
