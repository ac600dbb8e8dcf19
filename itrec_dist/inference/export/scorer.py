"""What an exported model computes: the scores of all items, and the best of them.

It is what `itrec recommend` computes, in float32, as one module that takes plain tensors: histories
are cut and padded to the longest that the model knows, and who has no events gets the most frequent
items. Ranking has no branches, unlike `models/rank.py`, and gives the same: equal scores are ranked
by rising index (among more equal scores than fit at the end of the list, torch takes any).
"""

import copy
import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from itrec_dist.data.event_features import FIRST_VALUE, MISSING, EventFeature
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.shards.arrays import Int64
from itrec_dist.inference.export.signature import event_inputs
from itrec_dist.models.item_table import ItemTable, RankingModel
from itrec_dist.models.parts.inputs import ItemVectors


class Counted(Protocol):
    """A catalogue that says how often each item is a target in training, such as `Items`."""

    @property
    def num_train_targets(self) -> Int64:
        """Of each item, [C]."""


class Scorer(nn.Module):
    """A ranking model from named tensors to scores [B, V], and with `k` to top items [B, k]."""

    bias_V: Tensor
    counts_V: Tensor
    places_V: Tensor
    weight_VD: Tensor | None

    def __init__(
        self, model: nn.Module, items: Counted, length: int, k: int | None = None,
        event_features: Sequence[EventFeature] = (),
    ) -> None:  # fmt: skip
        """Take a copy of the model to the CPU.

        Args:
            model: a `RankingModel`.
            items: its catalogue.
            length: the longest history that it is shown.
            k: length of the ranking; None for scores alone.
            event_features: the columns of events that its data has.
        """
        super().__init__()
        copied = copy.deepcopy(model).to("cpu").eval().requires_grad_(requires_grad=False)
        assert isinstance(copied, RankingModel)
        table = copied.item_table()
        for module in copied.modules():
            if isinstance(module, ItemVectors):
                module.fold_features()
        self.model, self.length, self.k = copied, length, k
        self._columns = event_inputs(event_features)
        for name, feature in self._columns.items():
            if feature.kind == "number":
                edges = torch.tensor(feature.edges, dtype=torch.float64)
                self.register_buffer(f"edges_of_{name}", edges)
        self._take_table(table)
        counts_C = torch.from_numpy(items.num_train_targets.copy())
        self.register_buffer("counts_V", F.pad(counts_C.float(), (1, 0), value=-math.inf))
        order_C = counts_C.argsort(descending=True, stable=True)
        places_C = torch.empty(len(counts_C)).index_copy(
            0, order_C, -torch.arange(len(counts_C), dtype=torch.float32)
        )
        self.register_buffer("places_V", F.pad(places_C, (1, 0), value=-math.inf))

    def forward(
        self, item_ids: Tensor, ratings: Tensor | None = None, times: Tensor | None = None,
        user_features: Tensor | None = None, user_ids: Tensor | None = None,
        left_out: Tensor | None = None, **event_columns: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """The outputs of `signature.signature`; its inputs have these names, and None counts as 0.

        `left_out` is needed if there is a ranking.
        """
        ids_BL = self._shown(item_ids)
        nothing_BL, nothing_B = torch.zeros_like(ids_BL), torch.zeros_like(ids_BL[:, 0])
        batch = Batch(
            window_ids_B=nothing_B,
            user_ids_B=nothing_B if user_ids is None else user_ids,
            user_features_BF=nothing_BL[:, :0] if user_features is None else user_features,
            item_ids_BL=ids_BL,
            ratings_BL=nothing_BL.float() if ratings is None else self._shown(ratings),
            target_ids_BK=nothing_BL[:, :0],
            target_ratings_BK=nothing_BL[:, :0].float(),
            weight_B=torch.ones_like(nothing_B).float(),
            denominator=1.0,
            times_BL=nothing_BL if times is None else self._shown(times),
            target_time_B=nothing_B,
            event_features_BLG=self._codes(ids_BL, event_columns),
        )
        is_empty_B1 = (ids_BL == PAD).all(dim=1, keepdim=True)
        scores_BV = torch.where(is_empty_B1, self.counts_V, self._scores(batch))
        if self.k is None or left_out is None:
            return (scores_BV,)
        # Frequencies are often equal, places never.
        ranked_BV = torch.where(is_empty_B1, self.places_V, scores_BV)
        return scores_BV, *self._top(ranked_BV, scores_BV, left_out, self.k)

    def _shown(self, events_BL: Tensor) -> Tensor:
        """The newest events, padded on the left to the longest history, however many are given."""
        # After padding by the whole length there is enough to cut from, without a branch.
        return F.pad(events_BL, (self.length, 0))[:, -self.length :]

    def _codes(self, ids_BL: Tensor, given: dict[str, Tensor]) -> Tensor | None:
        """The codes of the columns of events, [B, L, G]; see `EventFeature.codes`."""
        if not self._columns:
            return None
        codes = []
        for name, feature in self._columns.items():
            codes_BL = torch.full_like(ids_BL, MISSING)
            if name in given:
                codes_BL = self._shown(given[name])
            if name in given and feature.kind == "number":
                is_missing_BL = codes_BL.isnan()
                edges_R = self.get_buffer(f"edges_of_{name}")
                codes_BL = FIRST_VALUE + (codes_BL[:, :, None] > edges_R).sum(dim=2)
                codes_BL = codes_BL.masked_fill(is_missing_BL, MISSING)
            codes.append(codes_BL.masked_fill(ids_BL == PAD, MISSING))
        return torch.stack(codes, dim=2)

    def _take_table(self, table: ItemTable) -> None:
        """Keep the output vectors with a row for padding: as a parameter that has them, if any."""
        weight_VD = F.pad(table.weight_CD.detach().float(), (0, 0, 1, 0))
        self._tied = next(
            (n for n, p in self.model.named_parameters() if torch.equal(p.float(), weight_VD)), None
        )
        self.register_buffer("weight_VD", None if self._tied else weight_VD)
        bias_C = table.bias_C
        if bias_C is None:
            bias_C = torch.zeros(table.num_items)
        self.register_buffer("bias_V", F.pad(bias_C.detach().float(), (1, 0), value=-math.inf))

    def _scores(self, batch: Batch) -> Tensor:
        """The scores of every item at its index, float32 [B, V]; see `ItemTable.block`."""
        assert isinstance(self.model, RankingModel)
        queries = self.model.encode(batch)
        weight_VD = self.weight_VD
        if weight_VD is None:
            assert self._tied is not None
            weight_VD = self.model.get_parameter(self._tied).float()
        scores_BV = F.linear(queries.hidden_ND.float(), weight_VD, self.bias_V)
        if queries.bias_ids_NJ is None or queries.bias_NJ is None:
            return scores_BV
        return scores_BV.scatter_add(1, queries.bias_ids_NJ.long(), queries.bias_NJ.float())

    def _top(
        self, ranked_BV: Tensor, scores_BV: Tensor, left_out_BS: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        # An index of no item would end some runtimes and not others: it leaves nothing out.
        is_item_BS = (left_out_BS > 0) & (left_out_BS < ranked_BV.shape[1])
        ranked_BV = ranked_BV.scatter(1, left_out_BS * is_item_BS, -math.inf)
        best_BN, ids_BN = ranked_BV.topk(k)
        ids_BN, order_BN = ids_BN.sort(dim=1)
        # Adding 0.0 makes -0.0 and 0.0 one value for the sort as well.
        best_BN, order_BN = (best_BN.gather(1, order_BN) + 0.0).sort(
            dim=1, descending=True, stable=True
        )
        ids_BN = ids_BN.gather(1, order_BN)
        is_none_BN = best_BN == -math.inf
        top_scores_BN = scores_BV.gather(1, ids_BN).masked_fill(is_none_BN, -math.inf)
        return ids_BN.masked_fill(is_none_BN, PAD), top_scores_BN
