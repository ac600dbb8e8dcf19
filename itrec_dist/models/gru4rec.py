"""GRU4Rec: a recurrent net over a history of items, which predicts after every event.

Sources: Hidasi et al., Session-based Recommendations with Recurrent Neural Networks (2016); Hidasi
and Karatzoglou, Recurrent Neural Networks with Top-k Gains for Session-based Recommendations
(2018), section 3.4, whose constrained embedding is used: items have one vector as input and as
output. The loss is a setting; those of the papers are cross entropy and losses of drawn negatives.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import nn

from itrec_dist.config.fields import CHANGEABLE
from itrec_dist.data.manifest import SampleKind
from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.models.item_table import ItemTable, Queries
from itrec_dist.models.parts import layout
from itrec_dist.models.parts.features import EventFeatures, FeatureConfig
from itrec_dist.models.parts.inputs import item_vectors
from itrec_dist.models.parts.query_time import QueryTime
from itrec_dist.models.transformer import Dropout


@dataclass(frozen=True)
class Gru4recConfig(FeatureConfig):
    """The net's shape."""

    task: ClassVar[str] = "next_items"
    """It scores the catalogue."""
    samples: ClassVar[SampleKind] = "histories"
    """It learns from every position of a history."""
    default_loss: ClassVar[str | None] = "softmax"
    """One target at every position: the likelihood of the next item."""
    item_embedding: ClassVar[str | None] = "item_embedding.weight"
    """Its item vectors."""

    kind: Literal["gru4rec"] = "gru4rec"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    num_layers: int = 1
    """Recurrent layers."""
    dropout: float = field(default=0.2, metadata=CHANGEABLE)
    """Dropout on the input vectors and on the state of each layer, 0 <= p < 1."""
    item_bias: bool = True
    """Add a learned score to each item, which starts at the training popularity."""

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built.

        Raises:
            ConfigError: names the setting.
        """
        for name in ("width", "num_layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout={self.dropout} must be at least 0 and below 1")

    @property
    def item_width(self) -> int:
        """The width."""
        return self.width

    def build(self, spec: DataSpec) -> "GRU4Rec":
        """The model."""
        return GRU4Rec(self, spec)

    def label(self, loss: str) -> str:
        """What distinguishes its arms."""
        return f"GRU4Rec {loss}{self.features_label}"


class GRU4Rec(nn.Module):
    """A `RankingModel` and `StepModel`: the state after an event is the query for the next."""

    def __init__(self, config: Gru4recConfig, spec: DataSpec) -> None:
        super().__init__()
        self.item_embedding, item_bias = item_vectors(config, spec, bias=config.item_bias)
        self.event_features = EventFeatures(config, spec)
        self.layers = nn.ModuleList(
            nn.GRU(config.width, config.width, batch_first=True) for _ in range(config.num_layers)
        )
        self.item_bias = item_bias
        self.query_time = None
        if "time_of_query" in config.event_context:
            self.query_time = QueryTime(config.width)
        self.dropout = Dropout(config.dropout)
        self.item_embedding.draw()

    def encode(self, batch: Batch) -> Queries:
        """One query per row, float32."""
        num_padding_B = layout.num_padding(batch.item_ids_BL)
        return Queries(layout.last_events(self._states(batch), num_padding_B).float())

    def encode_steps(self, batch: Batch) -> torch.Tensor:
        """The state after every position, [B, L, D]."""
        return layout.padding_first(self._states(batch), layout.num_padding(batch.item_ids_BL))

    def item_table(self) -> ItemTable:
        """The item vectors and biases."""
        return self.item_embedding.table(self.item_bias)

    def _states(self, batch: Batch) -> torch.Tensor:
        """The state after every event, [B, L, D], where events stand first.

        Padding before them would change their states; behind them it cannot.
        """
        batch = layout.events_first(batch)
        vector_BLD = self.event_features(self.item_embedding(batch.item_ids_BL), batch)
        state_BLD: torch.Tensor = self.dropout(vector_BLD)
        for layer in self.layers:
            state_BLD = self.dropout(layer(state_BLD)[0])
        if self.query_time is not None:
            state_BLD = self.query_time(state_BLD, batch)
        return state_BLD
