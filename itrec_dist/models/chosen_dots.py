"""Dot products of queries with chosen items, without holding a vector for each pair.

The vectors of 256 items for each of 8,192 positions are 134 million numbers. Here the pairs are
taken a few queries at a time and computed again for the gradients. Where many items of the
catalogue are chosen, all products of those queries are computed and the chosen ones picked, which
on a CPU is three times as fast as gathering vectors.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from itrec_dist.losses.uncompiled import uncompiled

_FEW = 1 << 22  # numbers in the vectors of all pairs, up to which they are simply gathered
_AT_ONCE_CPU, _AT_ONCE_GPU = 1 << 19, 1 << 26  # numbers held otherwise
_DENSE = 32  # a catalogue is small if it is at most so many times what a query chooses


def chosen_dots(hidden_ND: Tensor, weight_CD: Tensor, columns_NK: Tensor) -> Tensor:
    """The products of `hidden_ND` [N, D] with the rows `columns_NK` of `weight_CD`, [N, K]."""
    if columns_NK.numel() * hidden_ND.shape[1] <= _FEW:
        vectors_NKD = F.embedding(columns_NK, weight_CD).float()
        return dots(hidden_ND.float(), vectors_NKD)
    dots_NK: Tensor = _in_parts(hidden_ND.float(), weight_CD, columns_NK)
    return dots_NK


def dots(hidden_ND: Tensor, vectors_NKD: Tensor) -> Tensor:
    """The products of each query with vectors of its own, [N, K]."""
    # Not a batched product: on a CPU the backward pass of so many small ones takes three times as
    # long.
    return (vectors_NKD * hidden_ND.unsqueeze(1)).sum(dim=2)


# Not compiled: a graph would hold the loop over parts unrolled.
@uncompiled
def _in_parts(hidden_ND: Tensor, weight_CD: Tensor, columns_NK: Tensor) -> Tensor:
    dots_NK: Tensor = _ChosenDots.apply(hidden_ND, weight_CD, columns_NK)  # type: ignore[no-untyped-call]
    return dots_NK


class _Parts:
    """The rows of a batch, a few at a time."""

    def __init__(self, hidden_ND: Tensor, weight_CD: Tensor, columns_NK: Tensor) -> None:
        C, D = weight_CD.shape
        K = columns_NK.shape[1]
        is_cpu = hidden_ND.device.type == "cpu"
        self.is_dense = is_cpu and C <= _DENSE * K
        numbers = C if self.is_dense else K * D
        at_once = _AT_ONCE_CPU if is_cpu else _AT_ONCE_GPU
        self._size, self._length = max(1, at_once // numbers), len(hidden_ND)

    def __iter__(self) -> Iterator[slice]:
        for start in range(0, self._length, self._size):
            yield slice(start, min(start + self._size, self._length))


class _ChosenDots(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_CD: Tensor, columns_NK: Tensor) -> Tensor:
        ctx.save_for_backward(hidden_ND, weight_CD, columns_NK)
        parts = _Parts(hidden_ND, weight_CD, columns_NK)
        dots_NK = hidden_ND.new_empty(columns_NK.shape)
        for rows in parts:
            if parts.is_dense:
                all_RC = hidden_ND[rows] @ weight_CD.float().t()
                torch.gather(all_RC, 1, columns_NK[rows], out=dots_NK[rows])
            else:
                vectors_RKD = F.embedding(columns_NK[rows], weight_CD).float()
                dots_NK[rows] = (vectors_RKD @ hidden_ND[rows].unsqueeze(2)).squeeze(2)
        return dots_NK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_ND, weight_CD, columns_NK = ctx.saved_tensors
        gradient_NK = gradients[0]
        parts = _Parts(hidden_ND, weight_CD, columns_NK)
        of_hidden_ND = torch.zeros_like(hidden_ND)
        of_weight_CD = torch.zeros_like(weight_CD, dtype=torch.float32)
        for rows in parts:
            columns_RK, gradient_RK = columns_NK[rows], gradient_NK[rows]
            if parts.is_dense:
                slope_RC = gradient_RK.new_zeros(len(columns_RK), len(weight_CD))
                slope_RC.scatter_add_(1, columns_RK, gradient_RK)
                torch.mm(slope_RC, weight_CD.float(), out=of_hidden_ND[rows])
                of_weight_CD.addmm_(slope_RC.t(), hidden_ND[rows])
            else:
                vectors_RKD = F.embedding(columns_RK, weight_CD).float()
                of_hidden_ND[rows] = (gradient_RK.unsqueeze(1) @ vectors_RKD).squeeze(1)
                products_RKD = gradient_RK.unsqueeze(2) * hidden_ND[rows].unsqueeze(1)
                of_weight_CD.index_add_(0, columns_RK.flatten(), products_RKD.flatten(0, 1))
        return of_hidden_ND, of_weight_CD.to(weight_CD.dtype), None
