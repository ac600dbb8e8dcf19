"""Ranks the catalogue from scores that come block by block.

Evaluation, the samples in a report and `recommend` all rank here. The result equals that of ranking
all scores at once, ties included, and memory does not grow with the catalogue.

An item ranks before another if its score is higher. Of equal scores, `recommend` takes the lower id
first. Ids fall with popularity, so a judge must not: a model that says nothing would be as good as
the most popular items. It gives the window ids, and equal scores are drawn for each window, by a
hash of window and item that depends on nothing else: no batch, block, device or worker.

An item at -inf is excluded; positions for which no item is left hold PAD.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from itrec_dist.data.schema import PAD
from itrec_dist.errors import ConfigError

_SEED = 0x5EED
_TIED_ROWS = 128  # whose ties are settled at once: keys take several times the memory of scores
_FEW_SEEN = 32  # up to which both rankings are taken from one


class TopItems:
    """The n best items of each row, from scores that come in blocks of consecutive items."""

    def __init__(
        self, n: int, seen_ids_BS: Tensor | None = None, window_ids_B: Tensor | None = None
    ) -> None:
        """Start an empty ranking.

        Args:
            n: its length.
            seen_ids_BS: ids to leave out in each row, padded with PAD.
            window_ids_B: draws the order of equal scores; without it the lower id comes first.
        """
        self._n = n
        self._seen_ids_BS = seen_ids_BS
        self._draw = None if window_ids_B is None else _Draw(window_ids_B)
        self._num_items = 0
        self._ids_BM: Tensor | None = None
        self._scores_BM: Tensor | None = None

    def add(self, scores_BW: Tensor) -> None:
        """Add the scores of the next W items, which are not modified."""
        if self._seen_ids_BS is not None:
            scores_BW = without_seen(scores_BW, self._num_items, self._seen_ids_BS)
        first = self._num_items + 1
        scores_BM, columns_BM = _best_of_block(scores_BW, self._n, first, self._draw)
        ids_BM = columns_BM + first
        self._num_items += scores_BW.shape[1]
        if self._ids_BM is not None and self._scores_BM is not None:
            # What was taken in before has the lower ids, and the sort keeps the order of equals.
            scores_BM = torch.cat([self._scores_BM, scores_BM], dim=1)
            ids_BM = torch.cat([self._ids_BM, ids_BM], dim=1)
            scores_BM, order_BM = scores_BM.sort(dim=1, descending=True, stable=True)
            ids_BM = ids_BM.gather(1, order_BM)
        if self._draw is not None:
            ids_BM = self._draw.ordered(ids_BM, scores_BM)
        self._ids_BM, self._scores_BM = ids_BM[:, : self._n], scores_BM[:, : self._n]

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
    blocks: Iterable[Tensor], n: int, seen_ids_BS: Tensor | None = None,
    window_ids_B: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The n best items of each row of scores, best first.

    Args:
        blocks: scores [B, W] of consecutive items, such as `ItemTable.blocks` gives them; all
            scores as one block give the same.
        n: the length of the ranking.
        seen_ids_BS: ids to leave out in each row, padded with PAD.
        window_ids_B: draws the order of equal scores; without it the lower id comes first.

    Returns:
        The ids, int64 [B, n], and their scores, [B, n].

    Raises:
        ConfigError: a score is NaN.
    """
    best = TopItems(n, seen_ids_BS, window_ids_B)
    for scores_BW in blocks:
        best.add(scores_BW)
    return best.result()


def among(blocks: Iterable[Tensor], is_allowed_C: Tensor) -> Iterator[Tensor]:
    """The same scores, at -inf for the items that are not allowed."""
    start = 0
    for scores_BW in blocks:
        end = start + scores_BW.shape[1]
        yield scores_BW.masked_fill(~is_allowed_C[start:end], -math.inf)
        start = end


def both_rankings(
    blocks: Iterable[Tensor], n: int, seen_ids_BS: Tensor, window_ids_B: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The ids of the n best items and of the n best that were not seen, from one pass of scores.

    As two calls of `top_items`, int64 [B, n] each, and cheaper where few items are seen: the n
    best of them are the first n left of the n + S best of all. Each block is scored once.

    Raises:
        ConfigError: a score is NaN.
    """
    if seen_ids_BS.shape[1] > _FEW_SEEN:  # comparing each of them with each best item would cost
        best = TopItems(n, window_ids_B=window_ids_B)
        unseen = TopItems(n, seen_ids_BS, window_ids_B)
        for scores_BW in blocks:
            best.add(scores_BW)
            unseen.add(scores_BW)
        return best.result()[0], unseen.result()[0]
    best_BM, _ = top_items(blocks, n + seen_ids_BS.shape[1], window_ids_B=window_ids_B)
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


class _Draw:
    """The order of equal scores in each window, by a key of window and item, the lowest first."""

    def __init__(self, window_ids_B: Tensor) -> None:
        self._starts_B1 = _mixed(window_ids_B.to(torch.int64) + _SEED).unsqueeze(1)

    def keys_of(self, is_tied_RW: Tensor, first: int, rows_R: Tensor) -> Tensor:
        """Keys of the tied among the items from id `first` on; the highest number for the others.

        No two keys of a row are alike. Only those of the tied are computed, few as a rule.
        """
        tied_T, columns_T = is_tied_RW.nonzero(as_tuple=True)
        keys_T = _mixed(self._starts_B1[rows_R[tied_T], 0] + (columns_T + first))
        highest = torch.iinfo(torch.int64).max
        keys_RW = torch.full(is_tied_RW.shape, highest, dtype=torch.int64, device=keys_T.device)
        return keys_RW.index_put_((tied_T, columns_T), keys_T)

    def ordered(self, ids_BM: Tensor, scores_BM: Tensor) -> Tensor:
        """The ids with those of equal scores in the order of their keys; `scores_BM` falls."""
        tied_BM = (scores_BM[:, 1:] == scores_BM[:, :-1]) & (scores_BM[:, 1:] > -math.inf)
        rows_R = tied_BM.any(dim=1).nonzero().squeeze(1)
        if not len(rows_R):
            return ids_BM
        by_key_RM = _mixed(self._starts_B1[rows_R] + ids_BM[rows_R]).argsort(dim=1)
        scores_RM = scores_BM[rows_R].gather(1, by_key_RM)
        by_score_RM = scores_RM.argsort(dim=1, descending=True, stable=True)
        order_RM = by_key_RM.gather(1, by_score_RM)
        return ids_BM.index_copy(0, rows_R, ids_BM[rows_R].gather(1, order_RM))


def _mixed(values: Tensor) -> Tensor:
    """A hash of int64 values that maps no two to the same: the last steps of SplitMix64."""
    mixed = values.clone()
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15), (31, 1)):
        # The shift of a negative number brings in ones, which are cut off.
        mixed ^= (mixed >> shift) & ((1 << (64 - shift)) - 1)
        mixed *= factor
    return mixed


def _best_of_block(
    scores_BW: Tensor, n: int, first: int, draw: _Draw | None
) -> tuple[Tensor, Tensor]:
    """The n best scores of a block, or all that there are, and their columns; NaN comes first.

    `first` is the id of its first column. Equal scores stand by rising column; `draw` decides only
    which of them are among the n.
    """
    num_items = scores_BW.shape[1]
    # One more than asked for shows whether the last place is contested.
    values, columns = scores_BW.topk(min(n + 1, num_items))
    if num_items > n:
        contested_B = (values[:, n - 1] == values[:, n]) & (values[:, n] > -math.inf)
        values, columns = values[:, :n], columns[:, :n]
        rows_R = contested_B.nonzero().squeeze(1)
        for rows in rows_R.split(_TIED_ROWS) if len(rows_R) else ():
            is_tied = scores_BW[rows] == values[rows, -1:]
            keys = _rising(is_tied) if draw is None else draw.keys_of(is_tied, first, rows)
            columns[rows] = _lowest_of_tied(keys, values[rows], columns[rows])
    # Equal scores by rising id: adding 0.0 makes -0.0 and 0.0 one value for the sort as well.
    columns, by_id = columns.sort(dim=1)
    values, by_score = (values.gather(1, by_id) + 0.0).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, by_score)


def _rising(is_tied_RW: Tensor) -> Tensor:
    """The columns of the tied as their keys, int32 [R, W]; the highest number for the others."""
    columns = torch.arange(is_tied_RW.shape[1], device=is_tied_RW.device, dtype=torch.int32)
    return torch.where(is_tied_RW, columns, torch.iinfo(torch.int32).max)


def _lowest_of_tied(keys_RW: Tensor, values_RN: Tensor, columns_RN: Tensor) -> Tensor:
    """Give the places that many items contest with one score to those with the lowest keys."""
    n = values_RN.shape[1]
    tied_RN = keys_RW.topk(n, largest=False).indices
    num_above = (values_RN > values_RN[:, -1:]).sum(1, keepdim=True)
    place = torch.arange(n, device=keys_RW.device) - num_above
    return torch.where(place < 0, columns_RN, tied_RN.gather(1, place.clamp(min=0)))
