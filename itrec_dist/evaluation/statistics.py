"""Compares two configurations: intervals over seeds, and a paired test on the same windows.

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
from scipy import special  # scipy.stats says the same and takes a second to import

Array = npt.NDArray[np.float64]

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval, which a single value does not have."""

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
    """Two-sided: the probability of a difference as large by chance alone."""
    num_windows: int
    num_users: int
    knows_seeds: bool
    """Whether both had several seeds; otherwise the interval ignores seeds and is too short."""

    @property
    def is_distinguishable(self) -> bool:
        """Whether the 95 % interval excludes zero."""
        return self.low > 0 or self.high < 0


def interval(values: Sequence[float]) -> Interval:
    """Student's interval for the mean over independent seeds."""
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
        users: the user of each window.
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
        p = 2 * float(special.stdtr(freedom, -abs(difference) / math.sqrt(variance)))
    return Comparison(
        difference, difference - half, difference + half, p, len(users), len(sums),
        knows_seeds=all(len(side) > 1 for side in sides),
    )  # fmt: skip


def quantile(freedom: float) -> float:
    """The half width of the 95 % interval of Student's t, in standard errors."""
    return float(special.stdtrit(freedom, (1 + _CONFIDENCE) / 2))


def _small(num_clusters: int) -> float:
    """Corrects the variance of a small number of clusters, which is biased downwards."""
    return num_clusters / max(num_clusters - 1, 1)
