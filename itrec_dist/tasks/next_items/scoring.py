"""What a baseline scores a row by, and the sums over its events that linear scores are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from itrec_dist.data.schema import PAD

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """Rows without their targets."""

    item_ids_BL: Tensor
    """int64, oldest first, padded on the left; as wide as the longest of the batch."""
    target_time_B: Tensor
    """int64: the time of the query, which is that of the first target."""
    times_BL: Tensor | None = None
    """int64; None if the shards have no times."""

    def __len__(self) -> int:
        return len(self.item_ids_BL)

    def multi_hot(self, num_items: int) -> sparse.csr_array:
        """1 at each item of a row, however often it occurs, float64 [B, V]."""
        rows_N, places_N = np.nonzero((ids_BL := distinct(self.item_ids_BL).numpy()) != PAD)
        coordinates = (rows_N, ids_BL[rows_N, places_N])
        return sparse.csr_array(
            (np.ones(len(rows_N)), coordinates), shape=(len(self), num_items + 1)
        )


Scorer = Callable[[Inputs], "Tensor"]
"""`inputs -> scores_BC`, float64; higher scores rank first."""


def distinct(ids_BL: Tensor) -> Tensor:
    """The ids of each row in ascending order, all but one occurrence replaced by PAD."""
    ids_BL = ids_BL.sort(dim=1).values
    ids_BL[:, 1:][ids_BL[:, 1:] == ids_BL[:, :-1]] = PAD
    return ids_BL


def recency_weights(item_ids_BL: Tensor, decay: float) -> Tensor:
    """decay^age, float64 [B, L], the last position having age 0; 0 where padded."""
    import torch

    ages_L = torch.arange(item_ids_BL.shape[1] - 1, -1, -1, dtype=torch.float64)
    return decay**ages_L * (item_ids_BL != PAD)


def summed(item_ids_BL: Tensor, rows_VC: Tensor, weights_BL: Tensor | None = None) -> Tensor:
    """The (weighted) sum of the rows of a matrix at the items of each row, [B, C]."""
    import torch

    is_item_BL = item_ids_BL != PAD
    offsets_B = is_item_BL.sum(dim=1).cumsum(dim=0).roll(1)
    offsets_B[:1] = 0
    return torch.nn.functional.embedding_bag(
        item_ids_BL[is_item_BL], rows_VC, offsets_B, mode="sum",
        per_sample_weights=None if weights_BL is None else weights_BL[is_item_BL],
    )  # fmt: skip
