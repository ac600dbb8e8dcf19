"""AutoRec: an autoencoder over the training ratings of an item (or of a user).

    r'(u, i) = (V^T g(W r_i + m) + b)_u,  r_i the training ratings of item i, 0 where there are none

With `side: user`, users and items are exchanged; `side: both` is the sum of the two. The outputs
are deviations from the damped biases, which alone are predicted for an unknown user or item. The
inputs are 1 plus the deviation: that an item was rated at all is as informative as how.

Source: Sedhain et al., AutoRec: Autoencoders Meet Collaborative Filtering, equations 1 and 2.
Input dropout is that of a denoising autoencoder: in evaluation the target rating is never among
the inputs, so in training it must not always be there either.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import nn

from itrec_dist.config.fields import CHANGEABLE
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.data.training_ratings import TrainingRatings
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.rating_model import RatingModel, refuse_unrated
from itrec_dist.models.sparse_matrix import SparseMatrix, dots
from itrec_dist.models.transformer import Dropout


@dataclass(frozen=True)
class AutoRecConfig(ModelConfig):
    """The autoencoder's shape."""

    task: ClassVar[str] = "ratings"
    """It predicts ratings."""

    kind: Literal["autorec"] = "autorec"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    side: Literal["item", "user", "both"] = "item"
    """What one example is: an item's ratings or a user's; both trains one autoencoder of each
    together."""
    width: int = 500
    """Hidden units."""
    penalty: float = field(default=0.0, metadata=CHANGEABLE)
    """L2 penalty on the weights, divided by the number of training ratings."""
    input_dropout: float = field(default=0.0, metadata=CHANGEABLE)
    """Fraction of the input ratings that is dropped at each step, 0 <= p < 1."""
    dropout: float = field(default=0.0, metadata=CHANGEABLE)
    """Dropout on the hidden units, 0 <= p < 1."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"model.width={self.width} must be at least 1")
        for name in ("input_dropout", "dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"model.{name}={getattr(self, name)} is not in 0 <= p < 1")
        if not self.penalty >= 0:
            raise ValueError(f"model.penalty={self.penalty} must be at least 0")

    def build(self, spec: DataSpec) -> "AutoRec":
        """The model."""
        return AutoRec(self, spec)

    def label(self, loss: str) -> str:  # noqa: ARG002
        """Its name in the literature."""
        return (
            "AutoRec, item- and user-based"
            if self.side == "both"
            else f"AutoRec, {self.side}-based"
        )

    def check(self, data: Manifest) -> None:
        """Refuse data without ratings."""
        refuse_unrated(data, self.kind)


class Autoencoder(nn.Module):
    """One side's autoencoder: X examples, each with a rating, or none, for each of Y inputs."""

    def __init__(self, config: AutoRecConfig, shape: tuple[int, int], num_ratings: int) -> None:
        super().__init__()
        self._input_dropout = config.input_dropout
        self.given = SparseMatrix(*shape, num_ratings)
        bound = math.sqrt(6 / (shape[1] + config.width))
        self.encoder = nn.Parameter(torch.empty(shape[1], config.width))
        self.decoder = nn.Parameter(torch.empty(shape[1], config.width))
        for weight in (self.encoder, self.decoder):
            nn.init.uniform_(weight, -bound, bound)
        self.encoder_bias = nn.Parameter(torch.zeros(config.width))
        self.decoder_bias = nn.Parameter(torch.zeros(shape[1]))
        self.dropout = Dropout(config.dropout)

    def forward(self, examples_P: torch.Tensor, inputs_P: torch.Tensor) -> torch.Tensor:
        """The decoder's outputs for pairs of an example and an input, [P], float32."""
        hidden_XH = self.dropout(self._encoded())
        return dots(hidden_XH, self.decoder, examples_P, inputs_P) + self.decoder_bias[inputs_P]

    def squares(self) -> torch.Tensor:
        """The sum of the squared weights."""
        return self.encoder.square().sum() + self.decoder.square().sum()

    def _encoded(self) -> torch.Tensor:
        values = self.given.values
        if self.training and self._input_dropout:
            keep = 1 - self._input_dropout
            values = values * torch.empty_like(values).bernoulli_(keep).div_(keep)
        return torch.sigmoid(self.given.times(self.encoder, values) + self.encoder_bias)


class AutoRec(RatingModel):
    """The autoencoders. Each step encodes every example, so use few, large batches."""

    def __init__(self, config: AutoRecConfig, spec: DataSpec) -> None:
        super().__init__(spec)
        self._penalty = config.penalty
        self.num_ratings = spec.num_train_windows * spec.target_length
        users, items = spec.num_users + 1, spec.num_items + 1
        self.by_item = self.by_user = None
        if config.side in ("item", "both"):
            self.by_item = Autoencoder(config, (items, users), self.num_ratings)
        if config.side in ("user", "both"):
            self.by_user = Autoencoder(config, (users, items), self.num_ratings)

    def fit_statistics(self, ratings: TrainingRatings) -> None:
        """Fill the inputs with 1 plus each training rating's deviation from the biases."""
        super().fit_statistics(ratings)
        users_R, items_R = ratings.user_ids_R, ratings.item_ids_R
        inputs_R = 1 + ratings.ratings_R - self.biases(users_R, items_R.unsqueeze(1)).squeeze(1)
        if self.by_item is not None:
            self.by_item.given.fill(items_R, users_R, inputs_R)
        if self.by_user is not None:
            self.by_user.given.fill(users_R, items_R, inputs_R)

    def forward(
        self, batch: Batch, item_ids_BN: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predicted ratings and penalty; the damped biases where user or item is unknown."""
        users_B, items_BN = self.known_users(batch.user_ids_B), self.known_items(item_ids_BN)
        users_BN = users_B.unsqueeze(1).expand_as(items_BN)
        users_P, items_P = users_BN.flatten(), items_BN.flatten()
        residual_P = torch.zeros_like(items_P, dtype=torch.float32)
        if self.by_item is not None:
            residual_P = residual_P + self.by_item(items_P, users_P)
        if self.by_user is not None:
            residual_P = residual_P + self.by_user(users_P, items_P)
        is_known_BN = (users_BN != PAD) & (items_BN != PAD)
        ratings_BN = self.biases(users_B, items_BN) + residual_P.view_as(items_BN) * is_known_BN
        return ratings_BN, self._penalty_of(len(users_B))

    def _penalty_of(self, size: int) -> torch.Tensor | None:
        if not (self.training and self._penalty):
            return None
        squares = [s.squares() for s in (self.by_item, self.by_user) if s is not None]
        return (self._penalty / self.num_ratings * torch.stack(squares).sum()).expand(size)
