"""The transformer encoder layer, with faster attention and dropout on a CPU.

Windows are short (ten items), so a training step is many small operations rather than a few
large ones. On a CPU, torch's fused attention spends more on its blocking than on such products,
and its dropout draws one random number per element from a serial generator; together they took
half of a step. Elsewhere torch's own kernels are used.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

_LEVELS = 256  # values of the random byte that decides whether an element is dropped


class Dropout(nn.Module):
    """Dropout; on a CPU the probability is rounded to 1/256 (0.2 becomes 0.199)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Zero elements at random and scale the rest, in training mode only."""
        if not self.training or self.probability == 0.0:
            return x
        threshold = round(self.probability * _LEVELS)
        if x.device.type != "cpu" or torch.compiler.is_compiling() or not 0 < threshold < _LEVELS:
            return F.dropout(x, self.probability)
        # One 64-bit draw decides eight elements.
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64)
        bytes_ = words.random_(-(2**63), None).view(torch.uint8)[: x.numel()]
        # 1 where the byte is at least the threshold, else 0; comparing takes three times as long.
        keep = bytes_.view(x.shape).to(x.dtype).sub_(threshold - 1).clamp_(0, 1)
        return x * keep.mul_(_LEVELS / (_LEVELS - threshold))


def attend(
    q_BHLE: torch.Tensor, k_BHLE: torch.Tensor, v_BHLE: torch.Tensor, mask_B11L: torch.Tensor
) -> torch.Tensor:
    """Scaled dot-product attention, [B, H, L, E]; `mask_B11L` is True where it may attend."""
    if q_BHLE.device.type != "cpu" or q_BHLE.dtype == torch.float32:
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, attn_mask=mask_B11L)
    scores_BHLL = q_BHLE @ k_BHLE.transpose(2, 3) * (1 / math.sqrt(q_BHLE.shape[3]))
    scores_BHLL = scores_BHLL.masked_fill(~mask_B11L, -torch.inf)
    return torch.softmax(scores_BHLL, dim=3, dtype=torch.float32).to(v_BHLE.dtype) @ v_BHLE


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward net, each followed by add and norm.

    Source: Vaswani et al., Attention Is All You Need, section 3.1, with GELU for ReLU.
    """

    def __init__(self, width: int, num_heads: int, feedforward_width: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.norm_attention = nn.LayerNorm(width)
        self.expand = nn.Linear(width, feedforward_width)
        self.contract = nn.Linear(feedforward_width, width)
        self.norm_feedforward = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_BLD: torch.Tensor, mask_B11L: torch.Tensor) -> torch.Tensor:
        """Transform [B, L, D]; `mask_B11L` is True where a position may be attended to."""
        B, L, D = hidden_BLD.shape
        qkv = self.qkv(hidden_BLD).view(B, L, 3, self.num_heads, D // self.num_heads)
        q_BHLE, k_BHLE, v_BHLE = qkv.permute(2, 0, 3, 1, 4)
        mixed_BHLE = attend(q_BHLE, k_BHLE, v_BHLE, mask_B11L)
        mixed_BLD = self.attended(mixed_BHLE.transpose(1, 2).reshape(B, L, D))
        hidden_BLD = self.norm_attention(hidden_BLD + self.dropout(mixed_BLD))
        inner_BLD = self.contract(F.gelu(self.expand(hidden_BLD)))
        normed_BLD: torch.Tensor = self.norm_feedforward(hidden_BLD + self.dropout(inner_BLD))
        return normed_BLD
