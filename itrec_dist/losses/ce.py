"""Cross entropy on the next item only.

Source: Nitayanont, Informative Transformer Encoder, section 3 (first scenario): five items are
predicted and judged, but only the first target is learned from.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from itrec_dist.losses.loss import ItemTable, Queries, log_normaliser
from itrec_dist.losses.softmax import SoftmaxConfig


@dataclass(frozen=True)
class CeConfig:
    """The next item only."""

    kind: Literal["ce"] = "ce"
    """Kind of loss."""

    def per_query(self, queries: Queries, target_ids_NK: Tensor, table: ItemTable) -> Tensor:
        """Negative log-probability of the first target under a softmax over the catalogue, [N].

        The first target is the first that is not padding.
        """
        place_N1 = (target_ids_NK > 0).to(torch.uint8).argmax(dim=1, keepdim=True)
        first_N1 = target_ids_NK.gather(1, place_N1)
        loss_N1 = log_normaliser(queries, table).unsqueeze(1) - table.scores_of(queries, first_N1)
        return loss_N1.masked_fill(first_N1 == 0, 0.0).squeeze(1)

    def initial_bias(self, target_counts_C: Tensor, num_windows: int) -> Tensor:
        """As for the softmax over all targets, [C]."""
        return SoftmaxConfig().initial_bias(target_counts_C, num_windows)
