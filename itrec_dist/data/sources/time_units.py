"""The unit of a table's times: what it is, and whether values look like the one that was stated."""

from collections.abc import Mapping
from typing import Any, Literal

from itrec_dist.errors import DataError

TimeUnit = Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]

_PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_YEAR_1980, _YEAR_2200 = 315_532_800, 7_258_118_400  # in seconds
# Narrower than what is believed when stated: .NET's ticks since the year 1, read as nanoseconds,
# and Apple's seconds since 2001 lie before it, and so do places in an order.
_YEAR_1996, _YEAR_2100 = 820_454_400, 4_102_444_800


def settled(row: Mapping[str, Any], stated: TimeUnit | None, path: str) -> str:
    """The unit of times, given the row of staging/table/time_facts.

    Where nobody stated it, it is the unit in which all times lie from 1996 to 2100, of which there
    is one at most; empty if there is none.

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
    latest = row["latest"]
    unit = stated or _apparent(row["earliest"], latest)
    if stated is not None and latest is not None and not _is_likely(latest, stated):
        likely = [unit for unit in _PER_SECOND if _is_likely(latest, unit)]
        remedy = f"give --time_unit {likely[0]}" if likely else "leave time_unit out"
        year = 1970 + latest / _PER_SECOND[stated] / 31_556_952
        raise DataError(
            f"{path}: the latest timestamp, {latest:.0f}, lies in the year {year:.0f} if it counts "
            f"{stated} from 1970: {remedy}"
        )
    # Where there are fractions, whole numbers of millionths are kept: staging/table/ratings.sql.
    return f"{unit} / 1e6" if unit and row["has_fractions"] else unit


def doubts(row: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """What is probably not meant in numbers, in sentences, given the same row."""
    if row["num_dates"] or row["latest"] is None:
        return ()
    ends = row["earliest"], row["latest"]
    likely = [next((u for u in _PER_SECOND if _is_likely(end, u)), None) for end in ends]
    if None in likely or likely[0] == likely[1]:
        return ()
    return (
        f"{path}: the earliest timestamp, {ends[0]:.0f}, looks like {likely[0]} since 1970 and the "
        f"latest, {ends[1]:.0f}, like {likely[1]}: events are in the order of these numbers, so "
        "give all of them in one unit",
    )


def scale(row: Mapping[str, Any]) -> int:
    """How many units of the kept times are one unit of the table, or one microsecond."""
    return 10**6 if row["has_fractions"] else 1000 if row["has_nanoseconds"] else 1


def _apparent(earliest: float | None, latest: float | None) -> str:
    """The unit in which all times lie from 1996 to 2100; empty if there is none, or no time."""
    if earliest is None or latest is None:
        return ""
    for unit, per_second in _PER_SECOND.items():
        if earliest >= _YEAR_1996 * per_second and latest < _YEAR_2100 * per_second:
            return unit
    return ""


def _is_likely(latest: float, unit: str) -> bool:
    return _YEAR_1980 <= latest / _PER_SECOND[unit] < _YEAR_2200
