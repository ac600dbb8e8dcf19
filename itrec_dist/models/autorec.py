"""AutoRec: an autoencoder over the training ratings of an item (or of a user).

    r'(u, i) = (V^T g(W r_i + m) + b)_u,  r_i the training ratings of item i, 0 where there are none

and with users and items exchanged for `side: user`. Ratings enter and leave as deviations from
the damped biases, which also are what an unknown user or item is given.

Source: Sedhain et al., AutoRec: Autoencoders Meet Collaborative Filtering, equations 1 and 2; the
dropping of inputs is that of a denoising autoencoder: a rating that is asked for is then not
always among the inputs, as it never is where the model is judged.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from itrec_dist.dataspec import DataSpec
from itrec_dist.manifest import Manifest
from itrec_dist.models.encoder import Dropout
from itrec_dist.models.rating_model import RatingModel, refuse_unrated
from itrec_dist.models.sparse_product import SparseMatrix, dots
from itrec_dist.ratings import TrainingRatings
from itrec_dist.schema import PAD, Batch


@dataclass(frozen=True)
class AutoRecConfig:
    """The autoencoder's shape."""

    task: ClassVar[str] = "rating"
    """It predicts ratings."""

    kind: Literal["autorec"] = "autorec"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    side: Literal["item", "user"] = "item"
    """Whose ratings are one example: an item's or a user's."""
    width: int = 500
    """Hidden units."""
    penalty: float = 0.0
    """Weight of the squared weights, divided by the number of training ratings, in the loss."""
    input_dropout: float = 0.0
    """Share of the ratings that is left out of the input at each step, 0 <= p < 1."""
    dropout: float = 0.0
    """Dropout on the hidden units, 0 <= p < 1."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"model.width={self.width} must be at least 1")
        for name in ("input_dropout", "dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"model.{name}={getattr(self, name)} is not in 0 <= p < 1")
        if not self.penalty >= 0:
            raise ValueError(f"model.penalty={self.penalty} must be at least 0")

    def label(self, loss: str) -> str:  # noqa: ARG002
        """What the literature calls it."""
        return f"AutoRec, {self.side}-based"

    def check(self, data: Manifest) -> None:
        """Refuse data without ratings."""
        refuse_unrated(data, self.kind)


class AutoRec(RatingModel):
    """The autoencoder; its steps encode every example, so take large batches and few of them."""

    def __init__(self, config: AutoRecConfig, spec: DataSpec) -> None:
        super().__init__(spec)
        self.config = config
        sizes = (spec.num_items + 1, spec.num_users + 1)
        self.num_examples, self.num_inputs = sizes if config.side == "item" else sizes[::-1]
        self.num_ratings = spec.num_train_windows * spec.target_length
        self.given = SparseMatrix(self.num_examples, self.num_inputs, self.num_ratings)
        bound = math.sqrt(6 / (self.num_inputs + config.width))
        self.encoder = nn.Parameter(torch.empty(self.num_inputs, config.width))
        self.decoder = nn.Parameter(torch.empty(self.num_inputs, config.width))
        for weight in (self.encoder, self.decoder):
            nn.init.uniform_(weight, -bound, bound)
        self.encoder_bias = nn.Parameter(torch.zeros(config.width))
        self.decoder_bias = nn.Parameter(torch.zeros(self.num_inputs))
        self.dropout = Dropout(config.dropout)

    def learn(self, ratings: TrainingRatings) -> None:
        """Take every training rating as what the biases leave over."""
        super().learn(ratings)
        users_R, items_R = ratings.user_ids_R, ratings.item_ids_R
        rest_R = ratings.ratings_R - self.biases(users_R, items_R.unsqueeze(1)).squeeze(1)
        rows, columns = (items_R, users_R) if self.config.side == "item" else (users_R, items_R)
        self.given.fill(rows, columns, rest_R)

    def forward(
        self, batch: Batch, item_ids_BN: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predicted ratings and penalty; the damped biases where user or item is unknown."""
        users_B, items_BN = self.known_users(batch.user_ids_B), self.known_items(item_ids_BN)
        users_BN = users_B.unsqueeze(1).expand_as(items_BN)
        by_item = self.config.side == "item"
        examples_BN, inputs_BN = (items_BN, users_BN) if by_item else (users_BN, items_BN)
        hidden_XH = self.dropout(self._encoded())
        left_P = dots(hidden_XH, self.decoder, examples_BN.flatten(), inputs_BN.flatten())
        left_BN = left_P.view_as(items_BN) + self.decoder_bias[inputs_BN]
        is_known_BN = (users_BN != PAD) & (items_BN != PAD)
        ratings_BN = self.biases(users_B, items_BN) + left_BN * is_known_BN
        return ratings_BN, self._penalty(len(users_B))

    def _encoded(self) -> torch.Tensor:
        values = self.given.values
        if self.training and self.config.input_dropout:
            keep = 1 - self.config.input_dropout
            values = values * torch.empty_like(values).bernoulli_(keep).div_(keep)
        return torch.sigmoid(self.given.times(self.encoder, values) + self.encoder_bias)

    def _penalty(self, size: int) -> torch.Tensor | None:
        if not (self.training and self.config.penalty):
            return None
        squares = self.encoder.square().sum() + self.decoder.square().sum()
        return (self.config.penalty / self.num_ratings * squares).expand(size)
