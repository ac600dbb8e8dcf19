"""Mean reciprocal rank at k."""

import math

from itrec_dist.metrics.metric import RankingCounts, RankingMetric


class MRRMetric(RankingMetric):
    """1 / rank of the first hit, 0 without a hit in the first k; averaged over windows."""

    name = "mrr"
    label = "MRR"
    higher_is_better = True
    is_mean = True
    order = 50

    def compute(self, counts: RankingCounts, k: int) -> float:
        """By the rank of the first hit."""
        first = counts.first_hits(k)
        return math.fsum(f / (r + 1) for r, f in enumerate(first)) / counts.num_windows
