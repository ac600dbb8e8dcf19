"""Precision and recall in one figure."""

from itrec_dist.metrics.metric import RankingCounts, RankingMetric


class F1Metric(RankingMetric):
    """Harmonic mean of precision and recall of each window."""

    name = "f1"
    label = "F1"
    higher_is_better = True
    order = 35
    note = "F1: harmonic mean of precision and recall."

    def compute(self, counts: RankingCounts, k: int) -> float:
        hits = counts.hits_by_targets(k)
        return float(sum(2 * h / (k + t) for t, h in enumerate(hits)) / counts.num_windows)
