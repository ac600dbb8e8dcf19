"""Biased matrix factorisation by another library, as an independent reference for ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from itrec_dist.errors import ConfigError
from itrec_dist.tasks.ratings.baselines import Predictor, RatingsTrainingData

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SurpriseSvd:
    """The baseline `surprise_svd`: `SVD` of scikit-surprise, biased MF by stochastic gradients.

    The model is Koren's, like ours of kind `biased_mf`; penalties apply once per rating, and the
    learning rate is constant. Needs the package scikit-surprise.
    """

    package: ClassVar[str | None] = "surprise"

    width: int = 100
    """Width of the factors."""
    epochs: int = 40
    """Passes over the training ratings."""
    learning_rate: float = 0.005
    """Learning rate, constant, above 0."""
    penalty: float = 0.06
    """L2 penalty on factors and biases, added to the loss of each rating, at least 0."""
    seed: int = 0
    """Seed of the initial factors."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if not (min(self.width, self.epochs) >= 1 and self.learning_rate > 0 and self.penalty >= 0):
            raise ConfigError(
                f"surprise_svd.width is {self.width}, epochs {self.epochs}, learning_rate "
                f"{self.learning_rate} and penalty {self.penalty}: give at least 1, at least 1, "
                "above 0 and at least 0"
            )

    def fit(self, training: RatingsTrainingData) -> Predictor:
        """Train the library's model, and reorder its weights by our ids."""
        import torch
        from surprise import SVD, Dataset, Reader

        ratings = training.ratings
        columns = (ratings.user_ids_R, ratings.item_ids_R, ratings.ratings_R.double())
        table = pa.table([c.numpy() for c in columns], names=["user", "item", "rating"])
        reader = Reader(rating_scale=(training.data.rating_min, training.data.rating_max))
        rated = Dataset.load_from_df(table.to_pandas(), reader).build_full_trainset()
        model = SVD(
            n_factors=self.width, n_epochs=self.epochs, lr_all=self.learning_rate,
            reg_all=self.penalty, random_state=self.seed,
        )  # fmt: skip
        model.fit(rated)
        users = [rated.to_raw_uid(row) for row in rated.all_users()]
        items = [rated.to_raw_iid(row) for row in rated.all_items()]
        user_UD = _in_our_order(
            np.column_stack([model.pu, model.bu]), users, training.data.num_users
        )
        item_VD = _in_our_order(
            np.column_stack([model.qi, model.bi]), items, training.data.num_items
        )
        mean = rated.global_mean

        def predict(user_ids_B: Tensor, item_ids_B: Tensor) -> Tensor:
            user_BD = user_UD[torch.where(user_ids_B < len(user_UD), user_ids_B, 0)]
            item_BD = item_VD[torch.where(item_ids_B < len(item_VD), item_ids_B, 0)]
            product_B = (user_BD[:, :-1] * item_BD[:, :-1]).sum(dim=1)
            rating_B: Tensor = mean + user_BD[:, -1] + item_BD[:, -1] + product_B
            return rating_B

        return predict


def _in_our_order(rows: npt.NDArray[np.float64], ids: Sequence[int], largest: int) -> Tensor:
    """The rows at our ids; zeros for ids that the library has not seen."""
    import torch

    ordered = torch.zeros(largest + 1, rows.shape[1], dtype=torch.float64)
    ordered[torch.tensor(ids)] = torch.from_numpy(rows)
    return ordered
