"""The most frequent targets of all training rows, the same for every user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Popularity(Baseline):
    """Scores an item by its number of occurrences as a target in training."""

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Use the counts of the item table."""
        import torch

        counts_C = torch.tensor(training.items.num_train_targets, dtype=torch.float64)

        def score(inputs: Inputs) -> Tensor:
            return counts_C.expand(len(inputs), -1)

        return score
