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
"""Where negatives come from: all items alike; as often as they are targets in training; the targets
of the batch; or one half uniform and one half of the batch."""


# Were all queries of a batch compared with the same few items, the gradients would mostly be noise.
# Products of a group with its own items cost the same.
_SHARING = 128
_MOST_GROUPS = 32  # a limit to the vectors that are looked up, and fetched of a sharded table


def num_draws(num_queries: int, *, shared: bool) -> int:
    """How many times negatives are drawn, G: for each query, or for groups that share them."""
    if not shared:
        return num_queries
    return max(1, min(_MOST_GROUPS, -(-num_queries // _SHARING)))


class Sampler:
    """Draws a number of items at a time, with replacement."""

    def __init__(self, source: Source, number: int, target_counts_C: Tensor) -> None:
        """Draw `number` items from `source`; `target_counts_C` are of the training targets."""
        self._source, self._number = source, number
        self._num_items = len(target_counts_C)
        self._num_uniform = number // 2 if source == "mixed" else 0
        counts_C = target_counts_C.double()
        smoothed_C = counts_C + 1.0  # so that every item can be drawn
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
        device = target_ids_NK.device
        shape = num_draws(len(target_ids_NK), shared=shared), self._number
        if self._source == "popularity":
            self._cumulative_C = self._cumulative_C.to(device)
            places = torch.rand(shape, dtype=torch.float64, device=device)
            columns = torch.searchsorted(self._cumulative_C, places, right=True)
            return columns.clamp_(max=self._num_items - 1) + 1  # the sum may be just below 1
        pool_T = target_ids_NK[target_ids_NK > 0].long()
        if self._source == "uniform" or not len(pool_T):
            return torch.randint(1, self._num_items + 1, shape, device=device)
        of_batch = pool_T[torch.randint(len(pool_T), shape, device=device)]
        if self._num_uniform:
            some = shape[0], self._num_uniform
            of_all = torch.randint(1, self._num_items + 1, some, device=device)
            of_batch[..., : self._num_uniform] = of_all
        return of_batch

    def log_expected(self, ids: Tensor) -> Tensor:
        """Logarithm of how often an item is expected among the drawn ones, of the ids' shape.

        For items of the batch this is their share of all training targets.
        """
        self._log_expected_C = self._log_expected_C.to(ids.device)
        return self._log_expected_C[ids - 1]


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
