"""What the user had last comes again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LastItems(Baseline):
    """The baseline `last_items`: the row's items, the latest first, and then the most popular.

    For data in which users come back to items, such as shops and music players, and rankings that
    do not leave out what was seen.
    """

    by_default: ClassVar[bool] = False

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Use the counts of the item table."""
        import torch

        counts_C = torch.tensor(training.items.num_train_targets, dtype=torch.float64)
        shares_V = torch.cat([counts_C.new_zeros(1), counts_C / counts_C.sum().clamp(min=1)])

        def score(inputs: Inputs) -> Tensor:
            ids_BL = inputs.item_ids_BL
            places_L = torch.arange(2, 2 + ids_BL.shape[1], dtype=torch.float64)  # above any share
            scores_BV = shares_V.repeat(len(inputs), 1)
            scores_BV.scatter_reduce_(1, ids_BL, places_L.expand(ids_BL.shape), "amax")
            return scores_BV[:, 1:]

        return score
