"""Cross entropy on the next item alone.

Source: Nitayanont, Informative Transformer Encoder, section 3 (first scenario): five items are
predicted and judged, but only the first target is learned from.
"""

import torch
import torch.nn.functional as F

from itrec_dist.losses import softmax


def loss(logits_BC: torch.Tensor, target_ids_BK: torch.Tensor) -> torch.Tensor:
    """Negative log-probability of the first target under a softmax over the catalogue, [B]."""
    return F.cross_entropy(logits_BC, target_ids_BK[:, 0].long() - 1, reduction="none")


initial_bias = softmax.initial_bias
