"""The base of biased matrix factorisation and SVD++: factors, biases and their penalties.

    mean + user bias + item bias + user factors . item factors

Source: Koren, Bell and Volinsky, Matrix Factorization Techniques for Recommender Systems,
equations 3 to 5. The biases start at their damped estimates. Penalties once for each rating, as
there, hardly regularise users and items with few ratings; `balance` moves towards a common prior.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from itrec_dist.config.fields import CHANGEABLE
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import PAD
from itrec_dist.data.spec import DataSpec
from itrec_dist.data.training_ratings import TrainingRatings
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.rating_model import RatingModel, refuse_unrated


@dataclass(frozen=True)
class FactorModelConfig(ModelConfig):
    """Size and penalties of the factorisation; each kind adds its own settings."""

    task: ClassVar[str] = "ratings"
    """It predicts ratings."""

    width: int = 64
    """Width of the factors."""
    penalty: float = field(default=0.08, metadata=CHANGEABLE)
    """L2 penalty on the factors, added to the loss of each of their ratings."""
    bias_penalty: float = field(default=5.0, metadata=CHANGEABLE)
    """L2 penalty on each bias, relative to the sum of squared errors of all its ratings."""
    balance: float = 0.5
    """How factors are penalised, from 0 (once for each rating) to 1 (once for each user and item,
    however many ratings it has)."""
    initial_std: float = 0.05
    """Standard deviation of the initial factors."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"model.width={self.width} must be at least 1")
        if not 0 <= self.balance <= 1:
            raise ValueError(f"model.balance={self.balance} is not in 0 <= balance <= 1")
        if not (self.initial_std > 0 and self.penalty >= 0 and self.bias_penalty >= 0):
            raise ValueError(
                f"model.initial_std={self.initial_std} must be above 0, model.penalty="
                f"{self.penalty} and model.bias_penalty={self.bias_penalty} at least 0"
            )

    def check(self, data: Manifest) -> None:
        """Refuse data without ratings."""
        refuse_unrated(data, self.kind)


class FactorModel(RatingModel):
    """The factorisation; an unknown user or item has no factors and a bias of 0."""

    user_shares_U2: torch.Tensor
    item_shares_V2: torch.Tensor

    def __init__(self, config: FactorModelConfig, spec: DataSpec, *, sparse: bool = False) -> None:
        super().__init__(spec)
        self._penalty, self._bias_penalty = config.penalty, config.bias_penalty
        self._balance = config.balance
        users, items = spec.num_users + 1, spec.num_items + 1
        self.user_factors, self.item_factors, self.user_bias, self.item_bias = (
            nn.Embedding(size, width, padding_idx=PAD, sparse=sparse)
            for width in (config.width, 1)
            for size in (users, items)
        )
        for factors in (self.user_factors, self.item_factors):
            nn.init.normal_(factors.weight, std=config.initial_std)
            with torch.no_grad():
                factors.weight[PAD].zero_()
        for bias in (self.user_bias, self.item_bias):
            nn.init.zeros_(bias.weight)
        # Coefficients of the penalties, from the numbers of ratings: of factors and of biases.
        self.register_buffer("user_shares_U2", torch.zeros(users, 2))
        self.register_buffer("item_shares_V2", torch.zeros(items, 2))

    def fit_statistics(self, ratings: TrainingRatings) -> None:
        """Count ratings, and start the biases at their damped estimates."""
        super().fit_statistics(ratings)
        for ids_R, shares in (
            (ratings.user_ids_R, self.user_shares_U2),
            (ratings.item_ids_R, self.item_shares_V2),
        ):
            count = torch.bincount(ids_R, minlength=len(shares)).clamp(min=1).float()
            mean = len(ids_R) / ids_R.unique().numel()
            shares.copy_(torch.stack([(mean / count) ** self._balance, 1 / count], dim=1))
        with torch.no_grad():
            self.user_bias.weight.copy_(self.user_offset_U.unsqueeze(1))
            self.item_bias.weight.copy_(self.item_offset_V.unsqueeze(1))

    def predict(
        self, users_B: torch.Tensor, items_BN: torch.Tensor, implicit_BD: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predicted ratings and penalty of known ids; `implicit_BD` is added to the users' factors.

        The implicit feedback is not penalised here: the users' own factors are deviations from it.
        """
        own_BD, item_BND = self.user_factors(users_B), self.item_factors(items_BN)
        user_bias_B1, item_bias_BN = self.user_bias(users_B), self.item_bias(items_BN).squeeze(2)
        user_BD = own_BD if implicit_BD is None else own_BD + implicit_BD
        product_BN = (item_BND * user_BD.unsqueeze(1)).sum(dim=2)
        ratings_BN = self.mean + user_bias_B1 + item_bias_BN + product_BN
        if not self.training:
            return ratings_BN, None
        user_B2, item_BN2 = self.user_shares_U2[users_B], self.item_shares_V2[items_BN]
        squares_B = user_B2[:, 0] * own_BD.square().sum(dim=1)
        squares_B = squares_B + (item_BN2[:, :, 0] * item_BND.square().sum(dim=2)).mean(dim=1)
        biases_B = user_B2[:, 1] * user_bias_B1.square().squeeze(1)
        biases_B = biases_B + (item_BN2[:, :, 1] * item_bias_BN.square()).mean(dim=1)
        return ratings_BN, self._penalty * squares_B + self._bias_penalty * biases_B
