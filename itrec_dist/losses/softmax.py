"""Cross entropy over all targets: the next items as draws from one softmax over the catalogue.

The published comparison sets cross entropy on one target against binary cross entropy on five;
this loss sees the same five targets as the latter and so separates the form of the loss from the
number of labels. It is the multinomial likelihood of Liang et al., Variational Autoencoders for
Collaborative Filtering (2018), equation 2, on the targets of a window.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from itrec_dist.config.fields import FREE
from itrec_dist.losses import catalogue
from itrec_dist.losses.catalogue import Memory, log_normaliser
from itrec_dist.losses.loss import Held, ItemTable, Queries


@dataclass(frozen=True)
class SoftmaxConfig:
    """Loss: softmax over all targets."""

    kind: Literal["softmax"] = "softmax"
    """Kind of loss."""
    memory: Memory = field(default="auto", metadata=FREE)
    """How the scores of the catalogue are held: whole, in chunks that are computed twice, or auto:
    whole where they are few. The result is the same."""

    def per_query(self, queries: Queries, target_ids_NK: Tensor, table: ItemTable) -> Tensor:
        """Mean over the targets of their negative log-probability, [N]; a repeat counts again."""
        is_target_NK = target_ids_NK > 0
        count_N = is_target_NK.sum(dim=1)
        target_N = table.scores_of(queries, target_ids_NK).sum(dim=1) / count_N.clamp(min=1)
        normaliser_N = log_normaliser(queries, table, self.memory)
        return (normaliser_N - target_N).masked_fill(count_N == 0, 0.0)

    def held(self, num_queries: int, num_items: int, device: torch.device) -> Held:
        """What it holds of the catalogue's scores."""
        return catalogue.held(self.memory, num_queries, num_items, device)

    def initial_bias(self, target_counts_C: Tensor, num_windows: int) -> Tensor:  # noqa: ARG002
        """Log-probability of each item among the training targets, smoothed by one count, [C]."""
        smoothed_C = target_counts_C.float() + 1.0
        return (smoothed_C / smoothed_C.sum()).log()
