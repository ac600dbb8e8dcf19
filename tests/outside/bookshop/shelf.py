"""The books that stand after the last one on the shelf."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.scoring import Inputs


@dataclass(frozen=True)
class Shelf(Baseline):
    """Scores an item by how near it comes after the newest one, by their numbers."""

    step: int = 1
    """How far the next item is expected."""

    def fit(self, training: NextItemsTrainingData) -> Callable[[Inputs], Tensor]:
        """Nothing is learned but the number of items."""
        numbers_C = torch.arange(1, training.manifest.num_items + 1)

        def score(inputs: Inputs) -> Tensor:
            newest_B1 = inputs.item_ids_BL[:, -1:]
            return -(numbers_C - newest_B1 - self.step).abs().double()

        return score
