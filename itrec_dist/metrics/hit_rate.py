"""Hit rate at k."""

from itrec_dist.metrics.metric import RankingCounts, RankingMetric


class HitRateMetric(RankingMetric):
    """The share of windows with at least one hit."""

    name = "hit_rate"
    label = "Hit rate"
    short = "HR"
    higher_is_better = True
    is_mean = True
    order = 20

    def compute(self, counts: RankingCounts, k: int) -> float:
        """Windows with a first hit over windows."""
        return sum(counts.first_hits(k)) / counts.num_windows
