"""Normalised discounted cumulative gain at k."""

import math

from itrec_dist.metrics.metric import RankingCounts, RankingMetric


class NDCGMetric(RankingMetric):
    """Sum of 1 / log2(1 + rank) over the hits, over its highest possible value.

    That is the value of min(k, targets) hits at the first ranks.
    """

    name = "ndcg"
    label = "NDCG"
    higher_is_better = True
    is_mean = True
    order = 40

    def compute(self, counts: RankingCounts, k: int) -> float:
        """By the number of targets, which gives the highest possible value."""
        discounts = [1 / math.log2(rank + 2) for rank in range(k)]
        gains = [
            math.fsum(h * d for h, d in zip(counts.hits_at(t)[:k], discounts, strict=True))
            for t in range(len(counts.nth_hits))
        ]
        ideal = [math.fsum(discounts[: min(k, t)]) for t in range(len(gains))]
        shares = (g / i for g, i in zip(gains, ideal, strict=True) if i)
        return math.fsum(shares) / counts.num_windows
