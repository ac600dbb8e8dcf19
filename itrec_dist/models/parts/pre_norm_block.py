"""The block of a plain pre-norm transformer."""

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.models.parts.attention import self_attention
from itrec_dist.models.parts.pairs import Pairs
from itrec_dist.models.transformer import Dropout


class PreNormBlock(nn.Module):
    """Self-attention and a feed-forward net, each of its normalised input and added to it."""

    def __init__(self, width: int, num_heads: int, inner_width: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.norm_feedforward = nn.LayerNorm(width)
        self.expand = nn.Linear(width, inner_width)
        self.contract = nn.Linear(inner_width, width)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_BLD: torch.Tensor, pairs: Pairs) -> torch.Tensor:
        """Transform [B, L, D]."""
        qkv_BLT = self.qkv(self.norm_attention(hidden_BLD))
        mixed_BLD = self.attended(self_attention(qkv_BLT, self.num_heads, pairs))
        hidden_BLD = hidden_BLD + self.dropout(mixed_BLD)
        inner_BLD = F.gelu(self.expand(self.norm_feedforward(hidden_BLD)))
        outer_BLD = self.dropout(self.contract(self.dropout(inner_BLD)))
        summed_BLD: torch.Tensor = hidden_BLD + outer_BLD
        return summed_BLD
