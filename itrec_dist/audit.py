"""What a split lets through, and the promises that a protocol is held to.

Owns: running `sql/checks/` over the cut windows, the table of promises, and the audit as text.
The counts are defined in the header of `sql/checks/leakage.sql`.
"""

from collections.abc import Mapping
from typing import Any

from itrec_dist import schema
from itrec_dist.database import Database
from itrec_dist.manifest import Manifest

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
"""Count -> what it counts, in a line."""

_WHOLE = {"targets": "targets", "training": "training_events", "shared": "training_events"}

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
"""Protocol -> counts that it promises to be zero in every evaluation split."""


def audit(database: Database, protocol: str, widths: Mapping[str, int]) -> dict[str, Any]:
    """The leakage counts of every evaluation split that has windows, by split.

    Raises:
        AssertionError: a check of `sql/checks/` returned rows or a promise is broken; nothing
            that a user gave can cause it.
    """
    _hold(database, "window_count")
    _hold(database, "window_order")
    _hold(database, "window_widths", **widths)
    _hold(database, "window_places", **widths)
    if protocol == "global_time":
        _hold(database, "training_before_cut", target_length=widths["target_length"])
    found: dict[str, Any] = {}
    present = {row["split"] for row in database.rows("windows/split_sizes")}
    for split in (schema.VALIDATION, schema.TEST):
        if split not in present:
            continue
        database.table("event_uses", "checks/event_uses", split=split, **widths)
        counts = database.rows("checks/leakage")[0]
        hold_promises(protocol, split, counts)
        found[split] = with_shares(counts) | {"promised_zero": list(PROMISES[protocol])}
    database.drop("event_uses")
    return found


def hold_promises(protocol: str, split: str, counts: Mapping[str, int]) -> None:
    """Raise AssertionError if a count that `protocol` promises to be zero is not."""
    broken = {name: counts[name] for name in PROMISES[protocol] if counts[name]}
    if broken:
        raise AssertionError(f"{protocol} breaks its promise in {split}: {broken}; please report")


def with_shares(counts: Mapping[str, int]) -> dict[str, Any]:
    """The counts and, as `*_share`, each one's part of what it is counted among."""
    shares = {}
    for name in EXPLANATIONS:
        whole = counts[_whole(name)]
        shares[f"{name}_share"] = counts[name] / whole if whole else 0.0
    return {**counts, **shares}


def lines(manifest: Manifest) -> list[str]:
    """The audit as text: one line per count, with its share, and a column per split."""
    if not manifest.audit:
        return ["leakage audit: there is no evaluation split"]
    header = "".join(f"{split:>21}" for split in manifest.audit)
    text = [f"{'leakage audit':<32}{header}  ({manifest.protocol})"]
    for name, explanation in EXPLANATIONS.items():
        cells = "".join(
            f"{counts[name]:>13,}{counts[name + '_share']:>8.1%}"
            for counts in manifest.audit.values()
        )
        promise = "; zero, as promised" if name in PROMISES[manifest.protocol] else ""
        text.append(f"  {name:<30}{cells}  {explanation}{promise}")
    return text


def _whole(name: str) -> str:
    if name == "shared_users":
        return "num_users"
    return _WHOLE[name.split("_", 1)[0]]


def _hold(database: Database, check: str, **parameters: int) -> None:
    rows = database.rows(f"checks/{check}", **parameters)
    if rows:
        raise AssertionError(f"sql/checks/{check}.sql found {len(rows)}, first {rows[0]}")
