"""The mean of the training ratings, for all users and items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from itrec_dist.tasks.ratings.baselines import Predictor, RatingsTrainingData

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GlobalMean:
    """The baseline `global_mean`; it has no settings."""

    package: ClassVar[str | None] = None

    def fit(self, training: RatingsTrainingData) -> Predictor:
        """Compute the mean."""
        mean = training.ratings.ratings_R.double().mean()

        def predict(user_ids_B: Tensor, item_ids_B: Tensor) -> Tensor:  # noqa: ARG001
            return mean.expand(len(user_ids_B))

        return predict
