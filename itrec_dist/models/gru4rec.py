"""GRU4Rec: a recurrent net over a history of items, which predicts after every event.

Sources: Hidasi et al., Session-based Recommendations with Recurrent Neural Networks (2016); Hidasi
and Karatzoglou, Recurrent Neural Networks with Top-k Gains for Session-based Recommendations
(2018), section 3.4, whose constrained embedding is used: items have one vector as input and as
output. The loss is a setting; that of the papers are cross entropy and losses of drawn negatives.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import nn

from itrec_dist.config.fields import CHANGEABLE
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.item_table import ItemTable, Queries
from itrec_dist.models.transformer import Dropout


@dataclass(frozen=True)
class Gru4recConfig(ModelConfig):
    """The net's shape."""

    task: ClassVar[str] = "next_items"
    """It scores the catalogue."""
    item_embedding: ClassVar[str | None] = "item_embedding.weight"
    """Its item vectors."""

    kind: Literal["gru4rec"] = "gru4rec"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    width: int = 128
    """Width of the item vectors and of the state."""
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
        return f"GRU4Rec {loss}"

    def check(self, data: Manifest) -> None:
        """Histories or windows will do."""


class GRU4Rec(nn.Module):
    """A `RankingModel` and `StepModel`: the state after an event is the query for the next."""

    def __init__(self, config: Gru4recConfig, spec: DataSpec) -> None:
        super().__init__()
        width = config.width
        self.item_embedding = nn.Embedding(spec.num_items + 1, width, padding_idx=PAD)
        self.layers = nn.ModuleList(
            nn.GRU(width, width, batch_first=True) for _ in range(config.num_layers)
        )
        self.item_bias = nn.Parameter(torch.zeros(spec.num_items)) if config.item_bias else None
        self.dropout = Dropout(config.dropout)
        nn.init.normal_(self.item_embedding.weight, std=width**-0.5)
        with torch.no_grad():
            self.item_embedding.weight[PAD].zero_()

    def encode(self, batch: Batch) -> Queries:
        """One query per row, float32."""
        return Queries(self.encode_steps(batch)[:, -1].float())

    def encode_steps(self, batch: Batch) -> torch.Tensor:
        """The state after every position, [B, L, D]."""
        ids_BL = batch.item_ids_BL
        state_BLD = self.dropout(self.item_embedding(ids_BL))
        # Events are moved to the front of their row: what follows them cannot change their state,
        # what came before them would.
        L = ids_BL.shape[1]
        places_L = torch.arange(L, device=ids_BL.device)
        num_pads_B1 = (ids_BL == PAD).sum(dim=1, keepdim=True)
        state_BLD = _taken(state_BLD, (places_L + num_pads_B1).clamp(max=L - 1))
        for layer in self.layers:
            state_BLD = self.dropout(layer(state_BLD)[0])
        return _taken(state_BLD, (places_L - num_pads_B1).clamp(min=0))

    def item_table(self) -> ItemTable:
        """The item vectors and biases."""
        return ItemTable(self.item_embedding.weight[1:], self.item_bias)


def _taken(values_BLD: torch.Tensor, places_BL: torch.Tensor) -> torch.Tensor:
    """Each row's vectors in another order."""
    return values_BLD.take_along_dim(places_BL.unsqueeze(2), dim=1)
