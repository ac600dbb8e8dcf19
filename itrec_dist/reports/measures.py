"""Metrics as text: mean and spread over seeds, names, durations."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from itrec_dist import metrics
from itrec_dist.metrics.metric import FigureName

MISSING = "—"


@dataclass(frozen=True)
class Figure:
    """Mean and sample standard deviation of a metric over runs; `mean` is None without values."""

    mean: float | None
    sd: float | None
    n: int

    @property
    def text(self) -> str:
        """As printed: `0.1185`, or with several runs `0.1185 ± 0.0004`."""
        if self.sd is None:
            return digits(self.mean)
        return f"{digits(self.mean)}\u00a0±\u00a0{digits(self.sd)}"  # without line breaks


def figure(values: Iterable[float | None]) -> Figure:
    """Mean and sample standard deviation (divisor n - 1; None for one value) of finite values."""
    present = [v for v in values if v is not None and math.isfinite(v)]
    if not present:
        return Figure(None, None, 0)
    sd = statistics.stdev(present) if len(present) > 1 else None
    return Figure(statistics.fmean(present), sd, len(present))


def digits(value: float | None) -> str:
    """A number as printed everywhere: four decimals, fewer for large ones, a dash for None."""
    if value is None or not math.isfinite(value):
        return MISSING
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def label(name: FigureName) -> str:
    """A metric as a table heading: `Hit rate@10`."""
    return replace(name, group="", metric=metrics.of(name.metric).label).key


def words(name: FigureName) -> str:
    """A metric within a sentence: `hit rate@10`, but `RMSE`."""
    spoken = metrics.of(name.metric).label
    is_acronym = spoken.isupper()
    return replace(name, group="", metric=spoken if is_acronym else spoken.lower()).key


def duration(seconds: float | None) -> str:
    """A duration in seconds, minutes or hours."""
    if seconds is None:
        return MISSING
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def enumeration(words: Sequence[str]) -> str:
    """A list within a sentence: `a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]
