"""Tables of input vectors: of the items of a history, and of their positions.

Their values are drawn by `draw`, which an encoder calls when all its parts are made.
"""

import math

import torch
from torch import nn

from itrec_dist.data.schema import PAD

_STD = 0.02  # small, so that early scores stay near the popularity prior of the item bias


class ItemVectors(nn.Embedding):
    """A vector per item, [V, D]; row 0 is padding and stays zero."""

    def __init__(self, num_items: int, width: int) -> None:
        super().__init__(num_items + 1, width, padding_idx=PAD)

    def forward(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """The vectors of the items times the root of their width, [B, L, D]."""
        return super().forward(ids_BL) * math.sqrt(self.embedding_dim)

    @torch.no_grad()
    def draw(self) -> None:
        """Set the initial values."""
        nn.init.normal_(self.weight, std=_STD)
        self.weight[PAD].zero_()


class PositionVectors(nn.Embedding):
    """A vector per position, counted from the end: the newest event has the same in every batch."""

    def forward(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """The vectors of the positions, [B, L, D], wherever the padding stands."""
        is_event_BL = (ids_BL != PAD).int()
        later_BL = is_event_BL.sum(dim=1, keepdim=True) - is_event_BL.cumsum(dim=1)
        return super().forward(later_BL)

    def draw(self) -> None:
        """Set the initial values."""
        nn.init.normal_(self.weight, std=_STD)
