"""The Pareto front: the trials that no other beats in both the metric and a cost."""

from collections.abc import Sequence

from itrec_dist.sweeps.config import Cost, SweepConfig
from itrec_dist.sweeps.directory import Trial

RISING: tuple[Cost, ...] = ("windows_per_second",)
"""Costs where more is better."""


def front(sweep: SweepConfig, cost: Cost, trials: Sequence[Trial]) -> list[Trial]:
    """The trials on the Pareto front, the best by the metric first.

    Trials that lack the metric or the cost are ignored; of trials equal in both, all are returned.
    """
    sign = 1.0 if cost in RISING else -1.0
    points = {
        t.number: (sweep.score(t.outcome.value), sign * t.outcome.cost[cost])
        for t in trials
        if t.outcome.value is not None and cost in t.outcome.cost
    }
    best = [
        t for t in trials
        if t.number in points and not any(_beats(o, points[t.number]) for o in points.values())
    ]  # fmt: skip
    return sorted(best, key=lambda t: (-points[t.number][0], -points[t.number][1], t.number))


def _beats(other: tuple[float, float], point: tuple[float, float]) -> bool:
    return other != point and other[0] >= point[0] and other[1] >= point[1]
