"""The most frequent targets of the latest part of training, the same for every user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RecentPopularity(Baseline):
    """The baseline `recent_popularity`: occurrences as a target in the latest part of training.

    Windows are ordered by the time of their first target, then by window id; the targets of
    histories one by one, by time and then by user. What counts as recent is fixed at the end of
    training, for all evaluated rows.
    """

    uses_times: ClassVar[bool] = True

    share: float = 0.1
    """Fraction of the training windows, or of the targets of histories, that counts as recent,
    above 0 and at most 1."""

    def __post_init__(self) -> None:
        """Refuse an impossible share."""
        if not 0 < self.share <= 1:
            raise ConfigError(
                f"recent_popularity.share is {self.share}, allowed is above 0 and at most 1"
            )

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Count the latest targets."""
        import torch

        sequences = training.sequences
        order = np.argsort(sequences.target_times, kind="stable")
        recent = order[-int(np.ceil(self.share * len(order))) :]
        num_values = training.manifest.num_items + 1
        counts_V = np.bincount(sequences.target_ids[recent].reshape(-1), minlength=num_values)
        counts_C = torch.tensor(counts_V[1:], dtype=torch.float64)

        def score(inputs: Inputs) -> Tensor:
            return counts_C.expand(len(inputs), -1)

        return score
