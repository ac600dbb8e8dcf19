"""What separates two configurations: intervals over seeds, and a paired test on the same windows.

Two sources of chance stand between a figure and the truth: the seed that a model was trained
with, and the users that happened to be held out. The interval over seeds is Student's and knows
the first only. The paired test adds both up: the variance between users of the difference in each
window, windows of one user counted together since they are alike (the cluster-robust variance of
a mean), and each configuration's own variance between seeds; degrees of freedom as Welch and
Satterthwaite give them, so that three seeds are worth no more than three. Sources: Cameron and
Miller, A Practitioner's Guide to Cluster-Robust Inference (2015); Satterthwaite, An Approximate
Distribution of Estimates of Variance Components (1946).
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_CONFIDENCE = 0.95
_GRID = 2_001  # points of the integral of Student's density: six digits of p


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; without one where a single value tells of no spread."""

    mean: float
    half: float | None
    n: int


@dataclass(frozen=True)
class Comparison:
    """The first configuration's mean less the second's, on the same windows."""

    difference: float
    low: float
    high: float
    p: float
    """Two-sided: how often chance alone would give a difference as large."""
    num_windows: int
    num_users: int
    knows_seeds: bool
    """Whether both had several seeds; else their chance is left out, and the interval too short."""

    @property
    def is_distinguishable(self) -> bool:
        """Whether the 95 % interval leaves zero out."""
        return self.low > 0 or self.high < 0


def interval(values: Sequence[float]) -> Interval:
    """Student's interval for the mean of what independent seeds gave."""
    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return Interval(mean, None, n)
    half = quantile(n - 1) * statistics.stdev(values) / math.sqrt(n)
    return Interval(mean, half, n)


def paired(
    first: Sequence[Array], second: Sequence[Array], users: npt.NDArray[np.int64]
) -> Comparison:
    """Compare two configurations, each with one array of window figures per seed.

    Args:
        first: per seed, the figure of each window.
        second: the same windows under the other configuration; the number of seeds may differ.
        users: whose window it is.
    """
    sides = [np.stack(side) for side in (first, second)]
    gains = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    difference = float(gains.mean())
    _, index = np.unique(users, return_inverse=True)
    sums = np.bincount(index, gains - difference)
    parts = [
        (float(sums @ sums) * _small(len(sums)) / len(gains) ** 2, len(sums) - 1),
        *((float(side.mean(axis=1).var(ddof=1)) / len(side), len(side) - 1)
          for side in sides if len(side) > 1),
    ]  # fmt: skip
    variance = sum(part for part, _ in parts)
    half, p = 0.0, 0.0 if difference else 1.0
    if variance > 0:
        freedom = variance**2 / sum(part**2 / max(df, 1) for part, df in parts)
        half = quantile(freedom) * math.sqrt(variance)
        p = 1 - _within(abs(difference) / math.sqrt(variance), freedom)
    return Comparison(
        difference, difference - half, difference + half, max(p, 0.0), len(users), len(sums),
        knows_seeds=all(len(side) > 1 for side in sides),
    )  # fmt: skip


def quantile(freedom: float) -> float:
    """The half width, in standard errors, that holds 95 % of Student's t."""
    low, high = 0.0, 2000.0
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < _CONFIDENCE else (low, middle)
    return high


def _within(t: float, freedom: float) -> float:
    """The share of Student's t that lies between -t and t."""
    # By the angle whose tangent is x / sqrt(freedom) the density has no long tail to integrate.
    angles = np.linspace(0.0, math.atan(t / math.sqrt(freedom)), _GRID)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    density = np.cos(angles) ** (freedom - 1)
    return float(2 * scale * np.trapezoid(density, angles))


def _small(num_clusters: int) -> float:
    """What a few clusters' variance falls short of."""
    return num_clusters / max(num_clusters - 1, 1)
