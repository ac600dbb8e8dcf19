"""Recall at k."""

import math

from itrec_dist.metrics.metric import RankingCounts, RankingMetric


class RecallMetric(RankingMetric):
    """Hits over targets, averaged over windows."""

    name = "recall"
    label = "Recall"
    short = "R"
    higher_is_better = True
    is_mean = True
    order = 30

    def compute(self, counts: RankingCounts, k: int) -> float:
        """Grouped by the number of targets, the common divisor of those windows."""
        hits = counts.hits_by_targets(k)
        return math.fsum(h / t for t, h in enumerate(hits) if t) / counts.num_windows
