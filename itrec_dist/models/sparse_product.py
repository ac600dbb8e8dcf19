"""A constant sparse matrix times a dense one, with its transpose at hand for the gradient.

Torch multiplies a matrix of compressed rows quickly, but would transpose it for every gradient.
"""

import warnings
from typing import Any

import torch
from torch import nn


class SparseMatrix(nn.Module):
    """A constant [rows, columns] matrix; its entries are buffers and so stand in checkpoints."""

    row_offsets: torch.Tensor
    columns: torch.Tensor
    values: torch.Tensor
    column_offsets: torch.Tensor
    rows: torch.Tensor
    order: torch.Tensor

    def __init__(self, num_rows: int, num_columns: int, num_entries: int) -> None:
        """Make room for so many entries; there are none before `fill`."""
        super().__init__()
        self.shape = (num_rows, num_columns)
        self.register_buffer("row_offsets", torch.zeros(num_rows + 1, dtype=torch.int64))
        self.register_buffer("columns", torch.zeros(num_entries, dtype=torch.int64))
        self.register_buffer("values", torch.zeros(num_entries))
        self.register_buffer("column_offsets", torch.zeros(num_columns + 1, dtype=torch.int64))
        self.register_buffer("rows", torch.zeros(num_entries, dtype=torch.int64))
        self.register_buffer("order", torch.zeros(num_entries, dtype=torch.int64))

    def fill(self, rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor) -> None:
        """Take the entries, in any order; those at one place are added in products."""
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
        """The product with other values at the same places, in the order of `values`."""
        product: torch.Tensor = _Product.apply(self, dense.float(), values)  # type: ignore[no-untyped-call]
        return product

    def forward_matrix(self, values: torch.Tensor) -> torch.Tensor:
        """As a torch matrix of compressed rows."""
        return _compressed(self.row_offsets, self.columns, values, self.shape)

    def transposed_matrix(self, values: torch.Tensor) -> torch.Tensor:
        """The transpose as a torch matrix of compressed rows."""
        turned = (self.shape[1], self.shape[0])
        return _compressed(self.column_offsets, self.rows, values[self.order], turned)


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


def _offsets(sorted_ids: torch.Tensor, size: int) -> torch.Tensor:
    counts = torch.bincount(sorted_ids, minlength=size)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _compressed(
    offsets: torch.Tensor, ids: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]
) -> torch.Tensor:
    with warnings.catch_warnings():  # torch calls its compressed matrices a beta feature
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(offsets, ids, values, shape, check_invariants=False)
