"""Metrics as somebody else's package would have them, for tests of what is found by name."""

F1 = '''
from itrec_dist.metrics.metric import RankingMetric


class F1Metric(RankingMetric):
    """Harmonic mean of precision and recall of each window."""

    name = "f1"
    label = "F1"
    higher_is_better = True
    order = 35
    note = "F1: harmonic mean of precision and recall."

    def compute(self, counts, k):
        hits = counts.hits_by_targets(k)
        return sum(2 * h / (k + t) for t, h in enumerate(hits)) / counts.num_windows


class MAPMetric(RankingMetric):
    """Mean average precision."""

    name = "map"
    label = "MAP"
    higher_is_better = True
    order = 45

    def compute(self, counts, k):
        total = 0.0
        for t, ranks in enumerate(counts.nth_hits):
            for rank, nth in enumerate(ranks[:k], 1):
                total += sum(n * count for n, count in enumerate(nth, 1)) / rank / min(k, max(t, 1))
        return total / counts.num_windows


class MissRateMetric(RankingMetric):
    """Windows without a hit: the lower the better."""

    name = "miss_rate"
    label = "Miss rate"
    higher_is_better = False
    order = 25

    def compute(self, counts, k):
        return 1 - sum(counts.first_hits(k)) / counts.num_windows
'''

WITHIN = '''
from itrec_dist.metrics.metric import RatingMetric


class WithinMetric(RatingMetric):
    """Share of predictions within half a star."""

    name = "within"
    label = "Within half a star"
    higher_is_better = True
    order = 5

    def term(self, error_BK, width):
        return (error_BK.abs() * width <= 0.5).double()

    def compute(self, mean, width):
        return mean
'''

SOURCES = {"their_ranking_metrics.py": F1, "their_rating_metrics.py": WITHIN}

ENTRY_POINTS = """[itrec_dist.metrics]
f1 = their_ranking_metrics:F1Metric
miss_rate = their_ranking_metrics:MissRateMetric
within = their_rating_metrics:WithinMetric
"""
