"""Products of sparse and dense matrices whose gradients are such products as well.

Torch multiplies a CSR matrix quickly, but would transpose it for every gradient; and dot products
of many pairs of rows take twenty times as long with gathered vectors as when they are computed as
the entries of a sparse product.
"""

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class SparseMatrix(nn.Module):
    """A constant [rows, columns] matrix; its entries are buffers and thus part of checkpoints."""

    row_offsets: torch.Tensor
    columns: torch.Tensor
    values: torch.Tensor
    column_offsets: torch.Tensor
    rows: torch.Tensor
    order: torch.Tensor

    def __init__(self, num_rows: int, num_columns: int, num_entries: int) -> None:
        """Allocate `num_entries` entries, which `fill` sets."""
        super().__init__()
        self.shape = (num_rows, num_columns)
        self.register_buffer("row_offsets", torch.zeros(num_rows + 1, dtype=torch.int64))
        self.register_buffer("columns", torch.zeros(num_entries, dtype=torch.int64))
        self.register_buffer("values", torch.zeros(num_entries))
        self.register_buffer("column_offsets", torch.zeros(num_columns + 1, dtype=torch.int64))
        self.register_buffer("rows", torch.zeros(num_entries, dtype=torch.int64))
        self.register_buffer("order", torch.zeros(num_entries, dtype=torch.int64))

    def fill(self, rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor) -> None:
        """Set the entries, in any order; entries at the same position add up in products."""
        by_row = torch.argsort(rows * self.shape[1] + columns, stable=True)
        rows, columns = rows[by_row], columns[by_row]
        by_column = torch.argsort(columns * self.shape[0] + rows, stable=True)
        self.row_offsets.copy_(_offsets(rows, self.shape[0]))
        self.columns.copy_(columns)
        self.values.copy_(values[by_row])
        self.column_offsets.copy_(_offsets(columns, self.shape[1]))
        self.rows.copy_(rows[by_column])
        self.order.copy_(by_column)

    def __matmul__(self, dense: torch.Tensor) -> torch.Tensor:
        """The product with [columns, D], [rows, D] in float32."""
        return self.times(dense, self.values)

    def times(self, dense: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The product with other values at the same positions, in the order of `values`."""
        with torch.autocast(dense.device.type, enabled=False):  # torch has no such product in bf16
            product: torch.Tensor = _Product.apply(self, dense.float(), values)  # type: ignore[no-untyped-call]
        return product

    def forward_matrix(self, values: torch.Tensor) -> torch.Tensor:
        """As a torch CSR matrix."""
        return _compressed(self.row_offsets, self.columns, values, self.shape)

    def transposed_matrix(self, values: torch.Tensor) -> torch.Tensor:
        """The transpose as a torch CSR matrix."""
        turned = (self.shape[1], self.shape[0])
        return _compressed(self.column_offsets, self.rows, values[self.order], turned)


def dots(
    left_XD: torch.Tensor, right_YD: torch.Tensor, rows_P: torch.Tensor, columns_P: torch.Tensor
) -> torch.Tensor:
    """The dot products of the pairs of `left_XD[rows_P]` and `right_YD[columns_P]`, [P], float32.

    Pairs may come in any order and more than once.
    """
    if left_XD.device.type != "cpu":  # gathering vectors is cheap there
        product_PD = F.embedding(rows_P, left_XD) * F.embedding(columns_P, right_YD)
        return product_PD.float().sum(dim=1)
    with torch.autocast("cpu", enabled=False):
        products: torch.Tensor = _Dots.apply(left_XD.float(), right_YD.float(), rows_P, columns_P)  # type: ignore[no-untyped-call]
    return products


class _Dots(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, left_XD: torch.Tensor, right_YD: torch.Tensor, rows_P: torch.Tensor,
        columns_P: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        shape = (len(left_XD), len(right_YD))
        # Torch rejects duplicate entries, which the fillers of a batch produce.
        places_Q, entry_P = torch.unique(rows_P * shape[1] + columns_P, return_inverse=True)
        rows_Q, columns_Q = places_Q // shape[1], places_Q % shape[1]
        nothing_Q = left_XD.new_zeros(len(places_Q))
        entries = _compressed(_offsets(rows_Q, shape[0]), columns_Q, nothing_Q, shape)
        sampled = torch.sparse.sampled_addmm(entries, left_XD, right_YD.t(), beta=0.0)
        ctx.save_for_backward(left_XD, right_YD, rows_Q, columns_Q, entry_P)
        products_P: torch.Tensor = sampled.values()[entry_P]
        return products_P

    @staticmethod
    def backward(
        ctx: Any, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        left_XD, right_YD, rows_Q, columns_Q, entry_P = ctx.saved_tensors
        shape = (len(left_XD), len(right_YD))
        gradient_Q = torch.zeros_like(rows_Q, dtype=torch.float32)
        gradient_Q.index_add_(0, entry_P, gradients[0])
        by_row = _compressed(_offsets(rows_Q, shape[0]), columns_Q, gradient_Q, shape)
        turned_Q = torch.argsort(columns_Q * shape[0] + rows_Q)
        by_column = _compressed(
            _offsets(columns_Q, shape[1]), rows_Q[turned_Q], gradient_Q[turned_Q], shape[::-1]
        )
        return by_row @ right_YD, by_column @ left_XD, None, None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, matrix: SparseMatrix, dense: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        ctx.matrix, ctx.values = matrix, values
        return matrix.forward_matrix(values) @ dense

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor, None]:
        return None, ctx.matrix.transposed_matrix(ctx.values) @ gradients[0].contiguous(), None


def _offsets(ids: torch.Tensor, size: int) -> torch.Tensor:
    counts = torch.bincount(ids, minlength=size)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _compressed(
    offsets: torch.Tensor, ids: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]
) -> torch.Tensor:
    with warnings.catch_warnings():  # torch calls its compressed matrices a beta feature
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(offsets, ids, values, shape, check_invariants=False)
