"""Softmax attention among the positions of a history, and learned biases for other kinds of it."""

import math
from typing import Any

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
    if pairs.mask_B1LL is None:
        mixed_BHLE = _attend_earlier(q_BHLE, k_BHLE, v_BHLE)
    else:
        mixed_BHLE = attend(q_BHLE, k_BHLE, v_BHLE, pairs.mask_B1LL)
    return mixed_BHLE.transpose(1, 2).reshape(B, L, T // 3)


def _attend_earlier(
    q_BHLE: torch.Tensor, k_BHLE: torch.Tensor, v_BHLE: torch.Tensor
) -> torch.Tensor:
    if q_BHLE.device.type != "cpu" or q_BHLE.dtype == torch.float32:
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, is_causal=True)
    # The gradient of torch's kernel for a CPU takes four times as long in bf16 as this.
    B, H, L, E = q_BHLE.shape
    later_LL = torch.full((L, L), -torch.inf, dtype=q_BHLE.dtype).triu(1)
    q_XLE, k_XLE = (x.reshape(B * H, L, E) for x in (q_BHLE, k_BHLE))
    scores_XLL = torch.baddbmm(later_LL, q_XLE * (1 / math.sqrt(E)), k_XLE.transpose(1, 2))
    return torch.softmax(scores_XLL, dim=2).view(B, H, L, L) @ v_BHLE


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
    if numbers.device.type != "cpu" or torch.compiler.is_compiling():
        # As an embedding, since the gradient of plain indexing is slow and not deterministic.
        return F.embedding(index, numbers.unsqueeze(1)).squeeze(-1)
    found: torch.Tensor = _Lookup.apply(numbers, index)  # type: ignore[no-untyped-call]
    return found


class _Lookup(torch.autograd.Function):
    """Single numbers by index: torch's embeddings take twenty times as long for their gradient."""

    @staticmethod
    def forward(ctx: Any, numbers: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(index)
        ctx.size = len(numbers)
        return numbers.index_select(0, index.reshape(-1)).view(index.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (index,) = ctx.saved_tensors
        weights = gradients[0].reshape(-1).float()
        return torch.bincount(index.reshape(-1), weights, ctx.size), None
