"""A causal transformer.

Written only against the two protocols, and unlike ITE where they leave a choice: the query is
the last position, and the item table is the input embedding, without a bias.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.item_table import ItemTable, Queries


@dataclass(frozen=True)
class CausalConfig(ModelConfig):
    """Its size."""

    task: ClassVar[str] = "next_one"
    item_embedding: ClassVar[str | None] = "items.weight"

    kind: Literal["causal"] = "causal"
    """Kind of model."""
    width: int = 16
    """Width of the item vectors."""

    @property
    def item_width(self) -> int:
        return self.width

    def build(self, spec: DataSpec) -> "Causal":
        return Causal(self, spec)

    def label(self, loss: str) -> str:
        return f"causal {loss}"

    def check(self, data: Manifest) -> None:
        """Accept any data."""


class Causal(nn.Module):
    """One layer of causal attention; items and outputs share their vectors."""

    def __init__(self, config: CausalConfig, spec: DataSpec) -> None:
        super().__init__()
        self.items = nn.Embedding(spec.num_items + 1, config.width, padding_idx=PAD)
        nn.init.normal_(self.items.weight, std=0.1)
        with torch.no_grad():
            self.items.weight[PAD].zero_()
        self.positions = nn.Embedding(spec.input_length, config.width)
        self.attention = nn.MultiheadAttention(config.width, 2, batch_first=True)
        self.norm = nn.LayerNorm(config.width)

    def encode(self, batch: Batch) -> Queries:
        L = batch.item_ids_BL.shape[1]
        hidden_BLD = self.items(batch.item_ids_BL) + self.positions.weight
        is_later_LL = torch.ones(L, L, dtype=torch.bool, device=hidden_BLD.device).triu(1)
        mixed_BLD = self.attention(
            hidden_BLD, hidden_BLD, hidden_BLD, attn_mask=is_later_LL, need_weights=False
        )[0]
        return Queries(self.norm(hidden_BLD + mixed_BLD)[:, -1])

    def item_table(self) -> ItemTable:
        return ItemTable(self.items.weight[1:])
