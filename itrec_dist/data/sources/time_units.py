"""The unit of a table's times: what it is, and whether values look like the one that was stated."""

from collections.abc import Mapping
from typing import Any, Literal

from itrec_dist.errors import DataError

TimeUnit = Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]

_PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_YEAR_1980, _YEAR_2200 = 315_532_800, 7_258_118_400  # in seconds


def settled(row: Mapping[str, Any], stated: TimeUnit | None, path: str) -> str:
    """The unit of times, empty if nobody stated it, given the row of staging/table/time_facts.

    Raises:
        DataError: the times are dates, or numbers that look like another unit than the stated one.
    """
    if row["num_dates"]:
        if stated is not None:
            raise DataError(
                f"{path} has dates, and time_unit is {stated}: dates have a unit of their own, "
                "leave time_unit out"
            )
        return "nanoseconds" if row["has_nanoseconds"] else "microseconds"
    if stated is None:
        return ""
    latest = row["latest"]
    if latest is not None and not _is_likely(latest, stated):
        likely = [unit for unit in _PER_SECOND if _is_likely(latest, unit)]
        remedy = f"give --time_unit {likely[0]}" if likely else "leave time_unit out"
        year = 1970 + latest / _PER_SECOND[stated] / 31_556_952
        raise DataError(
            f"{path}: the latest timestamp, {latest:.0f}, lies in the year {year:.0f} if it counts "
            f"{stated} from 1970: {remedy}"
        )
    # Where there are fractions, whole numbers of millionths are kept: staging/table/ratings.sql.
    return f"{stated} / 1e6" if row["has_fractions"] else stated


def scale(row: Mapping[str, Any]) -> int:
    """How many units of the kept times are one unit of the table, or one microsecond."""
    return 10**6 if row["has_fractions"] else 1000 if row["has_nanoseconds"] else 1


def _is_likely(latest: float, unit: str) -> bool:
    return _YEAR_1980 <= latest / _PER_SECOND[unit] < _YEAR_2200
