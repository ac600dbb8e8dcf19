"""Mean absolute error of predicted ratings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from itrec_dist.metrics.metric import RatingMetric

if TYPE_CHECKING:
    from torch import Tensor


class MAEMetric(RatingMetric):
    """Mean absolute difference between prediction and rating, in stars."""

    name = "mae"
    label = "MAE"
    higher_is_better = False
    order = 20

    def term(self, error_BK: Tensor, width: float) -> Tensor:  # noqa: ARG002
        """The absolute error."""
        return error_BK.abs()

    def compute(self, mean: float, width: float) -> float:
        """The mean, back in stars."""
        return mean * width
