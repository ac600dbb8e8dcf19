"""Mean, user bias and item bias, fitted together in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from itrec_dist.errors import ConfigError
from itrec_dist.tasks.ratings.baselines import Predictor, RatingsTrainingData

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Biases:
    """The baseline `biases`: mean + b_u + b_i, least squares with damping.

    Minimises the squared errors plus `user_damping` times the squared user biases and
    `item_damping` times the squared item biases, by alternately solving for each side.
    Source: Koren, Factor in the Neighbors, equation 2.
    """

    package: ClassVar[str | None] = None

    user_damping: float = 5.0
    """L2 penalty on user biases, at least 0: acts like this many ratings at the mean, added to a
    user's own."""
    item_damping: float = 3.0
    """L2 penalty on item biases, at least 0."""
    rounds: int = 20
    """Number of times that each side is solved for."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if not (self.user_damping >= 0 and self.item_damping >= 0 and self.rounds >= 1):
            raise ConfigError(
                f"biases.user_damping is {self.user_damping}, item_damping {self.item_damping} "
                f"and rounds {self.rounds}: give at least 0, 0 and 1"
            )

    def fit(self, training: RatingsTrainingData) -> Predictor:
        """Solve for both sides alternately."""
        import torch

        ratings, data = training.ratings, training.data
        users_R, items_R = ratings.user_ids_R, ratings.item_ids_R
        mean = ratings.ratings_R.double().mean()
        rest_R = ratings.ratings_R.double() - mean
        user_U = torch.zeros(data.num_users + 1, dtype=torch.float64)
        item_V = torch.zeros(data.num_items + 1, dtype=torch.float64)
        users = torch.bincount(users_R, minlength=len(user_U)) + max(self.user_damping, 1e-9)
        items = torch.bincount(items_R, minlength=len(item_V)) + max(self.item_damping, 1e-9)
        for _ in range(self.rounds):
            item_V = torch.zeros_like(item_V).index_add_(0, items_R, rest_R - user_U[users_R])
            item_V /= items
            user_U = torch.zeros_like(user_U).index_add_(0, users_R, rest_R - item_V[items_R])
            user_U /= users

        def predict(user_ids_B: Tensor, item_ids_B: Tensor) -> Tensor:
            user_B = torch.where(user_ids_B < len(user_U), user_ids_B, 0)
            item_B = torch.where(item_ids_B < len(item_V), item_ids_B, 0)
            return mean + user_U[user_B] + item_V[item_B]

        return predict
