"""Full-ranking metrics of next-item recommendation, exact under any number of workers.

Owns how scores become a ranking and what is counted about it. Leaves the figures to the metrics
(one file each), scoring to models and baselines, and the sum over workers to whoever holds the
process group.

Every counter is a whole number, so that sums over batches and workers are exact in any order:
the figures of one evaluation are bit for bit the same on one worker and on many, and whatever
the batch size. Only the mean loss that a `Judge` carries along is a sum of floats.

For one window, let T be the set of its targets (a target that occurs twice counts once, padding
never) and R_k its k highest-ranked items. A hit is an item of R_k & T. Windows without a target
count nowhere.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from itrec_dist import metrics
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.errors import ConfigError, ShardsError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import (
    CUTOFFS,
    RANKINGS,
    FigureName,
    MetricChoice,
    RankingCounts,
    RankingMetric,
)


def top_items(scores_BC: Tensor, n: int) -> Tensor:
    """The ids of the n highest scores, best first, equal scores by rising id: int64 [B, n].

    An item at -inf is excluded: it is never recommended, and places that no item is left for hold
    PAD, as do those beyond a catalogue smaller than n.

    Raises:
        ConfigError: a score is NaN.
    """
    num_items = scores_BC.shape[1]
    if num_items == 0:
        return torch.full((len(scores_BC), n), PAD, device=scores_BC.device)
    # One more than asked for shows whether the last place is contested.
    values, columns = scores_BC.topk(min(n + 1, num_items))
    if bool(values.isnan().any()):  # topk ranks NaN highest, so the top tells of all
        rows = int(values.isnan().any(1).sum())
        raise ConfigError(
            f"the scores of {rows} of {len(values)} windows hold NaN and cannot be ranked: the "
            "training diverged, lower its learning rate, clip gradients or use full precision"
        )
    if num_items > n:
        contested = (values[:, n - 1] == values[:, n]) & (values[:, n] > -math.inf)
        values, columns = values[:, :n], columns[:, :n]
        rows_R = contested.nonzero().squeeze(1)
        if len(rows_R):
            columns[rows_R] = _lowest_of_tied(scores_BC[rows_R], values[rows_R], columns[rows_R])
    # Equal scores by rising id: adding 0.0 makes -0.0 and 0.0 one value for the sort as well.
    columns, by_id = columns.sort(dim=1)
    values, by_score = (values.gather(1, by_id) + 0.0).sort(dim=1, descending=True, stable=True)
    ids = (columns.gather(1, by_score) + 1).masked_fill(values == -math.inf, PAD)
    return torch.nn.functional.pad(ids, (0, n - ids.shape[1]), value=PAD)


def _lowest_of_tied(scores_RC: Tensor, values_RN: Tensor, columns_RN: Tensor) -> Tensor:
    """Give the places that many items contest with one score to the lowest columns."""
    num_items, n = scores_RC.shape[1], values_RN.shape[1]
    threshold = values_RN[:, -1:]
    falling = torch.arange(num_items, 0, -1, device=scores_RC.device, dtype=torch.int32)
    tied_RN = (falling * (scores_RC == threshold)).topk(n).indices  # lowest columns first
    num_above = (values_RN > threshold).sum(1, keepdim=True)
    place = torch.arange(n, device=scores_RC.device) - num_above
    return torch.where(place < 0, columns_RN, tied_RN.gather(1, place.clamp(min=0)))


def without_seen(top_BM: Tensor, item_ids_BL: Tensor, n: int) -> Tensor:
    """The first n items of a ranking that are not among `item_ids_BL`, then PAD: [B, n].

    A ranking of n + L items always has n such items where the catalogue does.
    """
    is_seen_BM = (top_BM[:, :, None] == item_ids_BL[:, None, :]).any(2)
    order = is_seen_BM.to(torch.uint8).sort(dim=1, stable=True).indices[:, :n]
    return top_BM.masked_fill(is_seen_BM, PAD).gather(1, order)


class RankingMetrics:
    """Counts what the metrics of one ranking need; see the module's docstring.

    `popularity_C` holds whole numbers, such as `Items.num_train_targets`. All counters stand on
    its device; `update` waits for nothing there.
    """

    def __init__(
        self,
        popularity_C: Tensor,
        target_length: int,
        cutoffs: Sequence[int] = CUTOFFS,
        chosen: Sequence[RankingMetric] | None = None,
    ) -> None:
        """Count nothing yet; without `chosen`, for every metric that is registered."""
        if chosen is None:
            chosen = metrics.chosen(RankingMetric, MetricChoice())
        self._metrics = tuple(chosen)
        self.cutoffs = tuple(sorted(cutoffs))
        self.num_items = len(popularity_C)
        self.depth = self.cutoffs[-1]
        self._target_length = target_length
        self._popularity_C = popularity_C.to(torch.int64)
        sizes = {
            "windows": (1,),
            # hits by the number of targets of their window, their rank, and which of the window's
            # hits they are
            "hits": (target_length + 1, self.depth, target_length),
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
        """Count windows, given their rankings of at least `depth` items as from `top_items`.

        Rows of weight 0 (fillers), and windows without a real target, count nowhere.
        """
        counts, depth = self._counts, self.depth
        assert top_BN.shape[1] >= depth, (top_BN.shape, depth)
        top_BN = top_BN[:, :depth].to(torch.int64)
        targets_BK = target_ids_BK.to(torch.int64).sort(dim=1).values
        is_target_BK = targets_BK != PAD
        is_target_BK[:, 1:] &= targets_BK[:, 1:] != targets_BK[:, :-1]
        is_target_BK &= (weight_B > 0)[:, None]
        num_targets_B = is_target_BK.sum(1)
        counted_B = num_targets_B > 0

        is_hit_BN = ((top_BN[:, :, None] == targets_BK[:, None, :]) & is_target_BK[:, None]).any(2)
        counts["windows"] += counted_B.sum()
        # A place without a hit adds 0, whatever its nth is.
        nth_BN = (is_hit_BN.cumsum(1) - 1).clamp(min=0)
        ranks_N = torch.arange(depth, device=top_BN.device)
        place_BN = (num_targets_B[:, None] * depth + ranks_N) * self._target_length + nth_BN
        _count_items(counts["hits"].view(-1), place_BN, is_hit_BN)
        _count_items(counts["targets"], targets_BK, is_target_BK)
        shown_BN = counted_B[:, None].expand_as(top_BN)
        for i, (start, stop) in enumerate(zip((0, *self.cutoffs), self.cutoffs, strict=False)):
            _count_items(counts["recommended"][i], top_BN[:, start:stop], shown_BN[:, start:stop])

    def state(self) -> Tensor:
        """All counters, flat float64: what workers add up (whole numbers, exact below 2^53)."""
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
    """Judges one split: the ranking as it is and the one without the items of the input.

    Both come from the same scores.
    """

    def __init__(
        self, popularity_C: Tensor, target_length: int, choice: MetricChoice | None = None
    ) -> None:
        """Count nothing yet; `choice` gives the cut-offs and metrics of no package."""
        choice = choice or MetricChoice()
        chosen = metrics.chosen(RankingMetric, choice)
        self.unmasked = RankingMetrics(popularity_C, target_length, choice.cutoffs, chosen)
        self.masked = RankingMetrics(popularity_C, target_length, choice.cutoffs, chosen)
        self._loss = torch.zeros(2, dtype=torch.float64, device=popularity_C.device)

    def update(
        self, scores_BC: Tensor, item_ids_BL: Tensor, target_ids_BK: Tensor, weight_B: Tensor
    ) -> None:
        """Rank and count windows; rows of weight 0 may hold any scores.

        Raises:
            ConfigError: a score of a real window is NaN.
        """
        is_real_B = weight_B > 0
        if not bool(is_real_B.all()):
            scores_BC, item_ids_BL = scores_BC[is_real_B], item_ids_BL[is_real_B]
            target_ids_BK, weight_B = target_ids_BK[is_real_B], weight_B[is_real_B]
        n = self.unmasked.depth
        # The ranking without the L input items is the first n left of the n + L best.
        top_BM = top_items(scores_BC, n + item_ids_BL.shape[1])
        self.unmasked.update(top_BM[:, :n], target_ids_BK, weight_B)
        self.masked.update(without_seen(top_BM, item_ids_BL, n), target_ids_BK, weight_B)

    def add(self, batch: Batch, scores_BC: Tensor, loss_B: Tensor) -> None:
        """Count a batch, given the scores and losses of its windows."""
        weight_B = batch.weight_B
        self.update(scores_BC, batch.item_ids_BL, batch.target_ids_BK, weight_B)
        self.add_loss((loss_B * weight_B).sum(), weight_B.sum())

    def add_loss(self, total: Tensor | float, num_windows: Tensor | float) -> None:
        """Add the loss summed over `num_windows` real windows."""
        self._loss[0] += total
        self._loss[1] += num_windows

    def state(self) -> Tensor:
        """Everything counted, flat float64: what workers add up."""
        return torch.cat([self._loss, self.unmasked.state(), self.masked.state()])

    def load(self, state: Tensor) -> None:
        """Replace everything by a state, such as the sum of all workers' states."""
        loss, counts = state[:2], state[2:]
        self._loss.copy_(loss)
        half = len(counts) // 2
        self.unmasked.load(counts[:half])
        self.masked.load(counts[half:])

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
        )


def _count_items(count_V: Tensor, ids: Tensor, counted: Tensor) -> None:
    count_V.index_add_(0, ids.reshape(-1), counted.reshape(-1).to(torch.int64))
