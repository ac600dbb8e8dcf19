"""Full-ranking metrics of next-item recommendation, exact under any number of workers.

Owns the counts. Leaves the figures to the metrics (one file each), scoring to models and baselines,
ranking to `models/rank.py`, and the sum over workers to the caller.

Every counter is a whole number, so that sums over batches and workers are exact in any order: the
figures of an evaluation are bit-identical for any number of workers and any batch size. Only the
mean loss that a `Judge` also keeps is a sum of floats.

For one window, let T be the set of its targets (a target that occurs twice counts once, padding
never) and R_k its k highest-ranked items. A hit is an item of R_k & T. Windows without a target
are not counted.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from itrec_dist import metrics
from itrec_dist.data.schema import Batch
from itrec_dist.errors import ShardsError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import (
    CUTOFFS,
    RANKINGS,
    FigureName,
    MetricChoice,
    RankingCounts,
    RankingMetric,
)
from itrec_dist.metrics.outcomes import OutcomeRecorder
from itrec_dist.metrics.slices import Slices
from itrec_dist.metrics.target_counter import TargetCounter, distinct
from itrec_dist.models.output import RankingOutput


class RankingMetrics:
    """The counts that the metrics of one ranking need; see the module's docstring.

    `popularity_C` holds whole numbers, such as `Items.num_train_targets`. All counters are on its
    device; `update` does not synchronise with it.
    """

    def __init__(
        self,
        popularity_C: Tensor,
        target_length: int,
        cutoffs: Sequence[int] = CUTOFFS,
        chosen: Sequence[RankingMetric] | None = None,
    ) -> None:
        """Start at zero; without `chosen`, count for every registered metric."""
        if chosen is None:
            chosen = metrics.chosen(RankingMetric, MetricChoice())
        self._metrics = tuple(chosen)
        self.cutoffs = tuple(sorted(cutoffs))
        self.num_items = len(popularity_C)
        self.depth = self.cutoffs[-1]
        self._most_hits = min(target_length, self.depth)
        self._popularity_C = popularity_C.to(torch.int64)
        sizes = {
            "windows": (1,),
            # hits by the number of targets of their window, their rank, and which of the window's
            # hits they are
            "hits": (target_length + 1, self.depth, self._most_hits),
            "targets": (self.num_items + 1,),  # windows by item (column 0 is padding)
            # recommendations by item, between each cutoff and the one before
            "recommended": (len(self.cutoffs), self.num_items + 1),
        }
        self._sizes = {name: math.prod(shape) for name, shape in sizes.items()}
        self._counts = {
            name: torch.zeros(shape, dtype=torch.int64, device=popularity_C.device)
            for name, shape in sizes.items()
        }

    def update(self, top_BN: Tensor, target_ids_BK: Tensor, weight_B: Tensor) -> None:
        """Count windows, given their rankings of at least `depth` items as from `rank.top_items`.

        Rows of weight 0 (fillers), and windows without a real target, are not counted.
        """
        counts, depth = self._counts, self.depth
        assert top_BN.shape[1] >= depth, (top_BN.shape, depth)
        top_BN = top_BN[:, :depth].to(torch.int64)
        targets_BK, is_target_BK = distinct(target_ids_BK, weight_B)
        num_targets_B = is_target_BK.sum(1)
        counted_B = num_targets_B > 0

        is_hit_BN = ((top_BN[:, :, None] == targets_BK[:, None, :]) & is_target_BK[:, None]).any(2)
        counts["windows"] += counted_B.sum()
        # A place without a hit adds 0, whatever its nth is.
        nth_BN = (is_hit_BN.cumsum(1) - 1).clamp(min=0)
        ranks_N = torch.arange(depth, device=top_BN.device)
        place_BN = (num_targets_B[:, None] * depth + ranks_N) * self._most_hits + nth_BN
        _count_items(counts["hits"].view(-1), place_BN, is_hit_BN)
        _count_items(counts["targets"], targets_BK, is_target_BK)
        shown_BN = counted_B[:, None].expand_as(top_BN)
        for i, (start, stop) in enumerate(zip((0, *self.cutoffs), self.cutoffs, strict=False)):
            _count_items(counts["recommended"][i], top_BN[:, start:stop], shown_BN[:, start:stop])

    def state(self) -> Tensor:
        """All counters, flat float64, to be summed over workers (exact below 2^53)."""
        return torch.cat([count.reshape(-1) for count in self._counts.values()]).double()

    def load(self, state: Tensor) -> None:
        """Replace the counters by a state, such as the sum of all workers' states."""
        parts = torch.split(state, list(self._sizes.values()))
        for count, part in zip(self._counts.values(), parts, strict=True):
            count.copy_(part.round().to(torch.int64).view_as(count))

    @property
    def num_windows(self) -> int:
        """Windows counted so far."""
        return int(self._counts["windows"])

    def counts(self) -> RankingCounts:
        """Everything counted so far."""
        recommended = self._counts["recommended"][:, 1:].cumsum(0)
        return RankingCounts(
            num_windows=self.num_windows,
            nth_hits=self._counts["hits"].tolist(),
            recommended_C=dict(zip(self.cutoffs, recommended, strict=True)),
            targets_C=self._counts["targets"][1:],
            popularity_C=self._popularity_C,
        )

    def compute(self) -> dict[str, float]:
        """The figures, `name@cutoff` -> value, by metric and then by cut-off.

        Raises:
            ShardsError: no window was counted.
        """
        if self.num_windows == 0:
            raise ShardsError("there is nothing to judge: the split holds no window with a target")
        counts = self.counts()
        return {
            FigureName("", metric.name, k).key: metric.compute(counts, k)
            for metric in self._metrics
            for k in self.cutoffs
        }


class Judge:
    """Judges one split by the ranking of all items and by the one without the seen items."""

    def __init__(
        self, popularity_C: Tensor, target_length: int, choice: MetricChoice | None = None,
        slices: Slices | None = None,
    ) -> None:  # fmt: skip
        """Start at zero; `choice` gives the cut-offs and additional metrics."""
        choice = choice or MetricChoice()
        chosen = metrics.chosen(RankingMetric, choice)
        self.unmasked = RankingMetrics(popularity_C, target_length, choice.cutoffs, chosen)
        self.masked = RankingMetrics(popularity_C, target_length, choice.cutoffs, chosen)
        self._targets = TargetCounter(popularity_C)
        self._slices = slices
        self._outcomes = OutcomeRecorder(self.depth) if choice.outcomes else None
        self._loss = torch.zeros(2, dtype=torch.float64, device=popularity_C.device)

    @property
    def depth(self) -> int:
        """Length of the rankings that it needs."""
        return self.unmasked.depth

    def update(
        self, top_BN: Tensor, unseen_BN: Tensor, target_ids_BK: Tensor, weight_B: Tensor
    ) -> None:
        """Count windows, given both rankings as from `rank.both_rankings`.

        Rows of weight 0 are not counted.
        """
        self.unmasked.update(top_BN, target_ids_BK, weight_B)
        self.masked.update(unseen_BN, target_ids_BK, weight_B)

    def add(self, batch: Batch, output: RankingOutput) -> None:
        """Count the real windows of a batch."""
        self.count(batch, output.top_ids_BN, output.unseen_ids_BN, output.left_out_ids_BS)
        self.add_loss((output.loss_B * batch.weight_B).sum(), batch.weight_B.sum())

    def count(
        self, batch: Batch, top_BN: Tensor, unseen_BN: Tensor, left_out_ids_BS: Tensor | None
    ) -> None:
        """Count the real windows of a batch that has no loss, and the second ranking's gaps."""
        self.update(top_BN, unseen_BN, batch.target_ids_BK, batch.weight_B)
        counted = distinct(batch.target_ids_BK, batch.weight_B)
        if left_out_ids_BS is not None:
            self._targets.update(*counted, left_out_ids_BS)
        if self._slices is not None:
            self._slices.update(batch, *counted, (top_BN, unseen_BN))
        if self._outcomes is not None:
            self._outcomes.update(batch, *counted, (top_BN, unseen_BN))

    def add_loss(self, total: Tensor | float, num_windows: Tensor | float) -> None:
        """Add the loss summed over `num_windows` real windows."""
        self._loss[0] += total
        self._loss[1] += num_windows

    def state(self) -> Tensor:
        """All counts, flat float64, to be summed over workers."""
        return torch.cat([self._loss, *(part.state() for part in self._parts)])

    def load(self, state: Tensor) -> None:
        """Replace all counts by a state, such as the sum of all workers' states."""
        sizes = [len(part.state()) for part in self._parts]
        loss, *states = state.split([len(self._loss), *sizes])
        self._loss.copy_(loss)
        for part, own in zip(self._parts, states, strict=True):
            part.load(own)

    def judgement(self) -> Judgement:
        """The figures; the loss is None where none was added.

        Raises:
            ShardsError: no window was counted.
        """
        total, num_windows = self._loss.tolist()
        return Judgement(
            loss=total / num_windows if num_windows else None,
            num_windows=self.unmasked.num_windows,
            groups=dict(
                zip(RANKINGS, (self.unmasked.compute(), self.masked.compute()), strict=True)
            ),
            targets=self._targets.counts(),
            slices=self._slices.slices(RANKINGS) if self._slices else (),
            outcomes=self._outcomes.outcomes() if self._outcomes else None,
        )

    @property
    def _parts(self) -> list[RankingMetrics | TargetCounter | Slices]:
        return [
            self.unmasked,
            self.masked,
            self._targets,
            *([self._slices] if self._slices else []),
        ]


def _count_items(count_V: Tensor, ids: Tensor, counted: Tensor) -> None:
    count_V.index_add_(0, ids.reshape(-1), counted.reshape(-1).to(torch.int64))
