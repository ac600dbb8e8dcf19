"""What the rankings of a split found for each window alone: the input of paired tests.

Leaves the figures to the metrics: one that is the mean of its figures of single windows
(`RankingMetric.is_mean`) is computed from the counts of one window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from itrec_dist import metrics
from itrec_dist.data.schema import Batch
from itrec_dist.metrics.metric import RANKINGS, FigureName, RankingCounts, RankingMetric

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outcomes:
    """The windows of a split that have a target, W in ascending order of their ids."""

    window_ids: Ints
    user_ids: Ints
    user_features: Ints
    """Codes of the user's features, [W, F], as the manifest names them."""
    num_targets: Ints
    """Different targets of each window."""
    hits: Mapping[str, npt.NDArray[np.bool_]]
    """Ranking -> whether each of its first places holds a target, [W, depth]."""

    def __len__(self) -> int:
        return len(self.window_ids)

    def holds(self, name: FigureName) -> bool:
        """Whether a figure of single windows can be told from them."""
        metric = metrics.of(name.metric)
        if not isinstance(metric, RankingMetric) or not metric.is_mean or name.cutoff is None:
            return False
        return name.group in self.hits and name.cutoff <= self.hits[name.group].shape[1]

    def values(self, name: FigureName) -> npt.NDArray[np.float64]:
        """A figure of each window alone, [W]; their mean is the figure of the split."""
        assert self.holds(name), name
        metric, k = metrics.of(name.metric), name.cutoff
        assert isinstance(metric, RankingMetric)
        assert k is not None
        # Few windows differ in what a metric can tell: each kind is computed once.
        hits = self.hits[name.group][:, :k]
        bits = np.column_stack([self.num_targets[:, None].view(np.uint8), np.packbits(hits, 1)])
        whole = np.ascontiguousarray(bits).view(f"V{bits.shape[1]}").reshape(-1)
        _, first, kind = np.unique(whole, return_index=True, return_inverse=True)
        counts = map(_alone, self.num_targets[first].tolist(), hits[first].tolist())
        return np.array([metric.compute(one, k) for one in counts], dtype=np.float64)[kind]


class OutcomeRecorder:
    """Collects the outcomes of the windows that this process judges."""

    def __init__(self, depth: int) -> None:
        """Record nothing yet; `depth` is the number of places that are looked at."""
        self._depth = depth
        self._parts: list[list[Tensor]] = []

    def update(
        self, batch: Batch, targets_BK: Tensor, is_target_BK: Tensor, rankings: Sequence[Tensor]
    ) -> None:
        """Record the targets, as from `target_counter.distinct`, given both rankings of a batch."""
        counted_B = is_target_BK.any(dim=1)
        columns = [batch.window_ids_B, batch.user_ids_B, batch.user_features_BF]
        columns.append(is_target_BK.sum(dim=1))
        for top_BN in rankings:
            is_at_BNK = top_BN[:, : self._depth, None] == targets_BK[:, None, :]
            columns.append((is_at_BNK & is_target_BK[:, None]).any(dim=2))
        self._parts.append([column[counted_B].cpu() for column in columns])

    def outcomes(self) -> Outcomes:
        """What was recorded, in the order of the windows' ids."""
        columns = [torch.cat(parts).numpy() for parts in zip(*self._parts, strict=True)]
        order = columns[0].argsort(kind="stable")
        windows, users, features, counts = (c[order].astype(np.int64) for c in columns[:4])
        hits = {name: column[order] for name, column in zip(RANKINGS, columns[4:], strict=True)}
        return Outcomes(windows, users, features, counts, hits)


def _alone(num_targets: int, hits: Sequence[int]) -> RankingCounts:
    """The counts of one window."""
    most = min(num_targets, len(hits))
    nth_hits = [[[0] * most for _ in hits] for _ in range(num_targets + 1)]
    for nth, rank in enumerate(rank for rank, is_hit in enumerate(hits) if is_hit):
        nth_hits[num_targets][rank][nth] = 1
    of_items = torch.zeros(0, dtype=torch.int64)
    return RankingCounts(1, nth_hits, {}, of_items, of_items)
