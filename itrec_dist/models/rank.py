"""The ranking of a catalogue, taken from scores block by block.

The judge of next items, the samples in a report and `recommend` all rank here. The result is that
of ranking all scores at once, ties included, and memory does not grow with the catalogue.

An item ranks before another if its score is higher, or equal and its id lower. An item at -inf is
excluded; places for which no item is left hold PAD.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from itrec_dist.data.schema import PAD
from itrec_dist.errors import ConfigError

_FEW_SEEN = 32
"""Seen items up to which both rankings are taken from one."""


class TopItems:
    """The n best items of each row, from scores that come in blocks of consecutive items."""

    def __init__(self, n: int, seen_ids_BS: Tensor | None = None) -> None:
        """Begin a ranking.

        Args:
            n: its length.
            seen_ids_BS: ids to leave out in each row, filled up with PAD.
        """
        self._n = n
        self._seen_ids_BS = seen_ids_BS
        self._num_items = 0
        self._ids_BM: Tensor | None = None
        self._scores_BM: Tensor | None = None

    def add(self, scores_BW: Tensor) -> None:
        """Take in the scores of the next W items, which are left as they are."""
        if self._seen_ids_BS is not None:
            scores_BW = without_seen(scores_BW, self._num_items, self._seen_ids_BS)
        scores_BM, columns_BM = _best_of_block(scores_BW, self._n)
        ids_BM = columns_BM + (self._num_items + 1)
        self._num_items += scores_BW.shape[1]
        if self._ids_BM is not None and self._scores_BM is not None:
            # What was taken in before has the lower ids, and the sort keeps the order of equals.
            scores_BM = torch.cat([self._scores_BM, scores_BM], dim=1)
            ids_BM = torch.cat([self._ids_BM, ids_BM], dim=1)
            scores_BM, order_BM = scores_BM.sort(dim=1, descending=True, stable=True)
            scores_BM = scores_BM[:, : self._n]
            ids_BM = ids_BM.gather(1, order_BM[:, : self._n])
        self._ids_BM, self._scores_BM = ids_BM, scores_BM

    def result(self) -> tuple[Tensor, Tensor]:
        """The ids, int64 [B, n], and their scores, [B, n], -inf where the id is PAD.

        Raises:
            ConfigError: a score is NaN.
        """
        assert self._ids_BM is not None, "no scores were taken in"
        assert self._scores_BM is not None
        ids_BM, scores_BM = self._ids_BM, self._scores_BM
        if bool(scores_BM.isnan().any()):  # sorted above all numbers, so one is always here
            rows = int(scores_BM.isnan().any(dim=1).sum())
            raise ConfigError(
                f"the scores of {rows} of {len(scores_BM)} windows hold NaN and cannot be ranked: "
                "the training diverged, lower its learning rate, clip gradients or use full "
                "precision"
            )
        missing = self._n - ids_BM.shape[1]
        ids_BM = ids_BM.masked_fill(scores_BM == -math.inf, PAD)
        ids_BN = torch.nn.functional.pad(ids_BM, (0, missing), value=PAD)
        return ids_BN, torch.nn.functional.pad(scores_BM, (0, missing), value=-math.inf)


def top_items(
    blocks: Iterable[Tensor], n: int, seen_ids_BS: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The n best items of each row of scores, best first.

    Args:
        blocks: scores [B, W] of consecutive items, such as `ItemTable.blocks` gives them; all
            scores as one block give the same.
        n: the length of the ranking.
        seen_ids_BS: ids to leave out in each row, filled up with PAD.

    Returns:
        The ids, int64 [B, n], and their scores, [B, n].

    Raises:
        ConfigError: a score is NaN.
    """
    best = TopItems(n, seen_ids_BS)
    for scores_BW in blocks:
        best.add(scores_BW)
    return best.result()


def both_rankings(blocks: Iterable[Tensor], n: int, seen_ids_BS: Tensor) -> tuple[Tensor, Tensor]:
    """The ids of the n best items and of the n best that were not seen, from one pass of scores.

    As two calls of `top_items`, int64 [B, n] each, and cheaper where few items are seen: the n
    best of them are the first n left of the n + S best of all. Each block is scored once.

    Raises:
        ConfigError: a score is NaN.
    """
    if seen_ids_BS.shape[1] > _FEW_SEEN:  # comparing each of them with each best item would cost
        best, unseen = TopItems(n), TopItems(n, seen_ids_BS)
        for scores_BW in blocks:
            best.add(scores_BW)
            unseen.add(scores_BW)
        return best.result()[0], unseen.result()[0]
    best_BM, _ = top_items(blocks, n + seen_ids_BS.shape[1])
    is_seen_BM = (best_BM[:, :, None] == seen_ids_BS[:, None, :]).any(dim=2)
    order_BN = is_seen_BM.to(torch.uint8).sort(dim=1, stable=True).indices[:, :n]
    return best_BM[:, :n], best_BM.masked_fill(is_seen_BM, PAD).gather(1, order_BN)


def without_seen(scores_BW: Tensor, first: int, seen_ids_BS: Tensor) -> Tensor:
    """A copy of a block's scores, of the items from id `first + 1` on, with seen items at -inf."""
    W = scores_BW.shape[1]
    columns_BS = seen_ids_BS.long() - 1 - first
    # Padding and the items of other blocks go to a column that is cut off again.
    columns_BS = torch.where((columns_BS >= 0) & (columns_BS < W), columns_BS, W)
    padded = torch.nn.functional.pad(scores_BW, (0, 1))
    return padded.scatter_(1, columns_BS, -math.inf)[:, :W]


def _best_of_block(scores_BW: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The n best scores of a block, or all that there are, and their columns; NaN comes first."""
    num_items = scores_BW.shape[1]
    # One more than asked for shows whether the last place is contested.
    values, columns = scores_BW.topk(min(n + 1, num_items))
    if num_items > n:
        contested_B = (values[:, n - 1] == values[:, n]) & (values[:, n] > -math.inf)
        values, columns = values[:, :n], columns[:, :n]
        rows_R = contested_B.nonzero().squeeze(1)
        if len(rows_R):
            columns[rows_R] = _lowest_of_tied(scores_BW[rows_R], values[rows_R], columns[rows_R])
    # Equal scores by rising id: adding 0.0 makes -0.0 and 0.0 one value for the sort as well.
    columns, by_id = columns.sort(dim=1)
    values, by_score = (values.gather(1, by_id) + 0.0).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, by_score)


def _lowest_of_tied(scores_RW: Tensor, values_RN: Tensor, columns_RN: Tensor) -> Tensor:
    """Give the places that many items contest with one score to the lowest columns."""
    num_items, n = scores_RW.shape[1], values_RN.shape[1]
    threshold = values_RN[:, -1:]
    falling = torch.arange(num_items, 0, -1, device=scores_RW.device, dtype=torch.int32)
    tied_RN = (falling * (scores_RW == threshold)).topk(n).indices  # lowest columns first
    num_above = (values_RN > threshold).sum(1, keepdim=True)
    place = torch.arange(n, device=scores_RW.device) - num_above
    return torch.where(place < 0, columns_RN, tied_RN.gather(1, place.clamp(min=0)))
