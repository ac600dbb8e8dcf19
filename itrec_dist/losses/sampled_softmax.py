"""Softmax over the targets and a few drawn items in place of the whole catalogue.

A drawn item stands for all those that were not drawn: its term of the softmax's denominator is
divided by how often it is expected to be drawn (the log-Q correction), and left out where it is a
target of the query. So the denominator is that of the whole catalogue in expectation, wherever the
negatives come from; the loss exceeds the full one the less, the more items are drawn.

Sources: Bengio and Senecal, Adaptive Importance Sampling to Accelerate Training of a Neural
Probabilistic Language Model (2008); for items of the batch, Yi et al., Sampling-Bias-Corrected
Neural Modeling for Large Corpus Item Recommendations (2019); for the mixture, Yang et al., Mixed
Negative Sampling for Learning Two-tower Neural Networks in Recommendations (2020). The targets are
not corrected, since they are always there: Khrylchenko et al., Correcting the LogQ Correction:
Revisiting Sampled Softmax for Large-Scale Retrieval (2025).
"""

from dataclasses import dataclass
from typing import Literal

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
    negatives: Source = "mixed"
    """Where they are drawn: uniform, popularity (as often as they are targets), in_batch (targets
    of the batch), or mixed (half uniform, half in_batch)."""
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
        log_expected_NM = of_queries(self._sampler.log_expected(ids), len(drawn_NM))
        drawn_NM = (drawn_NM - log_expected_NM).masked_fill(is_hit_NM, -torch.inf)
        own_NK = target_NK.masked_fill(~is_first(target_ids_NK), -torch.inf)
        normaliser_N = torch.cat([own_NK, drawn_NM], dim=1).logsumexp(dim=1)
        count_N = (target_ids_NK > 0).sum(dim=1)
        mean_N = target_NK.sum(dim=1) / count_N.clamp(min=1)
        return (normaliser_N - mean_N).masked_fill(count_N == 0, 0.0)
