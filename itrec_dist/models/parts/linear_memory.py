"""A linear model of the history, whose scores are added to those of a transformer.

A transformer's scores are products of vectors a few dozen wide; which items follow which can take
many more dimensions. This model has the form of the baseline
`linear_history`, x'W with x the history weighted by decay^age, as a product of two matrices,
W = A B', that are learned together with the transformer. So a query is longer by x'A, and an item's
output vector by its row of B.

That a linear and a deep model learn from one loss is the idea of Cheng et al., Wide & Deep Learning
for Recommender Systems (2016).
"""

import torch
from torch import nn

from itrec_dist.data.schema import PAD
from itrec_dist.models.item_table import ItemTable
from itrec_dist.models.parts.config import SequenceConfig
from itrec_dist.models.transformer import Dropout


class LinearMemory(nn.Module):
    """The decayed sum of the earlier events' vectors at every position, and a vector per item.

    The letter R is the width of both.
    """

    weights_LL: torch.Tensor

    def __init__(self, config: SequenceConfig, num_items: int, length: int) -> None:
        """Make the weights; `length` is the longest history."""
        super().__init__()
        width = config.linear_width
        assert width is not None, "the settings have no linear model"
        self.num_items = num_items
        # The product of two vectors begins with a deviation of 1 / sqrt(width).
        self.read = nn.Embedding(num_items + 1, width, padding_idx=PAD)
        self.written = nn.Parameter(torch.empty(num_items, width).normal_(std=width**-0.5))
        self.dropout = Dropout(config.linear_dropout)
        nn.init.normal_(self.read.weight, std=width**-0.5)
        with torch.no_grad():
            self.read.weight[PAD].zero_()
        age_LL = torch.arange(length).unsqueeze(1) - torch.arange(length)
        weights_LL = torch.where(age_LL >= 0, config.linear_decay ** age_LL.clamp(min=0), 0.0)
        self.register_buffer("weights_LL", weights_LL, persistent=False)

    def forward(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """The memory after every event, [B, L, R]; padding and hidden events add nothing."""
        L = ids_BL.shape[1]
        vectors_BLR = self.read(ids_BL.masked_fill(ids_BL > self.num_items, PAD))
        memory_BLR: torch.Tensor = self.dropout(self.weights_LL[:L, :L] @ vectors_BLR)
        return memory_BLR

    def extended(self, table: ItemTable) -> ItemTable:
        """A table of the items' vectors, with those of the linear model behind them."""
        return ItemTable(torch.cat([table.weight_CD, self.written], dim=1), table.bias_C)
