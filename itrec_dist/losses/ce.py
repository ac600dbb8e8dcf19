"""Cross entropy on the next item only.

Source: Nitayanont, Informative Transformer Encoder, section 3 (first scenario): five items are
predicted and judged, but only the first target is learned from.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from itrec_dist.config.fields import FREE
from itrec_dist.losses import catalogue
from itrec_dist.losses.catalogue import Memory, log_normaliser
from itrec_dist.losses.loss import Held, ItemTable, Queries
from itrec_dist.losses.softmax import SoftmaxConfig


@dataclass(frozen=True)
class CeConfig:
    """Loss: cross entropy of the next item."""

    kind: Literal["ce"] = "ce"
    """Kind of loss."""
    memory: Memory = field(default="auto", metadata=FREE)
    """How the scores of the catalogue are held: whole, in chunks that are computed twice, or auto:
    whole where they are few. The result is the same."""

    def per_query(self, queries: Queries, target_ids_NK: Tensor, table: ItemTable) -> Tensor:
        """Negative log-probability of the first target under a softmax over the catalogue, [N].

        The first target is the first that is not padding.
        """
        place_N1 = (target_ids_NK > 0).to(torch.uint8).argmax(dim=1, keepdim=True)
        first_N1 = target_ids_NK.gather(1, place_N1)
        normaliser_N1 = log_normaliser(queries, table, self.memory).unsqueeze(1)
        loss_N1 = normaliser_N1 - table.scores_of(queries, first_N1)
        return loss_N1.masked_fill(first_N1 == 0, 0.0).squeeze(1)

    def held(self, num_queries: int, num_items: int, device: torch.device) -> Held:
        """What it holds of the catalogue's scores."""
        return catalogue.held(self.memory, num_queries, num_items, device)

    def initial_bias(self, target_counts_C: Tensor, num_windows: int) -> Tensor:
        """As for the softmax over all targets, [C]."""
        return SoftmaxConfig().initial_bias(target_counts_C, num_windows)
