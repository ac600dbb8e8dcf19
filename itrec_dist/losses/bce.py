"""Binary cross entropy over the catalogue: every target of the window is a separate label.

The sum over items is taken, not the mean: with the mean the gradient of each item is C times
smaller, the optimiser's noise floor hides it, and the model stays at the popularity level for
many epochs. For the same reason the output bias starts at the log-odds of each item's prior.

Source: Nitayanont, Informative Transformer Encoder, section 3 (second scenario).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from itrec_dist.losses.loss import ItemTable, Queries, score_blocks


@dataclass(frozen=True)
class BceConfig:
    """Every target as a separate label."""

    kind: Literal["bce"] = "bce"
    """Kind of loss."""

    def per_query(self, queries: Queries, target_ids_NK: Tensor, table: ItemTable) -> Tensor:
        """Sum over the catalogue of the binary cross entropy against the multi-hot targets, [N].

        An item that occurs twice among a query's targets is one label.
        """
        is_target_NK = target_ids_NK > 0
        same_NKK = target_ids_NK.unsqueeze(2) == target_ids_NK.unsqueeze(1)
        is_label_NK = is_target_NK & ~same_NKK.tril(diagonal=-1).any(dim=2)
        parts = [F.softplus(s_NW).sum(dim=1) for s_NW in score_blocks(queries, table)]
        negative_N = parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)
        labels_NK = table.scores_of(queries, target_ids_NK).masked_fill(~is_label_NK, 0.0)
        loss_N = negative_N - labels_NK.sum(dim=1)
        return loss_N.masked_fill(~is_target_NK.any(dim=1), 0.0)

    def initial_bias(self, target_counts_C: Tensor, num_windows: int) -> Tensor:
        """Log-odds that an item is among a training window's targets, smoothed by one count, [C].

        An item that repeats within windows may be counted more often than there are windows.
        """
        windows_C = target_counts_C.float().clamp(max=num_windows)
        return torch.logit((windows_C + 1.0) / (num_windows + 2.0))
