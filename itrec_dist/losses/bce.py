"""Binary cross entropy over the catalogue: every target of the window is a label of its own.

The sum over items is taken, not the mean: with the mean the gradient of each item is C times
smaller, the optimiser's noise floor hides it, and the model stays at the popularity level for
many epochs. For the same reason the output bias starts at the log-odds of each item's prior.

Source: Nitayanont, Informative Transformer Encoder, section 3 (second scenario).
"""

import torch
import torch.nn.functional as F


def loss(logits_BC: torch.Tensor, target_ids_BK: torch.Tensor) -> torch.Tensor:
    """Sum over the catalogue of the binary cross entropy against the multi-hot targets, [B].

    An item that stands twice among a window's targets is one label.
    """
    columns_BK = target_ids_BK.long() - 1
    same_BKK = columns_BK.unsqueeze(2) == columns_BK.unsqueeze(1)
    is_repeat_BK = same_BKK.tril(diagonal=-1).any(dim=2)
    target_logits_BK = logits_BC.gather(1, columns_BK).masked_fill(is_repeat_BK, 0.0)
    return F.softplus(logits_BC).sum(dim=1) - target_logits_BK.sum(dim=1)


def initial_bias(target_counts_C: torch.Tensor, num_windows: int) -> torch.Tensor:
    """Log-odds that an item is among a training window's targets, smoothed by one count, [C].

    An item that repeats within windows may be counted more often than there are windows.
    """
    windows_C = target_counts_C.float().clamp(max=num_windows)
    return torch.logit((windows_C + 1.0) / (num_windows + 2.0))
