"""Sums over the whole catalogue: of all scores at once, or chunk by chunk.

In chunks the matrix of all scores, [N, C], never exists: a chunk of it is computed, reduced and
overwritten by the next, and computed again in the backward pass, where its gradients are products
of the chunk with the items and with the queries. Four products of matrices instead of three, and
still faster on a CPU where all scores would leave its cache (for 8,192 queries and 3,706 items of
width 64 in 0.4 of the time). Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models
(2024), fuse the same steps on a GPU.

Letters as in `losses/loss.py`; R queries and W items of a chunk.
"""

from collections.abc import Iterator
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from itrec_dist.losses.loss import Held, ItemTable, Queries
from itrec_dist.losses.uncompiled import uncompiled

Memory = Literal["auto", "whole", "chunks"]
"""How the scores of the catalogue are held while gradients are recorded."""

_WHOLE_CPU, _WHOLE_GPU = 1 << 21, 1 << 26
_CHUNK_CPU, _CHUNK_GPU = (128, 1024), (4096, 16_384)  # [R, W]; on a CPU, what its cache holds
_COPIES = 4


def log_normaliser(queries: Queries, table: ItemTable, memory: Memory = "auto") -> Tensor:
    """Logarithm of the softmax's denominator over the catalogue, [N]."""
    if not torch.is_grad_enabled():
        parts = [scores_NW.logsumexp(dim=1) for scores_NW in table.blocks(queries)]
        return parts[0] if len(parts) == 1 else torch.stack(parts, dim=1).logsumexp(dim=1)
    if _are_in_chunks(queries, table, memory):
        sums_N: Tensor = _sum_of_chunks(queries, table, _LogSumExp)
        return sums_N
    return table.all_scores(queries).logsumexp(dim=1)


def softplus_sum(queries: Queries, table: ItemTable, memory: Memory = "auto") -> Tensor:
    """Sum over the catalogue of log(1 + exp(score)), [N]."""
    if not torch.is_grad_enabled():
        parts = [F.softplus(scores_NW).sum(dim=1) for scores_NW in table.blocks(queries)]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)
    if _are_in_chunks(queries, table, memory):
        sums_N: Tensor = _sum_of_chunks(queries, table, _SoftplusSum)
        return sums_N
    return F.softplus(table.all_scores(queries)).sum(dim=1)


def held(memory: Memory, num_queries: int, num_items: int, device: torch.device) -> Held:
    """What is held of the scores of so many queries.

    Whole, they are four matrices at the peak: scores, two steps of their sum, and a gradient.
    """
    if _is_in_chunks(memory, num_queries, num_items, device):
        rows, columns = _chunk_shape(device)
        return Held(f"{num_items:,} items in chunks", _COPIES * 4 * rows * columns)
    return Held(f"{num_items:,} items as a whole", _COPIES * 4 * num_queries * num_items)


def _are_in_chunks(queries: Queries, table: ItemTable, memory: Memory) -> bool:
    hidden_ND = queries.hidden_ND
    return _is_in_chunks(memory, len(hidden_ND), table.num_items, hidden_ND.device)


def _is_in_chunks(memory: Memory, num_queries: int, num_items: int, device: torch.device) -> bool:
    """Whether the scores are never held as a whole; `auto` decides by their number and device."""
    if memory != "auto":
        return memory == "chunks"
    most = _WHOLE_CPU if device.type == "cpu" else _WHOLE_GPU
    return num_queries * num_items > most


def _chunk_shape(device: torch.device) -> tuple[int, int]:
    return _CHUNK_CPU if device.type == "cpu" else _CHUNK_GPU


# Not compiled: a graph would hold the loop over chunks unrolled.
@uncompiled
def _sum_of_chunks(queries: Queries, table: ItemTable, total: type["_Total"]) -> Tensor:
    sums_N: Tensor = _ChunkedSum.apply(  # type: ignore[no-untyped-call]
        total, queries.hidden_ND, table.weight_CD, table.bias_C, queries.bias_ids_NJ,
        queries.bias_NJ,
    )  # fmt: skip
    return sums_N


class _Total(Protocol):
    """A sum over the catalogue that takes in the scores chunk by chunk."""

    def __init__(self, zeros_N: Tensor) -> None:
        """Start with sums of nothing."""

    def add(self, rows: slice, scores_RW: Tensor) -> None:
        """Take in a chunk, which may be overwritten."""

    def result(self) -> Tensor:
        """The sums, [N]."""

    @staticmethod
    def slope(scores_RW: Tensor, sums_R1: Tensor) -> Tensor:
        """The derivative of the sums by each score of a chunk, written over it."""


class _LogSumExp:
    def __init__(self, zeros_N: Tensor) -> None:
        self._sums_N, self._highest_N = zeros_N, torch.full_like(zeros_N, -torch.inf)

    def add(self, rows: slice, scores_RW: Tensor) -> None:
        before_R = self._highest_N[rows]
        # Finite even where all scores are -inf, so that no difference is NaN.
        highest_R = torch.maximum(before_R, scores_RW.amax(dim=1))
        highest_R.clamp_(min=torch.finfo(highest_R.dtype).min)
        added_R = scores_RW.sub_(highest_R.unsqueeze(1)).exp_().sum(dim=1)
        self._sums_N[rows] = self._sums_N[rows] * (before_R - highest_R).exp_() + added_R
        self._highest_N[rows] = highest_R

    def result(self) -> Tensor:
        return self._highest_N + self._sums_N.log()

    @staticmethod
    def slope(scores_RW: Tensor, sums_R1: Tensor) -> Tensor:
        return scores_RW.sub_(sums_R1).exp_()


class _SoftplusSum:
    def __init__(self, zeros_N: Tensor) -> None:
        self._sums_N = zeros_N

    def add(self, rows: slice, scores_RW: Tensor) -> None:
        self._sums_N[rows] += F.softplus(scores_RW).sum(dim=1)

    def result(self) -> Tensor:
        return self._sums_N

    @staticmethod
    def slope(scores_RW: Tensor, sums_R1: Tensor) -> Tensor:  # noqa: ARG004
        return scores_RW.sigmoid_()


class _Chunks:
    """The scores of a batch in chunks that share one buffer, float32."""

    def __init__(self, tensors: tuple[Tensor | None, ...]) -> None:
        hidden_ND, weight_CD, self.bias_C, ids_NJ, added_NJ = tensors
        assert hidden_ND is not None
        assert weight_CD is not None
        self.hidden_ND, self.weight_CD = hidden_ND.float(), weight_CD
        self.columns_NJ = None if ids_NJ is None or added_NJ is None else ids_NJ.long() - 1
        self.added_NJ = None if added_NJ is None else added_NJ.float()
        self._shape = _chunk_shape(hidden_ND.device)
        self._buffer = self.hidden_ND.new_empty(self._shape[0] * self._shape[1])

    def __iter__(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """The queries and items of each chunk, and its scores, [R, W], until the next one."""
        for columns in _slices(len(self.weight_CD), self._shape[1]):
            weight_DW = self.weight_CD[columns].float().t()
            bias_W = None if self.bias_C is None else self.bias_C[columns].float()
            for rows in _slices(len(self.hidden_ND), self._shape[0]):
                hidden_RD = self.hidden_ND[rows]
                shape = (len(hidden_RD), weight_DW.shape[1])
                scores_RW = self._buffer[: shape[0] * shape[1]].view(shape)
                if bias_W is None:
                    torch.mm(hidden_RD, weight_DW, out=scores_RW)
                else:
                    torch.addmm(bias_W, hidden_RD, weight_DW, out=scores_RW)
                if self.added_NJ is not None:
                    places_RJ, is_inside_RJ = self.places(rows, columns)
                    scores_RW.scatter_add_(1, places_RJ, self.added_NJ[rows] * is_inside_RJ)
                yield rows, columns, scores_RW

    def places(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        """The columns of a chunk at which scores are biased, and whether each is in the chunk."""
        assert self.columns_NJ is not None
        places_RJ = self.columns_NJ[rows] - columns.start
        width = columns.stop - columns.start
        is_inside_RJ = (places_RJ >= 0) & (places_RJ < width)
        return places_RJ.clamp_(0, width - 1), is_inside_RJ


def _slices(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


class _ChunkedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, total: type[_Total], *tensors: Tensor | None) -> Tensor:
        hidden_ND = tensors[0]
        assert hidden_ND is not None
        with torch.autocast(hidden_ND.device.type, enabled=False):
            sums = total(hidden_ND.new_zeros(len(hidden_ND), dtype=torch.float32))
            for rows, _, scores_RW in _Chunks(tensors):
                sums.add(rows, scores_RW)
            sums_N = sums.result()
        ctx.total = total
        ctx.save_for_backward(sums_N, *tensors)
        return sums_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        sums_N, *tensors = ctx.saved_tensors
        with torch.autocast(sums_N.device.type, enabled=False):
            found = _gradients(ctx.total, sums_N, tuple(tensors), gradients[0].float())
        cast = (
            None if gradient is None else gradient.to(tensor.dtype)
            for gradient, tensor in zip(found, tensors, strict=True)
        )  # fmt: skip
        return (None, *cast)


def _gradients(
    total: type[_Total], sums_N: Tensor, tensors: tuple[Tensor | None, ...], gradient_N: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of hidden states, weight, bias, ids (none) and added terms, float32."""
    chunks = _Chunks(tensors)
    of_hidden_ND = torch.zeros_like(chunks.hidden_ND)
    of_weight_CD = torch.zeros_like(chunks.weight_CD, dtype=torch.float32)
    of_bias_C = None
    if chunks.bias_C is not None:
        of_bias_C = torch.zeros_like(chunks.bias_C, dtype=torch.float32)
    of_added_NJ = None if chunks.added_NJ is None else torch.zeros_like(chunks.added_NJ)
    weighted_ND, gradient_N1 = chunks.hidden_ND * gradient_N.unsqueeze(1), gradient_N.unsqueeze(1)
    for rows, columns, scores_RW in chunks:
        slope_RW = total.slope(scores_RW, sums_N[rows].unsqueeze(1))
        of_hidden_ND[rows].addmm_(slope_RW, chunks.weight_CD[columns].float())
        of_weight_CD[columns].addmm_(slope_RW.t(), weighted_ND[rows])
        if of_bias_C is not None:
            of_bias_C[columns].addmv_(slope_RW.t(), gradient_N[rows])
        if of_added_NJ is not None:
            places_RJ, is_inside_RJ = chunks.places(rows, columns)
            of_added_NJ[rows] += slope_RW.gather(1, places_RJ) * is_inside_RJ
    if of_added_NJ is not None:
        of_added_NJ *= gradient_N1
    return of_hidden_ND.mul_(gradient_N1), of_weight_CD, of_bias_C, None, of_added_NJ
