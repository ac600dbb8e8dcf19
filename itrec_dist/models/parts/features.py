"""What a model may know of an event besides its item: side information, as vectors that are added.

Item features are part of an item's vector, in the input and in the item table alike, so that an
item that training hardly saw has a vector and a score by what it is. Features of the user, the
rating, the context and the columns of an event are added to the vectors of events.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.parts.context import ContextName, EventContext, refuse_untimed
from itrec_dist.models.parts.event_values import EventValues, refuse_absent
from itrec_dist.models.side_information import (
    SideInformation,
    refuse_missing,
    uses_items,
    uses_users,
)

STD = 0.02
"""Of initial vectors: small, so that early scores stay near the popularity prior of the item bias.
"""


@dataclass(frozen=True)
class FeatureConfig(ModelConfig):
    """The settings of side information, which models over histories share."""

    width: int = 64
    """Width of the item vectors and of all that is added to them."""
    side_information: SideInformation = "none"
    """Which features the model sees besides the ids: none, user, item (movie is the same) or both.
    Item features are part of an item's vector, user features of every event's."""
    scores_features: bool = True
    """Score items by their features too, where the model sees them: a new item then has a score by
    what it is; false gives the output vectors of their own ids alone."""
    rating: bool = False
    """Whether the model sees the rating of every event."""
    event_context: tuple[ContextName, ...] = ()
    """What the model sees of the time of every event: gap (since the event before), hour and
    weekday (in UTC), such as '[gap, hour]'. With time_of_query it also knows how much later the
    event happens that it is to predict, in training and when it is judged: another task than
    predicting from the past alone, named in every label."""
    event_features: tuple[str, ...] = ()
    """Which columns of the events it sees, of those that itrec window was given as event_features
    or event_numbers, such as '[device, price]'."""

    @property
    def uses_times(self) -> bool:
        """Whether the model needs the times of events."""
        return bool(self.event_context)

    @property
    def uses_time_of_query(self) -> bool:
        """Whether it knows when the event happens that it predicts."""
        return "time_of_query" in self.event_context

    @property
    def features_label(self) -> str:
        """What a label says about them; empty where there are none."""
        parts: dict[str, bool] = {
            self.side_information: self.side_information != "none",
            "input only": uses_items(self.side_information) and not self.scores_features,
            "rating": self.rating,
        }
        told = [part for part, is_there in parts.items() if is_there]
        return "".join(f" {part}" for part in (*told, *self.event_context, *self.event_features))

    @property
    def needs_whole_items(self) -> str | None:
        """Features of items are added to the vectors of the whole catalogue."""
        if uses_items(self.side_information):
            return f"model.side_information={self.side_information}"
        return None

    def check(self, data: Manifest) -> None:
        """Refuse data without the configured features.

        Raises:
            ConfigError: the message says what the data lacks.
        """
        refuse_missing(self.side_information, data, takes_vectors=True)
        if self.rating and not data.has_ratings:
            raise ConfigError(
                "model.rating=true needs ratings, the shards have none: name their column when "
                "the data is windowed (--columns.rating), or leave it false"
            )
        refuse_untimed(self.event_context, data)
        refuse_absent(self.event_features, data)


class ItemFeatures(nn.Module):
    """The features of every item as one vector.

    It is the sum of a vector per value and of a projection of the vector that the item comes with.
    """

    codes_M: torch.Tensor
    offsets_V: torch.Tensor
    vectors_VT: torch.Tensor | None

    def __init__(self, spec: DataSpec, width: int) -> None:
        super().__init__()
        num_rows, num_values = spec.item_features_VF.shape
        items_M, codes_M = spec.item_features_VF.to_sparse().coalesce().indices()
        counts_V = torch.bincount(items_M, minlength=num_rows)
        self.weight = nn.Parameter(torch.empty(num_values, width).normal_(std=STD))
        self.register_buffer("codes_M", codes_M.contiguous(), persistent=False)
        self.register_buffer("offsets_V", counts_V.cumsum(0) - counts_V, persistent=False)
        self.register_buffer("vectors_VT", spec.item_vectors_VT, persistent=False)
        self.projection = None
        if spec.item_vectors_VT is not None:
            num_numbers = spec.item_vectors_VT.shape[1]
            self.projection = nn.Linear(num_numbers, width, bias=False)
            nn.init.normal_(self.projection.weight, std=STD / math.sqrt(num_numbers))

    def forward(self) -> torch.Tensor:
        """The vectors, [V, D]; zero for padding and for items without features."""
        vectors_VD = F.embedding_bag(self.codes_M, self.weight, self.offsets_V, mode="sum")
        if self.projection is None:
            return vectors_VD
        projected_VD: torch.Tensor = self.projection(self.vectors_VT)
        return vectors_VD + projected_VD


class EventFeatures(nn.Module):
    """What is known about events besides their items, as one vector each; zero if there is nothing.

    Of an event whose item is hidden, only the user is known.
    """

    user_offsets_F: torch.Tensor

    def __init__(self, config: FeatureConfig, spec: DataSpec) -> None:
        super().__init__()
        self.num_items = spec.num_items
        self.rating_mean, self.rating_std = spec.rating_mean, spec.rating_std or 1.0
        counts = [count + 1 for count in spec.user_cardinalities]  # code 0 is unknown
        offsets_F = torch.tensor([0, *counts]).cumsum(0)[:-1]
        self.register_buffer("user_offsets_F", offsets_F.int(), persistent=False)
        self.user_values, self.rating = None, None
        if uses_users(config.side_information):
            self.user_values = nn.Embedding(sum(counts), config.width)
            nn.init.normal_(self.user_values.weight, std=STD)
        if config.rating:
            self.rating = nn.Parameter(torch.zeros(config.width))
        self.context = None
        if config.event_context:
            self.context = EventContext(config.event_context, spec, config.width)
        self.values = None
        if config.event_features:
            self.values = EventValues(config.event_features, spec, config.width)

    def forward(self, vector_BLD: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Add what is known to the vectors of a batch's positions, [B, L, D]."""
        if self.user_values is not None:
            codes_BF = batch.user_features_BF + self.user_offsets_F
            vector_BLD = vector_BLD + self.user_values(codes_BF).sum(dim=1).unsqueeze(1)
        ids_BL = batch.item_ids_BL
        is_known_BL = (ids_BL != PAD) & (ids_BL <= self.num_items)
        if self.rating is not None:
            rating_BL = (batch.ratings_BL - self.rating_mean) / self.rating_std * is_known_BL
            vector_BLD = vector_BLD + rating_BL.unsqueeze(2) * self.rating
        if self.context is not None:
            vector_BLD = vector_BLD + self.context(batch, is_known_BL)
        if self.values is not None:
            vector_BLD = vector_BLD + self.values(batch, is_known_BL)
        return vector_BLD
