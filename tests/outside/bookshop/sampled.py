"""Binary cross entropy with sampled negatives, which the loss draws itself."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from itrec_dist.losses.loss import ItemTable, Queries


@dataclass(frozen=True)
class SampledConfig:
    """Binary cross entropy of the targets and of negatives sampled for each query."""

    kind: Literal["sampled"] = "sampled"
    """Kind of loss."""
    negatives: int = 8
    """Negatives sampled for each query."""

    def per_query(self, queries: Queries, target_ids_NK: Tensor, table: ItemTable) -> Tensor:
        """Loss of each query, [N]; without gradients, the same negatives are sampled every time."""
        device, shape = target_ids_NK.device, (len(target_ids_NK), self.negatives)
        again = None if torch.is_grad_enabled() else torch.Generator(device).manual_seed(0)
        drawn_NS = torch.randint(1, table.num_items + 1, shape, generator=again, device=device)
        is_target_NK = target_ids_NK > 0
        true_NK = F.softplus(-table.scores_of(queries, target_ids_NK)) * is_target_NK
        drawn_loss_N = F.softplus(table.scores_of(queries, drawn_NS)).sum(dim=1)
        return true_NK.sum(dim=1) + drawn_loss_N * is_target_NK.any(dim=1)

    def initial_bias(self, target_counts_C: Tensor, num_windows: int) -> Tensor:
        """Log-odds of drawing the item as a target against drawing it as a negative, [C]."""
        expected = num_windows * self.negatives / len(target_counts_C)
        return torch.log((target_counts_C.float() + 1.0) / (expected + 1.0))
