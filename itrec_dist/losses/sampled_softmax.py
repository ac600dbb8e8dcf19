"""Softmax over the targets and a few drawn items in place of the whole catalogue.

A drawn item stands for all those that were not drawn: its term of the softmax's denominator is
divided by how often it is expected to be drawn (the log-Q correction), and left out where it is a
target of the query. So the denominator is that of the whole catalogue in expectation, wherever the
negatives come from; the loss exceeds the full one the less, the more items are drawn.

The gradient is not that of this estimate. A drawn item stands for more than itself in the
denominator that its own probability is divided by, so that likely items get too small a gradient:
with 256 drawn items of MovieLens-1M, the likeliest a tenth too small. Here the item counts once
in its own denominator; then all are divided by their sum, which is one in a softmax.

Sources: Bengio and Senecal, Adaptive Importance Sampling to Accelerate Training of a Neural
Probabilistic Language Model (2008); for items of the batch, Yi et al., Sampling-Bias-Corrected
Neural Modeling for Large Corpus Item Recommendations (2019); for the mixture, Yang et al., Mixed
Negative Sampling for Learning Two-tower Neural Networks in Recommendations (2020). The targets are
not corrected, since they are always there: Khrylchenko et al., Correcting the LogQ Correction:
Revisiting Sampled Softmax for Large-Scale Retrieval (2025).
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from itrec_dist.errors import ConfigError
from itrec_dist.losses import negatives as drawn
from itrec_dist.losses.loss import Held, ItemTable, Queries, of_queries
from itrec_dist.losses.negatives import Sampler, Source, is_first, scored
from itrec_dist.losses.softmax import SoftmaxConfig
from itrec_dist.losses.uncompiled import uncompiled


@dataclass(frozen=True)
class SampledSoftmaxConfig:
    """Loss: softmax over all targets and drawn items; evaluation reports that of the catalogue."""

    kind: Literal["sampled_softmax"] = "sampled_softmax"
    """Kind of loss."""
    negatives: Source = "popularity"
    """Where they are drawn: uniform, popularity (by how often they are targets, to the power of
    0.75), in_batch (targets of the batch), or mixed (half uniform, half in_batch)."""
    num_negatives: int = 256
    """How many items are drawn."""
    shared: bool = True
    """Draw them once for groups of some 128 positions (at most 32 groups a batch), whose scores are
    products of matrices; false draws for each position, which is slower."""

    def __post_init__(self) -> None:
        """Refuse a number that says nothing.

        Raises:
            ConfigError: names the setting.
        """
        if self.num_negatives < 1:
            raise ConfigError(f"loss.num_negatives={self.num_negatives} must be at least 1")

    def held(self, num_queries: int, num_items: int, device: torch.device) -> Held:  # noqa: ARG002
        """What it holds of the drawn items' scores."""
        return drawn.held(num_queries, self.num_negatives, shared=self.shared)

    def for_counts(self, target_counts_C: Tensor) -> "SampledSoftmax":
        """The loss, on data with these counts of training targets."""
        return SampledSoftmax(self, target_counts_C)

    def initial_bias(self, target_counts_C: Tensor, num_windows: int) -> Tensor:
        """As for the softmax over the catalogue, [C]."""
        return SoftmaxConfig().initial_bias(target_counts_C, num_windows)


class SampledSoftmax:
    """A `RankingLoss` with the probabilities that it draws by."""

    def __init__(self, config: SampledSoftmaxConfig, target_counts_C: Tensor) -> None:
        self.kind = config.kind
        self.initial_bias = config.initial_bias
        self._is_shared = config.shared
        self._sampler = Sampler(config.negatives, config.num_negatives, target_counts_C)

    # Not compiled: draws would come from another generator.
    @uncompiled
    def per_query(self, queries: Queries, target_ids_NK: Tensor, table: ItemTable) -> Tensor:
        """Mean over the targets of their negative log-probability, [N]; a repeat counts again.

        Without gradients it is the full softmax, so that evaluations can be compared.
        """
        if not torch.is_grad_enabled():
            return SoftmaxConfig().per_query(queries, target_ids_NK, table)
        ids = self._sampler.draw(target_ids_NK, shared=self._is_shared)
        target_NK, drawn_NM, is_hit_NM = scored(queries, table, target_ids_NK, ids)
        own_NK = target_NK.masked_fill(~is_first(target_ids_NK), -torch.inf)
        log_expected = self._sampler.log_expected(ids)
        normaliser_N: Tensor = _Normaliser.apply(  # type: ignore[no-untyped-call]
            own_NK, drawn_NM, log_expected, is_hit_NM
        )
        count_N = (target_ids_NK > 0).sum(dim=1)
        mean_N = target_NK.sum(dim=1) / count_N.clamp(min=1)
        return (normaliser_N - mean_N).masked_fill(count_N == 0, 0.0)


class _Normaliser(torch.autograd.Function):
    """The logarithm of the softmax's denominator, [N], with the corrected gradient."""

    @staticmethod
    def forward(
        ctx: Any, own_NK: Tensor, drawn_NM: Tensor, log_expected: Tensor, is_hit_NM: Tensor
    ) -> Tensor:
        """Sum up, and keep the shares of all items.

        Args:
            ctx: what the backward has.
            own_NK: the scores of the targets, -inf where one is repeated.
            drawn_NM: those of the drawn items.
            log_expected: how often these are expected, of each draw, [G, M] or [N, M].
            is_hit_NM: which of them are targets.
        """
        log_expected_NM = of_queries(log_expected, len(drawn_NM))
        share_NM = (drawn_NM - log_expected_NM).masked_fill_(is_hit_NM, -torch.inf)
        normaliser_N = own_NK.logsumexp(dim=1).logaddexp(share_NM.logsumexp(dim=1))
        own_share_NK = (own_NK - normaliser_N.unsqueeze(1)).exp_()
        share_NM = share_NM.sub_(normaliser_N.unsqueeze(1)).exp_()
        # All but what the item stands for besides itself; one that is expected more than once is
        # drawn that often, and stands for no other.
        standing_in_NM = 1 - log_expected_NM.exp_().clamp_(max=1)
        share_NM /= 1 - standing_in_NM.mul_(share_NM)
        total_N1 = (own_share_NK.sum(dim=1) + share_NM.sum(dim=1)).unsqueeze(1)
        ctx.save_for_backward(own_share_NK.div_(total_N1), share_NM.div_(total_N1))
        return normaliser_N

    @staticmethod
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor | None, ...]:
        """The shares."""
        own_share_NK, share_NM = ctx.saved_tensors
        gradient_N1 = gradient_N.unsqueeze(1)
        return own_share_NK * gradient_N1, share_NM * gradient_N1, None, None
