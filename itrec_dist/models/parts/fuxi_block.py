"""The block of FuXi-alpha: meaning, position and time attend in channels of their own.

Source: Ye et al., FuXi-alpha: Scaling Recommendation Model with Feature Interaction Enhanced
Transformer (2025), equations 2 to 9. As in their code, meaning is divided by the longest history,
the norms have no weights, and heads share the channels of position and time.
"""

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.models.parts.attention import PositionBias, TimeBias
from itrec_dist.models.parts.pairs import Pairs
from itrec_dist.models.transformer import Dropout

_EPSILON = 1e-6
_STD = 0.02
_CHANNELS = 3


class FuxiBlock(nn.Module):
    """y = x + W0 (norm([A v, P v, T v]) * u), then y + W2 (silu(W1 norm(y)) * W3 norm(y)).

    u, v, q and k are silu(W norm(x)), A = silu(q k) is the channel of meaning, and P and T are
    learned numbers for the distance in position and in time.
    """

    earlier_LL: torch.Tensor

    def __init__(
        self, width: int, num_heads: int, length: int, inner_width: int, dropout: float
    ) -> None:
        """Make the weights; `length` is the longest history."""
        super().__init__()
        self.num_heads = num_heads
        self.uvqk = nn.Linear(width, (_CHANNELS + 3) * width, bias=False)
        self.joined = nn.Linear(_CHANNELS * width, width)
        self.expand = nn.Linear(width, 2 * inner_width, bias=False)
        self.contract = nn.Linear(inner_width, width, bias=False)
        self.position_bias = PositionBias(length)
        self.time_bias = TimeBias()
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.uvqk.weight, std=_STD)
        for half in (self.joined.weight, *self.expand.weight.chunk(2), self.contract.weight):
            nn.init.xavier_uniform_(half)
        earlier_LL = torch.ones(length, length).tril()
        self.register_buffer("earlier_LL", earlier_LL, persistent=False)

    def forward(self, hidden_BLD: torch.Tensor, pairs: Pairs) -> torch.Tensor:
        """Transform [B, L, D], where events stand first; `pairs` has their times."""
        D = hidden_BLD.shape[2]
        projected = F.silu(self.uvqk(_normalised(hidden_BLD)))
        u_BLC, v_BLD, q_BLD, k_BLD = projected.split([_CHANNELS * D, D, D, D], dim=2)
        channels_BLC = _normalised(self._attended(q_BLD, k_BLD, v_BLD, pairs))
        hidden_BLD = hidden_BLD + self.joined(self.dropout(channels_BLC * u_BLC))
        normed_BLD = self.dropout(_normalised(hidden_BLD))
        left_BLW, right_BLW = self.expand(normed_BLD).chunk(2, dim=2)
        summed_BLD: torch.Tensor = hidden_BLD + self.contract(F.silu(left_BLW) * right_BLW)
        return summed_BLD

    def _attended(
        self, q_BLD: torch.Tensor, k_BLD: torch.Tensor, v_BLD: torch.Tensor, pairs: Pairs
    ) -> torch.Tensor:
        """What each position gathers by meaning, position and time, side by side."""
        B, L, D = v_BLD.shape
        assert pairs.buckets_BLL is not None
        earlier_LL = self.earlier_LL[:L, :L].to(v_BLD.dtype)
        q_BHLE, k_BHLE, v_BHLE = (
            x.view(B, L, self.num_heads, D // self.num_heads).transpose(1, 2)
            for x in (q_BLD, k_BLD, v_BLD)
        )
        scores_BHLL = F.silu(q_BHLE @ k_BHLE.transpose(2, 3))
        meaning_BHLE = (scores_BHLL * (earlier_LL / len(self.earlier_LL))) @ v_BHLE
        meaning_BLD = meaning_BHLE.transpose(1, 2).reshape(B, L, D)
        position_BLD = (self.position_bias(L).to(v_BLD.dtype) * earlier_LL) @ v_BLD
        time_BLL = self.time_bias(pairs.buckets_BLL).to(v_BLD.dtype)
        time_BLD = (time_BLL * earlier_LL) @ v_BLD
        return torch.cat([meaning_BLD, position_BLD, time_BLD], dim=2)


def _normalised(x: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), eps=_EPSILON)
