"""Matrix factorisation by a small net over the concatenated user and item embeddings.

Source: Phan et al., Predicting Movie Recommendations by Leveraging Deep Learning and MovieLens
Data, part 2, Model 1: dropout 0.1 on the embeddings and after their concatenation, a dense layer
of 100 ReLU units, dropout, a linear output.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.config.fields import CHANGEABLE
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.rating_model import RatingModel, refuse_unrated
from itrec_dist.models.transformer import Dropout


@dataclass(frozen=True)
class NeuralMFConfig(ModelConfig):
    """Size, dropout and penalty of the net."""

    task: ClassVar[str] = "ratings"
    """It predicts ratings."""
    item_embedding: ClassVar[str | None] = "item_embedding.weight"
    """Its item vectors."""

    kind: Literal["neural_mf"] = "neural_mf"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    width: int = 50
    """Width of the embeddings."""
    hidden_width: int = 100
    """Units of the dense layer."""
    dropout: float = field(default=0.1, metadata=CHANGEABLE)
    """Dropout on the embeddings, on their concatenation and on the hidden units, 0 <= p < 1."""
    penalty: float = field(default=0.0, metadata=CHANGEABLE)
    """L2 penalty on the embeddings, added to the loss of each of their ratings."""
    sparse_gradients: bool = False
    """Update only the embeddings that occur in a batch; needs optimizer.name sgd or adagrad."""

    def __post_init__(self) -> None:
        if min(self.width, self.hidden_width) < 1:
            raise ValueError("model.width and model.hidden_width must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"model.dropout={self.dropout} is not in 0 <= p < 1")
        if not self.penalty >= 0:
            raise ValueError(f"model.penalty={self.penalty} must be at least 0")

    @property
    def item_width(self) -> int:
        """Width of the item embedding."""
        return self.width

    def build(self, spec: DataSpec) -> "NeuralMF":
        """The model."""
        return NeuralMF(self, spec)

    def label(self, loss: str) -> str:  # noqa: ARG002
        """Its name in the source."""
        return "Model 1: neural MF"

    def check(self, data: Manifest) -> None:
        """Refuse data without ratings."""
        refuse_unrated(data, self.kind)


class NeuralMF(RatingModel):
    """`linear(relu(dense([user, item])))`, initialised at the mean rating."""

    def __init__(self, config: NeuralMFConfig, spec: DataSpec) -> None:
        super().__init__(spec)
        self.config = config
        sizes = (spec.num_users + 1, spec.num_items + 1)
        self.user_embedding, self.item_embedding = (
            nn.Embedding(size, config.width, padding_idx=PAD, sparse=config.sparse_gradients)
            for size in sizes
        )
        for embedding in (self.user_embedding, self.item_embedding):
            nn.init.uniform_(embedding.weight, -0.05, 0.05)
            with torch.no_grad():
                embedding.weight[PAD].zero_()
        self.hidden = nn.Linear(2 * config.width, config.hidden_width)
        self.output = nn.Linear(config.hidden_width, 1)
        nn.init.constant_(self.output.bias, spec.rating_mean)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, batch: Batch, item_ids_BN: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predicted ratings and penalty; the damped biases where user or item is unknown."""
        users_B, items_BN = self.known_users(batch.user_ids_B), self.known_items(item_ids_BN)
        user_BD, item_BND = self.user_embedding(users_B), self.item_embedding(items_BN)
        user_BND = self.dropout(user_BD).unsqueeze(1).expand_as(item_BND)
        both_BNE = self.dropout(torch.cat([user_BND, self.dropout(item_BND)], dim=2))
        hidden_BNE = self.dropout(F.relu(self.hidden(both_BNE)))
        ratings_BN = self.output(hidden_BNE).squeeze(2)
        penalty_B = None
        if self.training and self.config.penalty:
            squares_B = user_BD.square().sum(dim=1) + item_BND.square().sum(dim=2).mean(dim=1)
            penalty_B = self.config.penalty * squares_B
        return self.or_biases(ratings_BN, users_B, items_BN), penalty_B
