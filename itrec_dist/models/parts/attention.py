"""Softmax attention among the positions of a history, and learned biases for other kinds of it."""

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.models.parts.pairs import NUM_BUCKETS, Pairs
from itrec_dist.models.transformer import attend

_STD = 0.02


def self_attention(qkv_BLT: torch.Tensor, num_heads: int, pairs: Pairs) -> torch.Tensor:
    """Scaled dot-product attention, [B, L, D].

    Args:
        qkv_BLT: queries, keys and values side by side, [B, L, 3 * D].
        num_heads: heads, each of a part of the width.
        pairs: who sees whom.
    """
    B, L, T = qkv_BLT.shape
    qkv = qkv_BLT.view(B, L, 3, num_heads, T // 3 // num_heads).permute(2, 0, 3, 1, 4)
    q_BHLE, k_BHLE, v_BHLE = qkv.unbind(0)
    if pairs.mask_B1LL is not None:
        mixed_BHLE = attend(q_BHLE, k_BHLE, v_BHLE, pairs.mask_B1LL)
    elif q_BHLE.device.type != "cpu" or q_BHLE.dtype == torch.float32:
        mixed_BHLE = F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, is_causal=True)
    else:
        earlier_LL = torch.ones(L, L, dtype=torch.bool).tril()
        mixed_BHLE = attend(q_BHLE, k_BHLE, v_BHLE, earlier_LL)
    return mixed_BHLE.transpose(1, 2).reshape(B, L, T // 3)


class PositionBias(nn.Module):
    """A learned number for how many positions lie between two events."""

    distance_LL: torch.Tensor

    def __init__(self, length: int) -> None:
        """Make the numbers, for histories of up to `length` events."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length).normal_(std=_STD))
        places = torch.arange(length)
        distance_LL = (places.unsqueeze(1) - places).clamp(min=0)
        self.register_buffer("distance_LL", distance_LL, persistent=False)

    def forward(self, length: int) -> torch.Tensor:
        """The numbers of all pairs, [L, L]; above the diagonal they mean nothing."""
        return _looked_up(self.weight, self.distance_LL[:length, :length])


class TimeBias(nn.Module):
    """A learned number for each bucket of the time between two events."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(NUM_BUCKETS).normal_(std=_STD))

    def forward(self, buckets_BLL: torch.Tensor) -> torch.Tensor:
        """The numbers of all pairs, [B, L, L]."""
        return _looked_up(self.weight, buckets_BLL)


def _looked_up(numbers: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    # As an embedding, since the gradient of plain indexing is slow and not deterministic.
    return F.embedding(index, numbers.unsqueeze(1)).squeeze(-1)
