"""Items drawn as negatives: from where, how likely each was, and their scores.

Queries share them in groups: query n is of group n mod G, so that the positions of a history, which
follow each other, are of different groups.

Draws come from torch's global generator of the device, as dropout does: its state is part of
checkpoints, and every worker draws its own.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from itrec_dist.losses.loss import Held, ItemTable, Queries, of_queries

Source = Literal["uniform", "popularity", "in_batch", "mixed"]
"""Where negatives come from: all items alike; by how often they are targets in training, to the
power of 0.75; the targets of the batch; or one half uniform and one half of the batch."""


# Were all queries of a batch compared with the same few items, the gradients would mostly be noise.
# Products of a group with its own items cost the same.
_SHARING = 128
_MOST_GROUPS = 32  # a limit to the vectors that are looked up, and fetched of a sharded table
# Mikolov et al., Distributed Representations of Words and Phrases and their Compositionality (2013)
_POWER = 0.75


def num_draws(num_queries: int, *, shared: bool) -> int:
    """How many times negatives are drawn, G: for each query, or for groups that share them."""
    if not shared:
        return num_queries
    return max(1, min(_MOST_GROUPS, -(-num_queries // _SHARING)))


class Sampler:
    """Draws a number of items at a time, spread evenly over what they are drawn from.

    An item that is expected less than once is rarely drawn twice, and groups draw different ones.
    """

    def __init__(self, source: Source, number: int, target_counts_C: Tensor) -> None:
        """Draw `number` items from `source`; `target_counts_C` are of the training targets."""
        self._source, self._number = source, number
        self._num_items = len(target_counts_C)
        self._num_uniform = number // 2 if source == "mixed" else 0
        counts_C = target_counts_C.double()
        smoothed_C = (counts_C + 1.0).pow(_POWER)  # so that every item can be drawn
        self._cumulative_C = (smoothed_C / smoothed_C.sum()).cumsum(0)
        # In batches no other items occur than the targets of training.
        in_batch_C = counts_C.clamp(min=1.0) / counts_C.sum().clamp(min=1.0)
        probability_C = {
            "uniform": torch.full_like(counts_C, 1.0 / self._num_items),
            "popularity": smoothed_C / smoothed_C.sum(),
            "in_batch": in_batch_C,
            "mixed": self._num_uniform / number / self._num_items
            + (1.0 - self._num_uniform / number) * in_batch_C,
        }[source]
        self._log_expected_C = (probability_C.log() + math.log(number)).float()

    def draw(self, target_ids_NK: Tensor, *, shared: bool) -> Tensor:
        """Ids of the drawn items: [G, M] if queries share them, else [N, M]."""
        device, number = target_ids_NK.device, self._number
        draws = num_draws(len(target_ids_NK), shared=shared)
        if self._source == "popularity":
            self._cumulative_C = self._cumulative_C.to(device)
            places = _places(draws, number, device, divided=shared)
            columns = torch.searchsorted(self._cumulative_C, places, right=True)
            return columns.clamp_(max=self._num_items - 1) + 1  # the sum may be just below 1
        pool_T = target_ids_NK[target_ids_NK > 0].long()
        num_uniform = self._num_uniform
        if self._source == "uniform" or not len(pool_T):
            num_uniform = number
        ids = torch.empty((draws, number), dtype=torch.int64, device=device)
        if num_uniform:
            places = _places(draws, num_uniform, device, divided=shared)
            ids[:, :num_uniform] = (places * self._num_items).long() + 1
        if num_uniform < number:
            places = _places(draws, number - num_uniform, device, divided=shared)
            ids[:, num_uniform:] = pool_T[(places * len(pool_T)).long()]
        return ids

    def log_expected(self, ids: Tensor) -> Tensor:
        """Logarithm of how often an item is expected among the drawn ones, of the ids' shape.

        For items of the batch this is their share of all training targets.
        """
        self._log_expected_C = self._log_expected_C.to(ids.device)
        return self._log_expected_C[ids - 1]


def _places(draws: int, number: int, device: torch.device, *, divided: bool) -> Tensor:
    """Numbers below 1, each uniform, one in each of `number` equal parts, [draws, number].

    If `divided`, every part is divided among the draws in random order, so that together they are
    spread evenly too.
    """
    within = torch.rand((draws, number), dtype=torch.float64, device=device)
    if divided:
        order = torch.rand((draws, number), device=device).argsort(dim=0)
        within = (order + within) / draws
    places = (torch.arange(number, device=device) + within) / number
    return places.clamp_(max=math.nextafter(1.0, 0.0))  # which the last part may round to


def scored(
    queries: Queries, table: ItemTable, target_ids_NK: Tensor, ids: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The scores of the targets, [N, K], and of drawn items, [N, M], and which of these are hits.

    `ids` are [G, M], of the groups that share them, or [N, M]; a hit is a drawn item that is a
    target of the query.
    """
    if len(ids) != len(target_ids_NK):
        target_NK, drawn_NM = table.scores_of_shared(queries, target_ids_NK, ids)
        ids = of_queries(ids, len(target_ids_NK))
    else:
        both = table.scores_of(queries, torch.cat([target_ids_NK.long(), ids], dim=1))
        target_NK, drawn_NM = both.split([target_ids_NK.shape[1], ids.shape[1]], dim=1)
    is_hit_NM = (ids.unsqueeze(2) == target_ids_NK.unsqueeze(1)).any(dim=2)
    return target_NK, drawn_NM, is_hit_NM


def held(num_queries: int, number: int, *, shared: bool) -> Held:
    """What is held of the scores of drawn items: six matrices of them, and the ids."""
    return Held(f"{number:,} drawn items", (32 if shared else 40) * num_queries * number)


def is_first(target_ids_NK: Tensor) -> Tensor:
    """Whether a target is an item that is not among the query's earlier ones, bool [N, K]."""
    same_NKK = target_ids_NK.unsqueeze(2) == target_ids_NK.unsqueeze(1)
    return (target_ids_NK > 0) & ~same_NKK.tril(diagonal=-1).any(dim=2)
