"""Linear regression from the recency-weighted inputs to the targets, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from itrec_dist.data.manifest import SampleKind
from itrec_dist.data.shards.arrays import Windows
from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer, distinct, recency_weights, summed

if TYPE_CHECKING:
    from torch import Tensor

WINDOWS_PER_CHUNK = 16_384


@dataclass(frozen=True)
class Ridge(Baseline):
    """The baseline `ridge`: linear regression from the recency-weighted inputs to the targets.

    Scores are x'W with W = (X'X + penalty I)^-1 X'Y, in float64. A row x of X holds decay^age at
    each input item of a window, the latest item having age 0 (an item that occurs twice gets the
    sum); a row of Y holds 1 at each target. `linear_history` is its counterpart for histories.
    """

    matrices: ClassVar[int] = 4
    samples: ClassVar[tuple[SampleKind, ...]] = ("windows",)

    penalty: float = 50.0
    """L2 penalty on the coefficients, above 0."""
    decay: float = 0.9
    """Weight of an input item relative to the item after it, above 0 and at most 1."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if not 0 < self.penalty < math.inf:
            raise ConfigError(f"ridge.penalty is {self.penalty}, allowed is above 0")
        if not 0 < self.decay <= 1:
            raise ConfigError(f"ridge.decay is {self.decay}, allowed is above 0 and at most 1")

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Accumulate X'X and X'Y over chunks of windows and solve."""
        import torch

        num_items = training.manifest.num_items
        num_values = num_items + 1
        windows = training.rows
        assert isinstance(windows, Windows)
        inputs_VV = torch.zeros(num_values * num_values, dtype=torch.float64)
        targets_VV = torch.zeros(num_values * num_values, dtype=torch.float64)
        for start in range(0, len(windows), WINDOWS_PER_CHUNK):
            rows = slice(start, start + WINDOWS_PER_CHUNK)
            item_ids_BL = torch.tensor(windows.item_ids[rows], dtype=torch.int64)
            target_ids_BK = distinct(torch.tensor(windows.target_ids[rows], dtype=torch.int64))
            weights_BL = recency_weights(item_ids_BL, self.decay)
            # The rows are sparse, so their outer products are scattered, not multiplied out.
            base_BL1 = item_ids_BL[:, :, None] * num_values
            squares_BLL = weights_BL[:, :, None] * weights_BL[:, None, :]
            _scatter(inputs_VV, base_BL1 + item_ids_BL[:, None, :], squares_BLL)
            products_BLK = weights_BL[:, :, None].expand(-1, -1, target_ids_BK.shape[1])
            _scatter(targets_VV, base_BL1 + target_ids_BK[:, None, :], products_BLK)
        gram_CC = inputs_VV.view(num_values, num_values)[1:, 1:]
        cross_CC = targets_VV.view(num_values, num_values)[1:, 1:]
        gram_CC.diagonal().add_(self.penalty)
        factor_CC = torch.linalg.cholesky(gram_CC)
        weights_VC = torch.zeros(num_values, num_items, dtype=torch.float64)
        weights_VC[1:] = torch.cholesky_solve(cross_CC, factor_CC)

        def score(inputs: Inputs) -> Tensor:
            weights_BL = recency_weights(inputs.item_ids_BL, self.decay)
            return summed(inputs.item_ids_BL, weights_VC, weights_BL)

        return score


def _scatter(sums: Tensor, places: Tensor, values: Tensor) -> None:
    sums.index_add_(0, places.reshape(-1), values.reshape(-1))
