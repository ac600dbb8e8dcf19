"""Binary cross entropy over the catalogue: every target of the window is a separate label.

The sum over items is taken, not the mean: with the mean the gradient of each item is C times
smaller, the optimiser's noise floor hides it, and the model stays at the popularity level for
many epochs. For the same reason the output bias starts at the log-odds of each item's prior.

Source: Nitayanont, Informative Transformer Encoder, section 3 (second scenario).
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from itrec_dist.config.fields import FREE
from itrec_dist.losses import catalogue
from itrec_dist.losses.catalogue import Memory, softplus_sum
from itrec_dist.losses.loss import Held, ItemTable, Queries
from itrec_dist.losses.negatives import is_first


@dataclass(frozen=True)
class BceConfig:
    """Loss: binary cross entropy, every target a separate label."""

    kind: Literal["bce"] = "bce"
    """Kind of loss."""
    memory: Memory = field(default="auto", metadata=FREE)
    """How the scores of the catalogue are held: whole, in chunks that are computed twice, or auto:
    whole where they are few. The result is the same."""

    def per_query(self, queries: Queries, target_ids_NK: Tensor, table: ItemTable) -> Tensor:
        """Sum over the catalogue of the binary cross entropy against the multi-hot targets, [N].

        An item that occurs twice among a query's targets is one label.
        """
        is_label_NK = is_first(target_ids_NK)
        negative_N = softplus_sum(queries, table, self.memory)
        labels_NK = table.scores_of(queries, target_ids_NK).masked_fill(~is_label_NK, 0.0)
        loss_N = negative_N - labels_NK.sum(dim=1)
        return loss_N.masked_fill(~is_label_NK.any(dim=1), 0.0)

    def held(self, num_queries: int, num_items: int, device: torch.device) -> Held:
        """What it holds of the catalogue's scores."""
        return catalogue.held(self.memory, num_queries, num_items, device)

    def initial_bias(self, target_counts_C: Tensor, num_windows: int) -> Tensor:
        """Log-odds that an item is among a training window's targets, smoothed by one count, [C].

        An item that repeats within windows may be counted more often than there are windows.
        """
        windows_C = target_counts_C.float().clamp(max=num_windows)
        return torch.logit((windows_C + 1.0) / (num_windows + 2.0))
