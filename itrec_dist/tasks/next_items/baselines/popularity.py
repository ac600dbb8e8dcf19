"""The most frequent targets of all training windows, the same for every user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from itrec_dist.tasks.next_items.baselines import NextItemsTrainingData, Scorer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Popularity:
    """Scores an item by its number of occurrences as a target in training."""

    matrices: ClassVar[int] = 0

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Use the counts of the item table."""
        import torch

        counts_C = torch.tensor(training.items.num_train_targets, dtype=torch.float64)

        def score(item_ids_BL: Tensor) -> Tensor:
            return counts_C.expand(len(item_ids_BL), -1)

        return score
