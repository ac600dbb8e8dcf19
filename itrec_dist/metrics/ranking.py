"""Full-ranking metrics of next-item recommendation, exact under any number of workers.

Owns what is counted about a ranking and what the figures mean. Leaves scoring to models and
baselines, ranking to `models/rank.py`, and the sum over workers to whoever holds the process group.

Every counter is a whole number, so that sums over batches and workers are exact in any order:
the figures of one evaluation are bit for bit the same on one worker and on many, and whatever
the batch size. Only the mean loss that a `Judge` carries along is a sum of floats.

For one window, let T be the set of its targets (a target that occurs twice counts once, padding
never) and R_k its k highest-ranked items. Each figure is a mean over windows:

    precision@k   |R_k & T| / k, also where the catalogue holds fewer than k items; precision@5 is
                  "Accuracy 1" of Nitayanont, Informative Transformer Encoder, section 5.3
    hit_rate@k    1 if R_k & T is not empty, else 0; hit_rate@5 is "Accuracy 2" of the same section
    recall@k      |R_k & T| / |T|
    ndcg@k        sum of 1 / log2(1 + rank) over the hits, over its highest possible value, that
                  of min(k, |T|) hits at the first ranks
    mrr@k         1 / rank of the first hit, 0 if it stands below k

Two figures are about all rankings together:

    coverage@k    distinct items recommended to anyone, over the size of the catalogue
    popularity@k  popularity bias: mean training popularity of the recommended items over mean
                  training popularity of the targets (over all windows' distinct targets). 1 means
                  as popular as what people really chose, 3 three times so. 0 if no target
                  occurred in training at all
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from itrec_dist.data.schema import PAD, Batch
from itrec_dist.errors import ShardsError
from itrec_dist.models.output import RankingOutput

CUTOFFS = (5, 10, 20)

METRICS = ("precision", "hit_rate", "recall", "ndcg", "mrr", "coverage", "popularity")
"""Names of the figures, each printed as `name@cutoff`."""

RANKINGS = ("unmasked", "masked")
"""The two rankings that are judged: as it is, and without the items of the input."""

MONITORS = ("loss", *(f"{r}/{m}@{k}" for r in RANKINGS for m in METRICS for k in CUTOFFS))
"""Figures of a Judgement that can choose the best epoch."""

PAPER_NAMES = {"precision@5": "Accuracy 1", "hit_rate@5": "Accuracy 2"}
"""What Nitayanont, Informative Transformer Encoder, section 5.3 calls them."""


class RankingMetrics:
    """Counts what the figures of one ranking need; see the module's docstring for them.

    `popularity_C` holds whole numbers, such as `Items.num_train_targets`. All counters stand on
    its device; `update` waits for nothing there.
    """

    def __init__(
        self, popularity_C: Tensor, target_length: int, cutoffs: Sequence[int] = CUTOFFS
    ) -> None:
        self.cutoffs = tuple(sorted(cutoffs))
        self.num_items = len(popularity_C)
        self.depth = self.cutoffs[-1]
        self._popularity_C = popularity_C.to(torch.int64)
        sizes = {
            "windows": (1,),
            # hits at each rank, by the number of targets of their window
            "hits": (target_length + 1, self.depth),
            "first": (self.depth,),  # windows by the rank of their first hit
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
        is_first_BN = is_hit_BN & (is_hit_BN.cumsum(1) == 1)
        counts["windows"] += counted_B.sum()
        counts["hits"].index_add_(0, num_targets_B, is_hit_BN.to(torch.int64))
        counts["first"] += is_first_BN.sum(0)
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

    def merge(self, state: Tensor) -> None:
        """Add another accumulator's state."""
        self.load(self.state() + state.to(self._popularity_C.device))

    @property
    def num_windows(self) -> int:
        """Windows counted so far."""
        return int(self._counts["windows"])

    def compute(self) -> dict[str, float]:
        """The figures, `name@cutoff` -> value, by name and then by cutoff.

        Raises:
            ShardsError: no window was counted.
        """
        windows = self.num_windows
        if windows == 0:
            raise ShardsError("there is nothing to judge: the split holds no window with a target")
        figures = {f"{name}@{k}": 0.0 for name in METRICS for k in self.cutoffs}
        first = self._counts["first"].tolist()
        hits = self._counts["hits"].tolist()
        discounts = [1 / math.log2(rank + 2) for rank in range(self.depth)]
        for k in self.cutoffs:
            found = [sum(row[:k]) for row in hits]
            gains = [
                math.fsum(h * d for h, d in zip(row[:k], discounts, strict=False)) for row in hits
            ]
            ideal = [math.fsum(discounts[: min(k, t)]) for t in range(len(hits))]
            figures[f"precision@{k}"] = sum(found) / k / windows
            figures[f"hit_rate@{k}"] = sum(first[:k]) / windows
            figures[f"recall@{k}"] = math.fsum(f / t for t, f in enumerate(found) if t) / windows
            figures[f"ndcg@{k}"] = (
                math.fsum(g / i for g, i in zip(gains, ideal, strict=True) if i) / windows
            )
            figures[f"mrr@{k}"] = math.fsum(f / (r + 1) for r, f in enumerate(first[:k])) / windows
        return figures | self._figures_of_items()

    def _figures_of_items(self) -> dict[str, float]:
        figures = {}
        recommended = self._counts["recommended"][:, 1:].cumsum(0)
        chosen = self._mean_popularity(self._counts["targets"][1:])
        for k, count_C in zip(self.cutoffs, recommended, strict=True):
            figures[f"coverage@{k}"] = int((count_C > 0).sum()) / max(self.num_items, 1)
            bias = self._mean_popularity(count_C) / chosen if chosen else 0.0
            figures[f"popularity@{k}"] = bias
        return figures

    def _mean_popularity(self, count_C: Tensor) -> float:
        total = int(count_C.sum())
        return int((count_C * self._popularity_C).sum()) / total if total else 0.0


class Judge:
    """Judges one split: the ranking as it is and the one without the items of the input.

    `judgement` is what `runs/directory.py` calls a Judgement.
    """

    def __init__(
        self, popularity_C: Tensor, target_length: int, cutoffs: Sequence[int] = CUTOFFS
    ) -> None:
        self.unmasked = RankingMetrics(popularity_C, target_length, cutoffs)
        self.masked = RankingMetrics(popularity_C, target_length, cutoffs)
        self._loss = torch.zeros(2, dtype=torch.float64, device=popularity_C.device)

    def update(
        self, top_BN: Tensor, unseen_BN: Tensor, target_ids_BK: Tensor, weight_B: Tensor
    ) -> None:
        """Count windows, given both rankings as from `rank.both_rankings`.

        Rows of weight 0 count nowhere.
        """
        self.unmasked.update(top_BN, target_ids_BK, weight_B)
        self.masked.update(unseen_BN, target_ids_BK, weight_B)

    def add(self, batch: Batch, output: RankingOutput) -> None:
        """Count the real windows of a batch."""
        weight_B = batch.weight_B
        self.update(output.top_ids_BN, output.unseen_ids_BN, batch.target_ids_BK, weight_B)
        self.add_loss((output.loss_B * weight_B).sum(), weight_B.sum())

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

    def judgement(self) -> dict[str, Any]:
        """The figures as `evaluation.json` holds them; `loss` is null where none was added.

        Raises:
            ShardsError: no window was counted.
        """
        total, num_windows = self._loss.tolist()
        return {
            "loss": total / num_windows if num_windows else None,
            "num_windows": self.unmasked.num_windows,
            "unmasked": self.unmasked.compute(),
            "masked": self.masked.compute(),
        }


def _count_items(count_V: Tensor, ids: Tensor, counted: Tensor) -> None:
    count_V.index_add_(0, ids.reshape(-1), counted.reshape(-1).to(torch.int64))
