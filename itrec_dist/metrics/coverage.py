"""Coverage of the catalogue at k."""

from itrec_dist.metrics.metric import RankingCounts, RankingMetric


class CoverageMetric(RankingMetric):
    """Distinct items recommended to anyone, over the size of the catalogue."""

    name = "coverage"
    label = "Coverage"
    higher_is_better = None
    order = 110
    note = "Coverage: share of the catalogue recommended to anyone."

    def compute(self, counts: RankingCounts, k: int) -> float:
        """Items that appear anywhere in the first k places."""
        return int((counts.recommended_C[k] > 0).sum()) / max(counts.num_items, 1)
