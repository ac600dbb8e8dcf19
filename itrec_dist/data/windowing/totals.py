"""Adds up what SQL counted of some users each: one row of all, or one of every bucket of users."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

from itrec_dist.data.database import Database


def added(rows: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sum of every column."""
    return {name: sum(row[name] for row in rows) for name in rows[0]}


def split_sizes(database: Database) -> dict[str, int]:
    """The number of windows of each split that has any."""
    sizes: Counter[str] = Counter()
    for row in database.rows("shared/split_sizes"):
        sizes[row["split"]] += row["num_windows"]
    return dict(sizes)


def moments(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Mean and population standard deviation, from those of parts with their `num_ratings`.

    Both are 0 if there are no ratings.
    """
    if len(rows) == 1:
        return rows[0]["rating_mean"] or 0.0, rows[0]["rating_std"] or 0.0
    found = [
        (row["num_ratings"], row["rating_mean"], row["rating_std"])
        for row in rows
        if row["num_ratings"]
    ]
    if not found:
        return 0.0, 0.0
    total = sum(count for count, _, _ in found)
    mean = sum(count * mean for count, mean, _ in found) / total
    squares = sum(count * (std**2 + (own - mean) ** 2) for count, own, std in found)
    return mean, sqrt(squares / total)


def scale(rows: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    """The smallest and the largest rating."""
    found = [row for row in rows if row["rating_min"] is not None]
    if not found:
        return None, None
    return min(row["rating_min"] for row in found), max(row["rating_max"] for row in found)
