"""SVD++: biased matrix factorisation whose user factors also hear what the user rated at all.

    user factors = p_u + |N(u)|^-1/2 * sum over N(u) of y_j,  N(u) the items of u's training ratings

Source: Koren, Factorization Meets the Neighborhood, equation 15. As there, N(u) holds the item
that is predicted while training on it.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.dataspec import DataSpec
from itrec_dist.manifest import Manifest
from itrec_dist.models.biased_mf import BiasedMF, BiasedMFConfig
from itrec_dist.models.rating_model import refuse_unrated
from itrec_dist.models.sparse_product import SparseMatrix
from itrec_dist.ratings import TrainingRatings
from itrec_dist.schema import PAD, Batch


@dataclass(frozen=True)
class SVDppConfig:
    """The factorisation's shape."""

    task: ClassVar[str] = "rating"
    """It predicts ratings."""

    kind: Literal["svdpp"] = "svdpp"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    width: int = 64
    """Width of the factors."""
    penalty: float = 0.08
    """Weight of the squared factors in the loss of each of their ratings."""
    bias_penalty: float = 5.0
    """Weight of a squared bias against the sum of squared errors of all its ratings."""
    balance: float = 0.5
    """Between 0, where the factors are penalised once for each rating, and 1, where they are
    penalised once for each user and item however many ratings it has."""
    initial_std: float = 0.05
    """Standard deviation of the initial factors."""

    def __post_init__(self) -> None:
        BiasedMFConfig(
            width=self.width, penalty=self.penalty, bias_penalty=self.bias_penalty,
            balance=self.balance, initial_std=self.initial_std,
        )  # fmt: skip

    def label(self, loss: str) -> str:  # noqa: ARG002
        """What the literature calls it."""
        return "SVD++"

    def check(self, data: Manifest) -> None:
        """Refuse data without ratings."""
        refuse_unrated(data, self.kind)


class SVDpp(BiasedMF):
    """The factorisation; its steps are dear and do not grow with the batch, so take large ones."""

    def __init__(self, config: SVDppConfig, spec: DataSpec) -> None:
        shared = BiasedMFConfig(
            width=config.width, penalty=config.penalty, bias_penalty=config.bias_penalty,
            balance=config.balance, initial_std=config.initial_std,
        )  # fmt: skip
        super().__init__(shared, spec)
        num_ratings = spec.num_train_windows * spec.target_length
        self.rated = SparseMatrix(spec.num_users + 1, spec.num_items + 1, num_ratings)
        self.rated_factors = nn.Embedding(spec.num_items + 1, config.width, padding_idx=PAD)
        nn.init.zeros_(self.rated_factors.weight)

    def learn(self, ratings: TrainingRatings) -> None:
        """Take what every user rated, besides the biases."""
        super().learn(ratings)
        users_R = ratings.user_ids_R
        share_U = torch.bincount(users_R, minlength=len(self.is_user_U)).clamp(min=1).rsqrt()
        self.rated.fill(users_R, ratings.item_ids_R, share_U[users_R])

    def forward(
        self, batch: Batch, item_ids_BN: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predicted ratings and penalty; who rated nothing in training has no factors."""
        users_B, items_BN = self.known_users(batch.user_ids_B), self.known_items(item_ids_BN)
        heard_UD = self.rated @ self.rated_factors.weight
        user_BD = self.user_factors(users_B) + F.embedding(users_B, heard_UD)
        return self.predict(user_BD, users_B, items_BN)
