"""The inner layer of SwiGLU: silu(W1 x) * W3 x.

Source: Shazeer, GLU Variants Improve Transformer (2020), equation 6.
"""

import torch
import torch.nn.functional as F


def gated_linear(x_BLD: torch.Tensor, weight_UD: torch.Tensor) -> torch.Tensor:
    """The layer's output, [B, L, U / 2]; the rows of W1 stand above those of W3 in `weight_UD`."""
    # Two products, since halves of one are not contiguous and their gradients must be joined.
    gate_WD, value_WD = weight_UD.chunk(2)
    return F.silu(F.linear(x_BLD, gate_WD)) * F.linear(x_BLD, value_WD)
