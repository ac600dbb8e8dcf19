"""Root mean squared error of predicted ratings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from itrec_dist.metrics.metric import RatingMetric

if TYPE_CHECKING:
    from torch import Tensor


class RMSEMetric(RatingMetric):
    """Square root of the mean squared error, in stars."""

    name = "rmse"
    label = "RMSE"
    higher_is_better = False
    order = 10

    def term(self, error_BK: Tensor, width: float) -> Tensor:  # noqa: ARG002
        """The squared error."""
        return error_BK.square()

    def compute(self, mean: float, width: float) -> float:
        """The root, back in stars."""
        return math.sqrt(mean * width**2)
