"""Precision at k."""

from itrec_dist.metrics.metric import RankingCounts, RankingMetric


class PrecisionMetric(RankingMetric):
    """Hits over k, averaged over windows; also if the catalogue holds fewer than k items."""

    name = "precision"
    label = "Precision"
    short = "P"
    higher_is_better = True
    is_mean = True
    order = 10

    def compute(self, counts: RankingCounts, k: int) -> float:
        """All hits over all places."""
        return sum(counts.hits_by_targets(k)) / k / counts.num_windows
