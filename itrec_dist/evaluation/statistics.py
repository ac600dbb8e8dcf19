"""Compares two configurations: confidence intervals over seeds, and a paired test over windows.

A metric varies for two reasons: the seed a model was trained with, and the users that happened to
be held out. Student's interval over seeds covers only the first. The paired test adds up both: the
variance between users of the per-window difference, with the windows of a user as one cluster
(the cluster-robust variance of a mean), and the variance between seeds of each configuration. The
degrees of freedom follow Welch and Satterthwaite, so that three seeds count as three. Sources:
Cameron and Miller, A Practitioner's Guide to Cluster-Robust Inference (2015); Satterthwaite, An
Approximate Distribution of Estimates of Variance Components (1946); Holm, A Simple Sequentially
Rejective Multiple Test Procedure (1979).
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
_SAME = 1e-12  # what the order of a sum changes of a user's figure


@dataclass(frozen=True)
class Interval:
    """A mean and the half width of its 95 % interval, which a single value does not have."""

    mean: float
    half: float | None
    n: int


@dataclass(frozen=True)
class Comparison:
    """The first configuration's mean minus the second's, on the same windows."""

    difference: float
    low: float
    high: float
    p: float
    """Two-sided p-value."""
    num_windows: int
    num_users: int
    knows_seeds: bool
    """Whether both had several seeds; otherwise the interval ignores them and is too narrow."""
    num_better: int
    """Users with a higher mean under the first configuration."""
    num_worse: int
    """Users with a lower one."""

    @property
    def is_distinguishable(self) -> bool:
        """Whether the 95 % interval excludes zero."""
        return self.low > 0 or self.high < 0

    @property
    def num_equal(self) -> int:
        """Users with the same mean under both."""
        return self.num_users - self.num_better - self.num_worse


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
    """Compare two configurations, each with one array of per-window metrics per seed.

    Args:
        first: per seed, the metric of each window.
        second: the same windows under the other configuration; the number of seeds may differ.
        users: the user of each window.
    """
    sides = [np.stack(side) for side in (first, second)]
    gains = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    difference = float(gains.mean())
    _, index = np.unique(users, return_inverse=True)
    sums, by_user = np.bincount(index, gains - difference), np.bincount(index, gains)
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
        num_better=int((by_user > _SAME).sum()), num_worse=int((by_user < -_SAME).sum()),
    )  # fmt: skip


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that all errors together are as rare as one."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = largest
    return corrected


def quantile(freedom: float) -> float:
    """The half width of the 95 % interval of Student's t, in standard errors."""
    return float(special.stdtrit(freedom, (1 + _CONFIDENCE) / 2))


def _small(num_clusters: int) -> float:
    """Correction of the downward bias of a variance from few clusters."""
    return num_clusters / max(num_clusters - 1, 1)
