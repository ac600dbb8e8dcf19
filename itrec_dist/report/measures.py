"""Measures: their names and order, and figures as mean and spread over seeds."""

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ACCURACY_1 = "precision@5"
ACCURACY_2 = "hit_rate@5"
RMSE, MAE = "rmse", "mae"

MISSING = "—"

_NAMES = {
    "precision": "Precision",
    "hit_rate": "Hit rate",
    "recall": "Recall",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "coverage": "Coverage",
    "popularity": "Popularity bias",
}
_ORDER = ("precision", "hit_rate", "recall", "ndcg", "mrr", "coverage", "popularity")
_WITHOUT_BEST = ("coverage", "popularity")
_PAPERS = {ACCURACY_1: "Accuracy 1", ACCURACY_2: "Accuracy 2"}


@dataclass(frozen=True)
class Figure:
    """Mean and sample standard deviation over runs; `mean` is None where there is nothing."""

    mean: float | None
    sd: float | None
    n: int

    @property
    def text(self) -> str:
        """As printed: `0.1185`, or with several runs `0.1185 ± 0.0004`."""
        if self.sd is None:
            return digits(self.mean)
        return f"{digits(self.mean)}\u00a0±\u00a0{digits(self.sd)}"  # never broken over two lines


def figure(values: Iterable[float | None]) -> Figure:
    """Mean and sample standard deviation (divisor n - 1; None for one value) of what is there."""
    present = [v for v in values if v is not None and math.isfinite(v)]
    if not present:
        return Figure(None, None, 0)
    sd = statistics.stdev(present) if len(present) > 1 else None
    return Figure(statistics.fmean(present), sd, len(present))


def digits(value: float | None) -> str:
    """A figure as printed everywhere: four decimals, fewer for large ones, a dash for nothing."""
    if value is None or not math.isfinite(value):
        return MISSING
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def paper_name(metric: str) -> str | None:
    """What the paper calls a metric: "Accuracy 1", "Accuracy 2" or nothing."""
    return _PAPERS.get(metric)


def label(metric: str) -> str:
    """`hit_rate@10` as "Hit rate@10"; an unknown metric keeps its words."""
    stem, at, k = metric.partition("@")
    return _NAMES.get(stem, stem.replace("_", " ").capitalize()) + at + k


def in_order(metrics: Iterable[str]) -> list[str]:
    """Metrics by kind, then by list length; those that are unknown here come last."""
    return sorted(set(metrics), key=_rank)


def has_best(metric: str) -> bool:
    """Whether more is better: coverage and popularity describe, they do not score."""
    return not metric.startswith(_WITHOUT_BEST) and metric.startswith(_ORDER)


def duration(seconds: float | None) -> str:
    """Seconds in the unit a person would use."""
    if seconds is None:
        return MISSING
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def enumeration(words: Sequence[str]) -> str:
    """Words as in a sentence: `a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]


def _rank(metric: str) -> tuple[int, int, str]:
    kind = next((i for i, stem in enumerate(_ORDER) if metric.startswith(stem)), len(_ORDER))
    at = re.search(r"@(\d+)$", metric)
    return kind, int(at.group(1)) if at else 0, metric
