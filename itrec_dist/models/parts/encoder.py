"""The transformer over a history: input vectors, blocks and a norm, with the items as its table."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.models.item_table import ItemTable, Queries
from itrec_dist.models.parts import layout
from itrec_dist.models.parts.config import SequenceConfig
from itrec_dist.models.parts.features import EventFeatures
from itrec_dist.models.parts.inputs import PositionVectors, item_vectors
from itrec_dist.models.parts.linear_memory import LinearMemory
from itrec_dist.models.parts.pairs import Pairs, see_all
from itrec_dist.models.parts.query_time import QueryTime
from itrec_dist.models.transformer import Dropout

MakeBlock = Callable[[], nn.Module]
"""Makes a block: a module that is called with hidden states [B, L, D] and `Pairs`, and returns
hidden states."""


class SequenceEncoder(nn.Module):
    """A `RankingModel`: the newest event's hidden state as query, the item vectors as table.

    Every event sees every other one, so that it learns from the last target alone.
    """

    pairs: Callable[[Batch], Pairs]

    def __init__(
        self, config: SequenceConfig, spec: DataSpec, block: MakeBlock,
        pairs: Callable[[Batch], Pairs] = see_all,
    ) -> None:  # fmt: skip
        """Put the parts together.

        Args:
            config: width, number of layers, dropout, and how items are scored.
            spec: the data.
            block: makes each of the layers.
            pairs: what they are told about the pairs of a batch.
        """
        super().__init__()
        self.pairs = pairs
        self.temperature = config.temperature
        self.item_embedding, item_bias = item_vectors(config, spec, bias=config.item_bias)
        self.position_embedding = PositionVectors(spec.input_length, config.width)
        self.event_features = EventFeatures(config, spec)
        self.layers = nn.ModuleList(block() for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)
        self.item_bias = item_bias
        self.dropout = Dropout(config.dropout)
        self.item_embedding.draw()
        self.position_embedding.draw()
        self.linear = None
        if config.linear_width is not None:
            self.linear = LinearMemory(config, spec.num_items, spec.input_length)
        self.query_time = None
        if "time_of_query" in config.event_context:
            self.query_time = QueryTime(config.width)

    def encode(self, batch: Batch) -> Queries:
        """One query per row, float32."""
        return Queries(self.hidden(batch)[:, -1].float())

    def item_table(self) -> ItemTable:
        """The item vectors and biases."""
        table = self.item_embedding.table(self.item_bias)
        if self.temperature is not None:
            weight_CD = F.normalize(table.weight_CD, dim=1) / self.temperature
            table = ItemTable(weight_CD, table.bias_C)
        return table if self.linear is None else self.linear.extended(table)

    def hidden(self, batch: Batch) -> torch.Tensor:
        """What every position is scored by, [B, L, D]; rows may be of any width up to L.

        It is the hidden state, and behind it the memory of the linear model if there is one.
        """
        hidden_BLD = self.dropout(self.inputs(batch))
        pairs = self.pairs(batch)
        for layer in self.layers:
            hidden_BLD = layer(hidden_BLD, pairs)
        normed_BLD: torch.Tensor = self.norm(hidden_BLD)
        if self.query_time is not None:
            normed_BLD = self.query_time(normed_BLD, batch)
        if self.temperature is not None:
            normed_BLD = F.normalize(normed_BLD, dim=2)
        if self.linear is None:
            return normed_BLD
        return torch.cat([normed_BLD, self.linear(batch.item_ids_BL)], dim=2)

    def inputs(self, batch: Batch) -> torch.Tensor:
        """What is known about each event, as one vector, [B, L, D]."""
        ids_BL = batch.item_ids_BL
        vector_BLD = self.item_vectors(ids_BL) + self.position_embedding(ids_BL)
        told_BLD: torch.Tensor = self.event_features(vector_BLD, batch)
        return told_BLD

    def item_vectors(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """The vectors of the events' items, [B, L, D]."""
        vector_BLD: torch.Tensor = self.item_embedding(ids_BL)
        return vector_BLD


class StepEncoder(SequenceEncoder):
    """A `StepModel` too: no position depends on a later one, given such blocks and pairs.

    Inside, the events of every row stand first: blocks need no mask for the padding behind them.
    """

    def encode(self, batch: Batch) -> Queries:
        """One query per row, float32."""
        hidden_BLD = self.hidden(layout.events_first(batch))
        num_padding_B = layout.num_padding(batch.item_ids_BL)
        return Queries(layout.last_events(hidden_BLD, num_padding_B).float())

    def encode_steps(self, batch: Batch) -> torch.Tensor:
        """The hidden state of every position, [B, L, D]."""
        hidden_BLD = self.hidden(layout.events_first(batch))
        return layout.padding_first(hidden_BLD, layout.num_padding(batch.item_ids_BL))
