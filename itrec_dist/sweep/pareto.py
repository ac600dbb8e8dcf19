"""The trials that no other beats in the metric and in a cost at once: the Pareto front."""

from collections.abc import Sequence

from itrec_dist.sweep.config import Cost, SweepConfig
from itrec_dist.sweep.directory import Trial

RISING: tuple[Cost, ...] = ("windows_per_second",)
"""Costs of which more is better."""


def front(sweep: SweepConfig, cost: Cost, trials: Sequence[Trial]) -> list[Trial]:
    """Those of the trials with both figures that are on the front, the best by the metric first.

    Of trials that are alike in both figures all are.
    """
    sign = 1.0 if cost in RISING else -1.0
    points = {
        t.number: (sweep.score(t.outcome.value), sign * t.outcome.cost[cost])
        for t in trials
        if t.outcome.value is not None and cost in t.outcome.cost
    }
    found = [
        t for t in trials
        if t.number in points and not any(_beats(o, points[t.number]) for o in points.values())
    ]  # fmt: skip
    return sorted(found, key=lambda t: (-points[t.number][0], -points[t.number][1], t.number))


def _beats(other: tuple[float, float], point: tuple[float, float]) -> bool:
    return other != point and other[0] >= point[0] and other[1] >= point[1]
