"""The block of HSTU: attention without a softmax, gated, in the place of attention and MLP.

Source: Zhai et al., Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for
Generative Recommendations (2024), equations 1 to 3. As in their code, the sum over events is
divided by the longest history, the norms have no weights, and heads share the biases.
"""

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.models.parts.attention import PositionBias, TimeBias
from itrec_dist.models.parts.pairs import Pairs
from itrec_dist.models.transformer import Dropout

_EPSILON = 1e-6
_STD = 0.02


class PointwiseBlock(nn.Module):
    """x + W2 (norm(A v) * u), with u, v, q, k = silu(W1 norm(x)) and A = silu(q k + biases)."""

    earlier_LL: torch.Tensor

    def __init__(self, width: int, num_heads: int, length: int, dropout: float) -> None:
        """Make the weights; `length` is the longest history."""
        super().__init__()
        self.num_heads = num_heads
        self.uvqk = nn.Linear(width, 4 * width, bias=False)
        self.output = nn.Linear(width, width)
        self.position_bias = PositionBias(length)
        self.time_bias = TimeBias()
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.uvqk.weight, std=_STD)
        nn.init.xavier_uniform_(self.output.weight)
        earlier_LL = torch.ones(length, length).tril() / length
        self.register_buffer("earlier_LL", earlier_LL, persistent=False)

    def forward(self, hidden_BLD: torch.Tensor, pairs: Pairs) -> torch.Tensor:
        """Transform [B, L, D], where events stand first; `pairs` has their times."""
        B, L, D = hidden_BLD.shape
        H = self.num_heads
        normed_BLD = F.layer_norm(hidden_BLD, (D,), eps=_EPSILON)
        parts = F.silu(self.uvqk(normed_BLD)).view(B, L, 4, H, D // H).permute(2, 0, 3, 1, 4)
        _, v_BHLE, q_BHLE, k_BHLE = parts
        assert pairs.buckets_BLL is not None
        bias_BLL = (self.time_bias(pairs.buckets_BLL) + self.position_bias(L)).to(v_BHLE.dtype)
        scores_BHLL = q_BHLE @ k_BHLE.transpose(2, 3) + bias_BLL.unsqueeze(1)
        weights_BHLL = F.silu(scores_BHLL) * self.earlier_LL[:L, :L].to(v_BHLE.dtype)
        mixed_BLD = (weights_BHLL @ v_BHLE).transpose(1, 2).reshape(B, L, D)
        u_BLD = parts[0].transpose(1, 2).reshape(B, L, D)
        gated_BLD = F.layer_norm(mixed_BLD, (D,), eps=_EPSILON) * u_BLD
        summed_BLD: torch.Tensor = hidden_BLD + self.output(self.dropout(gated_BLD))
        return summed_BLD
