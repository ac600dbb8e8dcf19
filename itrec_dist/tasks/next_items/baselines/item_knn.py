"""Each item's nearest neighbours by the users that two items share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse

from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer

if TYPE_CHECKING:
    from torch import Tensor

ITEMS_PER_BLOCK = 1024

Places = npt.NDArray[np.integer]


@dataclass(frozen=True)
class ItemKnn(Baseline):
    """The baseline `item_knn`: the sum, over a row's items, of their similarities to an item.

    The similarity of two items is the number of training users with both, over the square root of
    the product of the numbers of users of each, plus `shrink`; that is the cosine where it is 0.
    Only the `neighbours` most similar items of each item count: Deshpande and Karypis, Item-Based
    Top-N Recommendation Algorithms (2004).
    """

    neighbours: int = 100
    """Most similar items that are kept of each item, at least 1; of equal ones the more popular."""
    shrink: float = 0.0
    """Added to the denominator, at least 0, against similarities that few users decide."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if self.neighbours < 1:
            raise ConfigError(f"item_knn.neighbours is {self.neighbours}, allowed is at least 1")
        if not self.shrink >= 0:
            raise ConfigError(f"item_knn.shrink is {self.shrink}, allowed is at least 0")

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Find the neighbours of one block of items after another."""
        import torch

        num_items = training.manifest.num_items
        items_UV = training.sequences.interactions(num_items)
        users_VU, lengths_V = items_UV.T.tocsr(), np.sqrt(items_UV.sum(axis=0))
        blocks = []
        for start in range(0, num_items + 1, ITEMS_PER_BLOCK):
            rows = slice(start, start + ITEMS_PER_BLOCK)
            common = (users_VU[rows] @ items_UV).tocoo()
            row_N, column_N = common.coords
            is_other_N = row_N + start != column_N
            row_N, column_N = row_N[is_other_N], column_N[is_other_N]
            lengths_N = lengths_V[row_N + start] * lengths_V[column_N]
            similarity_N = common.data[is_other_N] / (lengths_N + self.shrink)
            kept_N = _first_of_each(row_N, column_N, similarity_N, self.neighbours)
            coordinates = (row_N[kept_N], column_N[kept_N])
            shape = (common.shape[0], num_items + 1)
            blocks.append(sparse.csr_array((similarity_N[kept_N], coordinates), shape))
        similarities_VV = sparse.vstack(blocks).tocsr()

        def score(inputs: Inputs) -> Tensor:
            scores_BV = inputs.multi_hot(num_items) @ similarities_VV
            return torch.from_numpy(scores_BV.toarray()[:, 1:])

        return score


def _first_of_each(
    row_N: Places, column_N: Places, similarity_N: npt.NDArray[np.float64], count: int
) -> Places:
    """The places of the `count` most similar of each row; equal ones by rising column."""
    order_N = np.lexsort((column_N, -similarity_N, row_N))
    sorted_N = row_N[order_N]
    starts_N = np.searchsorted(sorted_N, sorted_N)
    return order_N[np.arange(len(order_N)) - starts_N < count]
