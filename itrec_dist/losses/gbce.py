"""Binary cross entropy of the targets against drawn items, generalised: gSASRec's loss.

Drawn negatives are seen less often than all of them would be, so that plain cross entropy learns
probabilities that are too high. The targets' term is weighted by beta <= 1, which undoes that in
the degree `calibration`: not at all at 0, wholly at 1.

Source: Petrov and Macdonald, gSASRec: Reducing Overconfidence in Sequential Recommendation Trained
with Negative Sampling (2023), the definition of gBCE and of beta by alpha and t. As for `bce`, the
sum over the items of a query is taken, not the mean.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from itrec_dist.errors import ConfigError
from itrec_dist.losses import negatives
from itrec_dist.losses.bce import BceConfig
from itrec_dist.losses.catalogue import softplus_sum
from itrec_dist.losses.loss import Held, ItemTable, Queries
from itrec_dist.losses.negatives import is_first, scored
from itrec_dist.losses.uncompiled import uncompiled


@dataclass(frozen=True)
class GbceConfig:
    """Loss: generalised binary cross entropy of the targets against items drawn uniformly."""

    kind: Literal["gbce"] = "gbce"
    """Kind of loss."""
    num_negatives: int = 256
    """How many items are drawn."""
    calibration: float = 0.75
    """How far the effect of drawing on the probabilities is undone, t in the paper: 0 is plain
    binary cross entropy (SASRec's with num_negatives 1), 1 undoes it wholly."""
    shared: bool = True
    """Draw them once for groups of some 128 positions (at most 32 groups a batch), whose scores are
    products of matrices; false draws for each position, as in the paper, which is slower."""

    def __post_init__(self) -> None:
        """Refuse values without a meaning.

        Raises:
            ConfigError: names the setting.
        """
        if self.num_negatives < 1:
            raise ConfigError(f"loss.num_negatives={self.num_negatives} must be at least 1")
        if not 0 <= self.calibration <= 1:
            raise ConfigError(f"loss.calibration={self.calibration} must be from 0 to 1")

    # Not compiled: draws would come from another generator.
    @uncompiled
    def per_query(self, queries: Queries, target_ids_NK: Tensor, table: ItemTable) -> Tensor:
        """Sum of the targets' weighted terms and those of the drawn items that are none, [N].

        An item that occurs twice among a query's targets is one label. Without gradients it is the
        expectation over the draws, so that evaluations can be compared.
        """
        is_label_NK = is_first(target_ids_NK)
        if torch.is_grad_enabled():
            draws = negatives.num_draws(len(target_ids_NK), shared=self.shared)
            shape = draws, self.num_negatives
            ids = torch.randint(1, table.num_items + 1, shape, device=target_ids_NK.device)
            target_NK, drawn_NM, is_hit_NM = scored(queries, table, target_ids_NK, ids)
            negative_N = F.softplus(drawn_NM).masked_fill(is_hit_NM, 0.0).sum(dim=1)
        else:
            target_NK = table.scores_of(queries, target_ids_NK)
            of_labels_N = F.softplus(target_NK).masked_fill(~is_label_NK, 0.0).sum(dim=1)
            others_N = softplus_sum(queries, table) - of_labels_N
            negative_N = others_N * (self.num_negatives / table.num_items)
        positive_NK = F.softplus(-target_NK).masked_fill(~is_label_NK, 0.0)
        loss_N = self.beta(table.num_items) * positive_NK.sum(dim=1) + negative_N
        return loss_N.masked_fill(~is_label_NK.any(dim=1), 0.0)

    def held(self, num_queries: int, num_items: int, device: torch.device) -> Held:  # noqa: ARG002
        """What it holds of the drawn items' scores."""
        return negatives.held(num_queries, self.num_negatives, shared=self.shared)

    def beta(self, num_items: int) -> float:
        """The weight of a target's term, from 0 to 1 if fewer items are drawn than there are.

        `rate` is alpha: the number of drawn items by that of the items that are not the target.
        """
        rate, t = self.num_negatives / max(num_items - 1, 1), self.calibration
        return rate * (t * (1.0 - 1.0 / rate) + 1.0 / rate)

    def initial_bias(self, target_counts_C: Tensor, num_windows: int) -> Tensor:
        """The scores that are best if they depend on the item alone, [C].

        These are the log-odds of `bce`, raised as far as the effect of drawing is not undone.
        """
        C = len(target_counts_C)
        raised = math.log(self.beta(C) * C / self.num_negatives)
        return BceConfig().initial_bias(target_counts_C, num_windows) + raised
