"""SVD++: biased matrix factorisation with implicit feedback, that is which items a user rated.

    user factors = p_u + |N(u)|^-1/2 * sum over N(u) of y_j,  N(u) the items of u's training ratings

Source: Koren, Factorization Meets the Neighborhood, equation 15. As there, N(u) includes the item
that is being predicted in training, and p_u and y_j are penalised separately.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.data.training_ratings import TrainingRatings
from itrec_dist.models.factors import FactorModel, FactorModelConfig
from itrec_dist.models.sparse_matrix import SparseMatrix


@dataclass(frozen=True)
class SVDppConfig(FactorModelConfig):
    """Size and penalties of the factorisation."""

    kind: Literal["svdpp"] = "svdpp"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    rated_penalty: float = 0.02
    """L2 penalty on the implicit-feedback factors y_j, added like `penalty`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rated_penalty >= 0:
            raise ValueError(f"model.rated_penalty={self.rated_penalty} must be at least 0")

    def build(self, spec: DataSpec) -> "SVDpp":
        """The model."""
        return SVDpp(self, spec)

    def label(self, loss: str) -> str:  # noqa: ARG002
        """Its name in the literature."""
        return "SVD++"


class SVDpp(FactorModel):
    """The factorisation. The cost of a step hardly depends on the batch, so use large batches."""

    def __init__(self, config: SVDppConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self._rated_penalty = config.rated_penalty
        num_ratings = spec.num_train_windows * spec.target_length
        self.rated = SparseMatrix(spec.num_users + 1, spec.num_items + 1, num_ratings)
        self.rated_factors = nn.Embedding(spec.num_items + 1, config.width, padding_idx=PAD)
        nn.init.zeros_(self.rated_factors.weight)

    def fit_statistics(self, ratings: TrainingRatings) -> None:
        """Store which items each user rated, and initialise the biases."""
        super().fit_statistics(ratings)
        users_R = ratings.user_ids_R
        share_U = torch.bincount(users_R, minlength=len(self.is_user_U)).clamp(min=1).rsqrt()
        self.rated.fill(users_R, ratings.item_ids_R, share_U[users_R])

    def forward(
        self, batch: Batch, item_ids_BN: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predicted ratings and penalty; users without training ratings have no factors."""
        users_B, items_BN = self.known_users(batch.user_ids_B), self.known_items(item_ids_BN)
        implicit_UD = self.rated @ self.rated_factors.weight
        ratings_BN, penalty_B = self.predict(users_B, items_BN, F.embedding(users_B, implicit_UD))
        if penalty_B is not None:
            squares_BN = self.rated_factors(items_BN).square().sum(dim=2)
            share_BN = self.item_shares_V2[items_BN][:, :, 0]
            penalty_B = penalty_B + self._rated_penalty * (share_BN * squares_BN).mean(dim=1)
        return ratings_BN, penalty_B
