"""Popularity bias at k."""

from __future__ import annotations

from typing import TYPE_CHECKING

from itrec_dist.metrics.metric import RankingCounts, RankingMetric

if TYPE_CHECKING:
    from torch import Tensor


class PopularityMetric(RankingMetric):
    """Mean training popularity of recommended items over that of the targets.

    1 means as popular as what users actually chose, 3 three times as popular; 0 if no target
    occurred in training.
    """

    name = "popularity"
    label = "Popularity bias"
    higher_is_better = None
    order = 120
    note = (
        "Popularity bias: mean training popularity of the recommended items over that of the items "
        "users actually chose; 1 means no bias."
    )

    def compute(self, counts: RankingCounts, k: int) -> float:
        """Over all windows' distinct targets together."""
        chosen = _mean(counts.targets_C, counts.popularity_C)
        return _mean(counts.recommended_C[k], counts.popularity_C) / chosen if chosen else 0.0


def _mean(count_C: Tensor, popularity_C: Tensor) -> float:
    total = int(count_C.sum())
    return int((count_C * popularity_C).sum()) / total if total else 0.0
