"""Matrix factorisation as the dot product of a user and an item embedding, without biases.

With `scaled`, the product goes through a sigmoid that is stretched over the rating scale.

Source: Phan et al., Predicting Movie Recommendations by Leveraging Deep Learning and MovieLens
Data, part 2: the baseline, and with `scaled` its Model 2. It states no sizes or learning rates.
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
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.rating_model import RatingModel, refuse_unrated


@dataclass(frozen=True)
class DotProductConfig(ModelConfig):
    """Size and penalty of the factorisation."""

    task: ClassVar[str] = "ratings"
    """It predicts ratings."""
    item_embedding: ClassVar[str | None] = "item_embedding.weight"
    """Its item vectors."""

    kind: Literal["dot_product"] = "dot_product"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    width: int = 50
    """Width of the embeddings."""
    scaled: bool = False
    """Put the product through a sigmoid over the rating scale."""
    initial_std: float = 0.05
    """Standard deviation of the initial embeddings around their common initial value."""
    penalty: float = field(default=0.0, metadata=CHANGEABLE)
    """L2 penalty on the embeddings, added to the loss of each of their ratings."""
    sparse_gradients: bool = False
    """Update only the embeddings that occur in a batch; needs optimizer.name sgd or adagrad."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"model.width={self.width} must be at least 1")
        if not (self.initial_std > 0 and self.penalty >= 0):
            raise ValueError(
                f"model.initial_std={self.initial_std} must be above 0 and "
                f"model.penalty={self.penalty} at least 0"
            )

    @property
    def item_width(self) -> int:
        """Width of the item embedding."""
        return self.width

    def build(self, spec: DataSpec) -> "DotProduct":
        """The model."""
        return DotProduct(self, spec)

    def label(self, loss: str) -> str:  # noqa: ARG002
        """Its name in the source."""
        return "Model 2: scaled dot product" if self.scaled else "Dot product"

    def check(self, data: Manifest) -> None:
        """Refuse data without ratings."""
        refuse_unrated(data, self.kind)


class DotProduct(RatingModel):
    """`user . item`, through a sigmoid if `scaled`; initialised at the mean rating."""

    def __init__(self, config: DotProductConfig, spec: DataSpec) -> None:
        super().__init__(spec)
        self.config = config
        self._low, self._width = spec.rating_min, spec.rating_max - spec.rating_min
        sizes = (spec.num_users + 1, spec.num_items + 1)
        self.user_embedding, self.item_embedding = (
            nn.Embedding(size, config.width, padding_idx=PAD, sparse=config.sparse_gradients)
            for size in sizes
        )
        start = self._inverse(spec.rating_mean)
        # Equal entries whose product is the mean: only deviations from it remain to be learned.
        level = math.sqrt(abs(start) / config.width)
        for embedding, mean in (
            (self.user_embedding, level),
            (self.item_embedding, math.copysign(level, start)),
        ):
            nn.init.normal_(embedding.weight, mean=mean, std=config.initial_std)
            with torch.no_grad():
                embedding.weight[PAD].zero_()

    def forward(
        self, batch: Batch, item_ids_BN: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predicted ratings and penalty; the damped biases where user or item is unknown."""
        users_B, items_BN = self.known_users(batch.user_ids_B), self.known_items(item_ids_BN)
        user_BD, item_BND = self.user_embedding(users_B), self.item_embedding(items_BN)
        product_BN = (item_BND * user_BD.unsqueeze(1)).sum(dim=2)
        if self.config.scaled:
            product_BN = self._low + self._width * torch.sigmoid(product_BN)
        penalty_B = None
        if self.training and self.config.penalty:
            squares_B = user_BD.square().sum(dim=1) + item_BND.square().sum(dim=2).mean(dim=1)
            penalty_B = self.config.penalty * squares_B
        return self.or_biases(product_BN, users_B, items_BN), penalty_B

    def _inverse(self, rating: float) -> float:
        """The product that gives a rating."""
        if not self.config.scaled:
            return rating
        share = min(max((rating - self._low) / (self._width or 1.0), 0.01), 0.99)
        return math.log(share / (1 - share))
