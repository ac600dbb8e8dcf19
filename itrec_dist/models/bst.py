"""The Behavior Sequence Transformer as a rating model of earlier ratings and a target item.

Each earlier item is its embedding, joined with its genres by a dense layer, plus its position,
multiplied by its rating; the target item follows without a rating. After attention all positions
are concatenated with the user, and dense layers predict the rating.

Source: Chen et al., Behavior Sequence Transformer for E-commerce Recommendation in Alibaba; as a
rating model Phan et al., Predicting Movie Recommendations by Leveraging Deep Learning and
MovieLens Data, part 2. The encoder layer is that of the other models here (GELU, LayerNorm). The
dense layers use LayerNorm instead of batch norm, whose statistics would differ between workers.
"""

import itertools
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.config.fields import CHANGEABLE
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.rating_model import RatingModel, refuse_unrated
from itrec_dist.models.transformer import Dropout, EncoderLayer

_EMBEDDING_STD = 0.05


@dataclass(frozen=True)
class BSTConfig(ModelConfig):
    """Model: encoder and input features."""

    task: ClassVar[str] = "ratings"
    """It predicts ratings."""
    item_embedding: ClassVar[str | None] = "item_embedding.weight"
    """Its item vectors."""

    kind: Literal["bst"] = "bst"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    width: int = 32
    """Width of the item vectors and the user vector."""
    num_blocks: int = 1
    """Transformer blocks."""
    num_heads: int = 2
    """Attention heads per block; must divide the width."""
    hidden_widths: tuple[int, ...] = (256, 128)
    """Dense layers after the transformer."""
    dropout: float = field(default=0.1, metadata=CHANGEABLE)
    """Dropout in the blocks and on the dense layers, 0 <= p < 1."""
    genres: bool = True
    """Join the item features, such as genres, with the item embedding."""
    user_features: bool = True
    """Join the user features, such as gender and occupation."""
    user_ids: bool = True
    """Join an embedding of the user's id."""
    biases: bool = False
    """Predict the deviation from the damped user and item biases instead of the rating; earlier
    ratings are then given as 1 plus their deviation."""
    penalty: float = field(default=0.0, metadata=CHANGEABLE)
    """L2 penalty on the embeddings of target and user, added to the loss of each rating."""

    def __post_init__(self) -> None:
        if min(self.width, self.num_blocks, self.num_heads, *self.hidden_widths, 1) < 1:
            raise ValueError(
                "model.width, num_blocks, num_heads and hidden_widths must be at least 1"
            )
        if self.width % self.num_heads:
            raise ValueError(
                f"model.num_heads={self.num_heads} does not divide model.width={self.width}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"model.dropout={self.dropout} is not in 0 <= p < 1")
        if not self.penalty >= 0:
            raise ValueError(f"model.penalty={self.penalty} must be at least 0")

    @property
    def item_width(self) -> int:
        """Width of the item embedding."""
        return self.width

    def build(self, spec: DataSpec) -> "BST":
        """The model."""
        return BST(self, spec)

    def label(self, loss: str) -> str:  # noqa: ARG002
        """Its name in the literature."""
        return f"BST, {self.num_blocks} block{'s' if self.num_blocks > 1 else ''}"

    def check(self, data: Manifest) -> None:
        """Refuse data without ratings or without the configured features."""
        refuse_unrated(data, self.kind)
        for name, wanted, there in (
            ("genres", self.genres, data.item_feature_width),
            ("user_features", self.user_features, data.user_features),
        ):
            if wanted and not there:
                raise ConfigError(
                    f"model.{name}=true needs features that the shards do not have: window the "
                    f"data with their table, or set model.{name}=false"
                )


class BST(RatingModel):
    """The transformer; unknown users and items have zero embeddings but keep their features."""

    user_offsets_F: torch.Tensor
    item_features_VF: torch.Tensor

    def __init__(self, config: BSTConfig, spec: DataSpec) -> None:
        super().__init__(spec)
        self.config = config
        D, num_positions = config.width, spec.input_length + 1
        self.item_embedding = nn.Embedding(spec.num_items + 1, D, padding_idx=PAD)
        self.position_embedding = nn.Embedding(num_positions, D)
        tables = [self.item_embedding, self.position_embedding]
        if config.genres:
            self.joined = nn.Linear(D + spec.item_features_VF.shape[1], D)
        if config.user_features:
            self.user_projection = nn.Embedding(sum(c + 1 for c in spec.user_cardinalities), D)
            tables.append(self.user_projection)
        if config.user_ids:
            self.user_embedding = nn.Embedding(spec.num_users + 1, D, padding_idx=PAD)
            tables.append(self.user_embedding)
        for table in tables:
            nn.init.normal_(table.weight, std=_EMBEDDING_STD)
            if table.padding_idx is not None:
                nn.init.zeros_(table.weight[PAD])
        self.layers = nn.ModuleList(
            EncoderLayer(D, config.num_heads, D, config.dropout) for _ in range(config.num_blocks)
        )
        parts = num_positions + config.user_features + config.user_ids
        self.head = _dense((parts * D, *config.hidden_widths), config.dropout)
        output = self.head[-1]
        assert isinstance(output, nn.Linear)
        nn.init.constant_(output.bias, 0.0 if config.biases else spec.rating_mean)
        offsets = torch.tensor([0, *(c + 1 for c in spec.user_cardinalities)]).cumsum(0)[:-1]
        self.register_buffer("user_offsets_F", offsets, persistent=False)
        features_VF = spec.item_features_VF.to_dense()
        self.register_buffer("item_features_VF", features_VF, persistent=False)

    def forward(
        self, batch: Batch, item_ids_BN: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predicted ratings and penalty; each of the N items is scored as a separate target."""
        B, N = item_ids_BN.shape
        users_B = self.known_users(batch.user_ids_B)
        vectors_VD = self._item_vectors()
        sequence_BLD, is_item_BL = self._sequence(batch, users_B, vectors_VD)
        targets_BN = self._feature_ids(item_ids_BN)
        target_BN1D = (
            self._vectors(targets_BN, vectors_VD) + self.position_embedding.weight[-1]
        ).unsqueeze(2)
        sequence_BNLD = sequence_BLD.unsqueeze(1).expand(-1, N, -1, -1)
        hidden = torch.cat([sequence_BNLD, target_BN1D], dim=2).flatten(0, 1)
        attend = F.pad(is_item_BL, (0, 1), value=True).repeat_interleave(N, dim=0)
        for layer in self.layers:
            hidden = layer(hidden, attend[:, None, None, :])
        hidden = (hidden * attend.unsqueeze(2)).flatten(1)
        user_BE = self._user(batch, users_B)
        if user_BE is not None:
            hidden = torch.cat([hidden, user_BE.repeat_interleave(N, dim=0)], dim=1)
        ratings_BN = self.head(hidden).float().view(B, N)
        if self.config.biases:
            ratings_BN = ratings_BN + self.biases(users_B, self.known_items(item_ids_BN))
        return ratings_BN, self._penalty(users_B, item_ids_BN)

    def _item_vectors(self) -> torch.Tensor | None:
        """Embedding and features of all items after the dense layer, [V, D]; None if unused."""
        if not self.config.genres:
            return None
        known_V1 = self.is_item_V.unsqueeze(1)
        both_VE = torch.cat([self.item_embedding.weight * known_V1, self.item_features_VF], dim=1)
        return F.leaky_relu(self.joined(both_VE))

    def _feature_ids(self, item_ids: torch.Tensor) -> torch.Tensor:
        """Ids whose features are known: those of the item table; without features, known items."""
        if not self.config.genres:
            return self.known_items(item_ids)
        return torch.where(item_ids < len(self.is_item_V), item_ids, PAD)

    def _vectors(self, item_ids: torch.Tensor, vectors_VD: torch.Tensor | None) -> torch.Tensor:
        if vectors_VD is None:
            vectors: torch.Tensor = self.item_embedding(item_ids)
            return vectors
        return F.embedding(item_ids, vectors_VD)

    def _sequence(
        self, batch: Batch, users_B: torch.Tensor, vectors_VD: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of the earlier items times their ratings, [B, L, D], and the padding mask."""
        ids_BL = self._feature_ids(batch.item_ids_BL)
        is_item_BL = ids_BL != PAD
        vector_BLD = self._vectors(ids_BL, vectors_VD) + self.position_embedding.weight[:-1]
        weight_BL = batch.ratings_BL
        if self.config.biases:
            weight_BL = 1 + weight_BL - self.biases(users_B, self.known_items(ids_BL))
        return vector_BLD * (weight_BL * is_item_BL).unsqueeze(2), is_item_BL

    def _user(self, batch: Batch, users_B: torch.Tensor) -> torch.Tensor | None:
        parts = []
        if self.config.user_features:
            codes_BF = batch.user_features_BF + self.user_offsets_F
            parts.append(self.user_projection(codes_BF).sum(dim=1))
        if self.config.user_ids:
            parts.append(self.user_embedding(users_B))
        return torch.cat(parts, dim=1) if parts else None

    def _penalty(self, users_B: torch.Tensor, item_ids_BN: torch.Tensor) -> torch.Tensor | None:
        if not (self.training and self.config.penalty):
            return None
        item_BND = self.item_embedding(self.known_items(item_ids_BN))
        squares_B = item_BND.square().sum(dim=2).mean(dim=1)
        if self.config.user_ids:
            squares_B = squares_B + self.user_embedding(users_B).square().sum(dim=1)
        penalty_B: torch.Tensor = self.config.penalty * squares_B
        return penalty_B


def _dense(widths: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Dense layers with norm, leaky ReLU and dropout, then one output."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.LeakyReLU(), Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))
