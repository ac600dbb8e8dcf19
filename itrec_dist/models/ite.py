"""The Informative Transformer Encoder: a window of items with side information -> item scores.

Source: Nitayanont, Informative Transformer Encoder, section 4 and figure 1. Choices that the paper
leaves open: positions are learned, sizes are settings, the release period is a movie feature
besides the genres, and the output bias starts at the training popularity.
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
from itrec_dist.models.item_table import ItemTable, Queries
from itrec_dist.models.parts.event_values import EventValues, refuse_absent
from itrec_dist.models.side_information import (
    SideInformation,
    refuse_missing,
    uses_items,
    uses_users,
)
from itrec_dist.models.transformer import Dropout, EncoderLayer

_EMBEDDING_STD = 0.02  # small, so that early scores stay near the popularity prior of the bias

_REPEAT_GAIN = 10.0  # a few scalars need large values at the other weights' learning rate


@dataclass(frozen=True)
class ITEConfig(ModelConfig):
    """Model: encoder and input features."""

    task: ClassVar[str] = "next_items"
    """It ranks the catalogue."""
    item_embedding: ClassVar[str | None] = "item_embedding.weight"
    """Its item vectors."""

    kind: Literal["ite"] = "ite"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    width: int = 128
    """Width of the encoder's input, held constant over all side-information levels."""
    num_layers: int = 2
    """Number of encoder layers."""
    num_heads: int = 4
    """Attention heads per layer; must divide the width."""
    feedforward_width: int = 256
    """Inner width of each layer's feed-forward net."""
    dropout: float = field(default=0.2, metadata=CHANGEABLE)
    """Dropout on the input vectors, inside the layers and before the output, 0 <= p < 1."""
    side_information: SideInformation = "both"
    """Which features the model sees: none, user, movie (or item, which is the same) or both."""
    movie_feature_width: int = 32
    """Part of the width that the projected movie features take where they are used; the id
    embedding has the rest, minus one for the rating."""
    repeat_bias: bool = False
    """Learn, per input position, how much more or less likely its item is to be chosen again; the
    paper has no such term and must learn it item by item."""

    event_features: tuple[str, ...] = ()
    """Which columns of the events it sees besides, such as '[device, price]'; see
    --event_features and --event_numbers of itrec window. The paper has none."""

    causal: bool = False
    """Let an event attend to earlier ones alone, and learn from every position of a history; in the
    paper an event attends to all, and a window has one query."""

    def __post_init__(self) -> None:
        if min(self.width, self.num_layers, self.num_heads, self.feedforward_width) < 1:
            raise ValueError(
                "model.width, num_layers, num_heads and feedforward_width must be at least 1"
            )
        if self.width % self.num_heads:
            raise ValueError(
                f"model.num_heads={self.num_heads} does not divide model.width={self.width}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"model.dropout={self.dropout} is not in 0 <= p < 1")
        if not 1 <= self.movie_feature_width < self.width - 1:
            raise ValueError(
                f"model.movie_feature_width={self.movie_feature_width} leaves no room for the id "
                f"embedding: it must be at least 1 and below model.width - 1 = {self.width - 1}"
            )

        if self.causal and self.repeat_bias:
            raise ValueError(
                "model.repeat_bias=true belongs to the one query of a window, and with "
                "model.causal=true there is one at every position: set one of them to false"
            )

    @property
    def uses_user(self) -> bool:
        """Whether a user vector is prepended."""
        return uses_users(self.side_information)

    @property
    def uses_movie(self) -> bool:
        """Whether movie features are stacked on the id embedding."""
        return uses_items(self.side_information)

    @property
    def item_width(self) -> int:
        """Width of the item embedding."""
        return self.width - 1 - (self.movie_feature_width if self.uses_movie else 0)

    def build(self, spec: DataSpec) -> "ITE":
        """The model."""
        return CausalITE(self, spec) if self.causal else ITE(self, spec)

    def label(self, loss: str) -> str:
        """What distinguishes the arms of the paper's study."""
        told = "".join(f" {name}" for name in self.event_features)
        return f"ITE {loss} {self.side_information}{' causal' if self.causal else ''}{told}"

    def check(self, data: Manifest) -> None:
        """Refuse data without the configured features.

        Raises:
            ConfigError: the message says what the data lacks.
        """
        refuse_missing(self.side_information, data)
        refuse_absent(self.event_features, data)


class ITE(nn.Module):
    """A `RankingModel`: the pooled window as query, a linear layer as item table."""

    user_offsets_F: torch.Tensor
    item_features_VF: torch.Tensor
    positions_L: torch.Tensor

    def __init__(self, config: ITEConfig, spec: DataSpec) -> None:
        super().__init__()
        self.config = config
        movie_width = config.movie_feature_width if config.uses_movie else 0
        vector_width = config.width - 1  # the rating takes the last place
        self.item_embedding = nn.Embedding(
            spec.num_items + 1, vector_width - movie_width, padding_idx=PAD
        )
        self.position_embedding = nn.Embedding(spec.input_length, vector_width)
        if config.uses_movie:
            self.movie_projection = nn.Linear(spec.item_features_VF.shape[1], movie_width)
        if config.uses_user:
            # One row per value of every feature and one for "unknown": the projection of the
            # stacked one-hot vectors is the sum of these rows.
            self.user_projection = nn.Embedding(
                sum(c + 1 for c in spec.user_cardinalities), config.width
            )
            self.user_bias = nn.Parameter(torch.zeros(config.width))
        self.layers = nn.ModuleList(
            EncoderLayer(config.width, config.num_heads, config.feedforward_width, config.dropout)
            for _ in range(config.num_layers)
        )
        self.output = nn.Linear(config.width, spec.num_items)
        if config.repeat_bias:
            self.repeat_weights = nn.Parameter(torch.zeros(spec.input_length))
        self.event_values = None
        if config.event_features:
            self.event_values = EventValues(config.event_features, spec, config.width)
        self.dropout = Dropout(config.dropout)
        offsets = torch.tensor([0, *(c + 1 for c in spec.user_cardinalities)]).cumsum(0)[:-1]
        self.register_buffer("user_offsets_F", offsets.int(), persistent=False)
        features_VF = spec.item_features_VF.to_dense()
        self.register_buffer("item_features_VF", features_VF, persistent=False)
        self.register_buffer("positions_L", torch.arange(spec.input_length), persistent=False)
        self.rating_mean, self.rating_std = spec.rating_mean, spec.rating_std or 1.0
        self._initialise()

    def encode(self, batch: Batch) -> Queries:
        """One query per window, float32; the repeat bias raises or lowers the input items."""
        hidden_BLD, is_item_BL = self._inputs(batch)
        attend_B11L = is_item_BL[:, None, None, :]
        for layer in self.layers:
            hidden_BLD = layer(hidden_BLD, attend_B11L)
        weight_BL1 = is_item_BL.unsqueeze(2).to(hidden_BLD.dtype)
        pooled_BD = (hidden_BLD * weight_BL1).sum(dim=1) / weight_BL1.sum(dim=1)
        query_BD = self.dropout(pooled_BD.float())
        if not self.config.repeat_bias:
            return Queries(query_BD)
        added_BL = self.repeat_weights * _REPEAT_GAIN * (batch.item_ids_BL != PAD)
        return Queries(query_BD, batch.item_ids_BL, added_BL)

    def item_table(self) -> ItemTable:
        """Output weights and bias."""
        return ItemTable(self.output.weight, self.output.bias)

    def _inputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The input vectors, [B, L, D] or with a user [B, 1 + L, D], and which are no padding."""
        is_item_BL = batch.item_ids_BL != PAD
        hidden_BLD = self._movie_vectors(batch, is_item_BL)
        if self.event_values is not None:
            hidden_BLD = hidden_BLD + self.event_values(batch, is_item_BL)
        if self.config.uses_user:
            codes_BF = batch.user_features_BF + self.user_offsets_F
            user_BD = self.user_projection(codes_BF).sum(dim=1) + self.user_bias
            hidden_BLD = torch.cat([user_BD.unsqueeze(1), hidden_BLD], dim=1)
            is_item_BL = F.pad(is_item_BL, (1, 0), value=True)
        return self.dropout(hidden_BLD), is_item_BL

    def _movie_vectors(self, batch: Batch, is_item_BL: torch.Tensor) -> torch.Tensor:
        """Id embedding, movie features, position and rating of every input, [B, L, D]."""
        vector_BLD = self.item_embedding(batch.item_ids_BL)
        if self.config.uses_movie:
            # Projecting the table once is cheaper than projecting every position of the batch.
            projected_VD = self.movie_projection(self.item_features_VF)
            movie_BLD = F.embedding(batch.item_ids_BL, projected_VD)
            vector_BLD = torch.cat([vector_BLD, movie_BLD.to(vector_BLD.dtype)], dim=2)
        # Counted from the end: the batches of a causal model are as wide as their longest row.
        places_L = self.positions_L[-batch.item_ids_BL.shape[1] :]
        vector_BLD = vector_BLD + self.position_embedding(places_L)
        rating_BL = (batch.ratings_BL - self.rating_mean) / self.rating_std * is_item_BL
        return torch.cat([vector_BLD, rating_BL.unsqueeze(2)], dim=2)

    def _initialise(self) -> None:
        for module in (self.item_embedding, self.position_embedding, self.output):
            nn.init.normal_(module.weight, std=_EMBEDDING_STD)
        with torch.no_grad():
            self.item_embedding.weight[PAD].zero_()
        if self.config.uses_user:
            nn.init.normal_(self.user_projection.weight, std=_EMBEDDING_STD)


class CausalITE(ITE):
    """A `StepModel` too: the query of a position is the mean over the events up to it."""

    def encode(self, batch: Batch) -> Queries:
        """One query per window, float32."""
        return Queries(self.encode_steps(batch)[:, -1].float())

    def encode_steps(self, batch: Batch) -> torch.Tensor:
        """The query of every position, [B, L, D]."""
        hidden_BLD, is_item_BL = self._inputs(batch)
        num_inputs = is_item_BL.shape[1]
        earlier_LL = torch.ones(
            num_inputs, num_inputs, dtype=torch.bool, device=is_item_BL.device
        ).tril()
        itself_LL = torch.eye(num_inputs, dtype=torch.bool, device=is_item_BL.device)
        attend_B1LL = ((earlier_LL & is_item_BL[:, None]) | itself_LL)[:, None]
        for layer in self.layers:
            hidden_BLD = layer(hidden_BLD, attend_B1LL)
        weight_BL1 = is_item_BL.unsqueeze(2).float()
        total_BLD = (hidden_BLD.float() * weight_BL1).cumsum(dim=1)
        pooled_BLD = total_BLD / weight_BL1.cumsum(dim=1).clamp(min=1)
        steps_BLD: torch.Tensor = self.dropout(pooled_BLD[:, -batch.item_ids_BL.shape[1] :])
        return steps_BLD
