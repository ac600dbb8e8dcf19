"""The most frequent targets of the last days before each query."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from itrec_dist.data.shards.arrays import Int64
from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer

if TYPE_CHECKING:
    from torch import Tensor

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Trending(Baseline):
    """The baseline `trending`: occurrences as a training target in the last days before the query.

    It is told the time of the query. Where that is after the end of training, the last days of
    training count.
    """

    uses_times: ClassVar[bool] = True

    days: float = 7.0
    """Number of days, above 0. Timestamps are taken for seconds, milliseconds or microseconds,
    whichever puts the latest one before the year 5138; data with an order alone has no days."""

    def __post_init__(self) -> None:
        """Refuse an impossible number."""
        if not 0 < self.days < math.inf:
            raise ConfigError(f"trending.days is {self.days}, allowed is above 0")

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Order the targets by time."""
        import torch

        num_values = training.manifest.num_items + 1
        sequences = training.sequences
        order = np.argsort(sequences.target_times, kind="stable")
        times_N, target_ids_NK = sequences.target_times[order], sequences.target_ids[order]
        end = int(times_N[-1]) + 1
        span = round(self.days * SECONDS_PER_DAY * ticks_per_second(times_N))

        def score(inputs: Inputs) -> Tensor:
            until_B = np.minimum(inputs.target_time_B.numpy(), end)
            bounds_B2 = np.searchsorted(times_N, np.stack([until_B - span, until_B], axis=1))
            bounds_J2, which_B = np.unique(bounds_B2, axis=0, return_inverse=True)
            counts_JC = np.stack(
                [
                    np.bincount(target_ids_NK[first:last].reshape(-1), minlength=num_values)[1:]
                    for first, last in bounds_J2
                ]
            )
            return torch.from_numpy(counts_JC[which_B].astype(np.float64))

        return score


def ticks_per_second(times_N: Int64) -> int:
    """1, 1,000 or 1,000,000: what the timestamps count, going by the largest."""
    largest = int(np.abs(times_N).max())
    return next((ticks for ticks in (1, 1000) if largest < 10**11 * ticks), 10**6)
