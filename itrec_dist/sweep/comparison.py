"""What separates two configurations: intervals over seeds, and a paired test on the same windows.

Two sources of chance stand between a figure and the truth: the seed that a model was trained
with, and the users that happened to be held out. The interval over seeds is Student's and knows
the first only. The paired test resamples both: users whole, since windows of one user are alike,
and each configuration's seeds. Source: Efron and Tibshirani, An Introduction to the Bootstrap
(1993), chapters 13 and 16.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# The 97.5 % quantiles of Student's t for 1, 2, 3 ... degrees of freedom; beyond, the normal's.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.960
_CHUNK = 100  # resamples at once: bounds memory


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
    """Two-sided: how often chance alone would lie on the other side of zero, twice."""
    num_windows: int
    num_users: int

    @property
    def is_distinguishable(self) -> bool:
        """Whether the 95 % interval leaves zero out."""
        return self.low > 0 or self.high < 0


def interval(values: Sequence[float]) -> Interval:
    """Student's interval for the mean of what independent seeds gave."""
    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return Interval(mean, None, n)
    t = _T[n - 2] if n - 2 < len(_T) else _NORMAL
    return Interval(mean, t * statistics.stdev(values) / math.sqrt(n), n)


def paired(
    first: Sequence[Array], second: Sequence[Array], users: npt.NDArray[np.int64],
    *, resamples: int = 2000, seed: int = 0,
) -> Comparison:  # fmt: skip
    """Compare two configurations, each with one array of window figures per seed.

    Args:
        first: per seed, the figure of each window.
        second: the same windows under the other configuration; the number of seeds may differ.
        users: whose window it is.
        resamples: bootstrap samples.
        seed: of the resampling: the same input gives the same answer.
    """
    _, index, counts = np.unique(users, return_inverse=True, return_counts=True)
    sums = [
        np.stack([np.bincount(index, one, len(counts)) for one in side]) for side in (first, second)
    ]
    difference = float(np.mean(np.stack(first)) - np.mean(np.stack(second)))
    rng = np.random.default_rng(seed)
    drawn: list[Array] = []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn_users = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size)
        weights = drawn_users.astype(np.float64)
        means = [_mean_of_seeds(weights @ side.T, rng) for side in sums]
        drawn.append((means[0] - means[1]) / (weights @ counts))
    sample = np.concatenate(drawn)
    low, high = np.quantile(sample, (0.025, 0.975))
    beyond = min(float(np.mean(sample <= 0)), float(np.mean(sample >= 0)))
    p = min(1.0, max(2 * beyond, 1 / resamples))
    return Comparison(difference, float(low), float(high), p, len(users), len(counts))


def _mean_of_seeds(sums_RS: npt.NDArray[np.float64], rng: np.random.Generator) -> Array:
    """Mean over seeds that are drawn anew, with replacement, for each of R resamples."""
    num_resamples, num_seeds = sums_RS.shape
    chosen = rng.integers(num_seeds, size=(num_resamples, num_seeds))
    found: Array = np.take_along_axis(sums_RS, chosen, axis=1).mean(axis=1)
    return found
