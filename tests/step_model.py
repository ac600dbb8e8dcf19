"""A causal transformer that predicts at every position, as somebody else would add it.

The query is the last position, and the item table is the input embedding, without a bias.
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

KIND = "tests.step_model:StepsConfig"


@dataclass(frozen=True)
class StepsConfig(ModelConfig):
    """Its shape."""

    task: ClassVar[str] = "next_items"
    item_embedding: ClassVar[str | None] = "items.weight"

    kind: Literal["tests.step_model:StepsConfig"] = KIND
    width: int = 16
    """Width of the item vectors."""

    @property
    def item_width(self) -> int:
        return self.width

    def build(self, spec: DataSpec) -> "Steps":
        return Steps(self, spec)

    def label(self, loss: str) -> str:
        return f"steps {loss}"

    def check(self, data: Manifest) -> None:
        """Any windows will do."""


class Steps(nn.Module):
    """One layer of causal attention; items and outputs share their vectors."""

    def __init__(self, config: StepsConfig, spec: DataSpec) -> None:
        super().__init__()
        self.items = nn.Embedding(spec.num_items + 1, config.width, padding_idx=PAD)
        nn.init.normal_(self.items.weight, std=0.1)
        with torch.no_grad():
            self.items.weight[PAD].zero_()
        self.positions = nn.Embedding(spec.input_length, config.width)
        self.attention = nn.MultiheadAttention(config.width, 2, batch_first=True)
        self.norm = nn.LayerNorm(config.width)

    def encode(self, batch: Batch) -> Queries:
        return Queries(self.encode_steps(batch)[:, -1])

    def encode_steps(self, batch: Batch) -> torch.Tensor:
        L = batch.item_ids_BL.shape[1]
        hidden_BLD = self.items(batch.item_ids_BL) + self.positions.weight[-L:]
        may_see_LL = torch.ones(L, L, dtype=torch.bool, device=hidden_BLD.device).tril()
        may_see_BLL = may_see_LL & (batch.item_ids_BL != PAD)[:, None]
        may_see_BLL = may_see_BLL | torch.eye(L, dtype=torch.bool, device=hidden_BLD.device)
        heads = self.attention.num_heads
        is_hidden_BHLL = ~may_see_BLL.repeat_interleave(heads, dim=0)
        mixed_BLD = self.attention(
            hidden_BLD, hidden_BLD, hidden_BLD, attn_mask=is_hidden_BHLL, need_weights=False
        )[0]
        return self.norm(hidden_BLD + mixed_BLD)

    def item_table(self) -> ItemTable:
        return ItemTable(self.items.weight[1:])
