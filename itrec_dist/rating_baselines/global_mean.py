"""The mean of the training ratings, for everybody and everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from itrec_dist.manifest import Manifest
from itrec_dist.rating_baselines import Predictor

if TYPE_CHECKING:
    from torch import Tensor

    from itrec_dist.ratings import TrainingRatings


@dataclass(frozen=True)
class GlobalMean:
    """The baseline `global_mean`; it has no settings."""

    def fit(self, ratings: TrainingRatings, data: Manifest) -> Predictor:  # noqa: ARG002
        """Take the mean."""
        mean = ratings.ratings_R.double().mean()

        def predict(user_ids_B: Tensor, item_ids_B: Tensor) -> Tensor:  # noqa: ARG001
            return mean.expand(len(user_ids_B))

        return predict
