"""The block of LiGR: a pre-norm transformer whose sublayers are added through gates.

Source: Borisyuk et al., From Features to Transformers: Redefining Ranking for Scalable Impact
(2025), section 3.4; the feed-forward net is that of Tikhonovich et al., eSASRec (2025).
"""

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.models.parts.attention import self_attention
from itrec_dist.models.parts.pairs import Pairs
from itrec_dist.models.transformer import Dropout


class LigrBlock(nn.Module):
    """x + sigmoid(W x) * f(norm(x)), with f self-attention and then a feed-forward net (SwiGLU)."""

    def __init__(self, width: int, num_heads: int, inner_width: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.gate_attention = nn.Linear(width, width)
        self.norm_feedforward = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * inner_width, bias=False)
        self.contract = nn.Linear(inner_width, width, bias=False)
        self.gate_feedforward = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_BLD: torch.Tensor, pairs: Pairs) -> torch.Tensor:
        """Transform [B, L, D]."""
        qkv_BLT = self.qkv(self.norm_attention(hidden_BLD))
        mixed_BLD = self.dropout(self.attended(self_attention(qkv_BLT, self.num_heads, pairs)))
        hidden_BLD = hidden_BLD + torch.sigmoid(self.gate_attention(hidden_BLD)) * mixed_BLD
        left_BLW, right_BLW = self.expand(self.norm_feedforward(hidden_BLD)).chunk(2, dim=2)
        inner_BLW = self.dropout(F.silu(left_BLW) * right_BLW)
        outer_BLD = self.dropout(self.contract(inner_BLW))
        gated_BLD = torch.sigmoid(self.gate_feedforward(hidden_BLD)) * outer_BLD
        summed_BLD: torch.Tensor = hidden_BLD + gated_BLD
        return summed_BLD
