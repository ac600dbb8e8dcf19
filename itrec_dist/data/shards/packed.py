"""Windows with the columns of one type side by side, as batches are gathered from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from itrec_dist.data.shards.arrays import Windows, window_columns
from itrec_dist.data.shards.columns import Widths, columns_of


@dataclass(frozen=True)
class PackedColumn:
    """Where a column stands in the matrix of its type."""

    array: str
    """Its name in `Windows`."""
    tensor: str
    """Its name in a batch."""
    width: int
    is_vector: bool
    """Whether a window has one value of it, [B]; otherwise [B, width]."""


@dataclass(frozen=True)
class PackedWindows:
    """Windows as one matrix [B, *] per type of value, so that a batch takes two or three gathers.

    Times are absent if the windows were read without them.
    """

    matrices: Mapping[str, npt.NDArray[Any]]
    """By the name of the type."""
    columns: Mapping[str, tuple[PackedColumn, ...]]
    """The columns of each matrix, in order."""

    @classmethod
    def of(cls, windows: Windows) -> PackedWindows:
        """A copy of the windows."""
        widths: dict[str, int] = {}
        parts: dict[str, list[npt.NDArray[Any]]] = {}
        for name, column in columns_of(Windows).items():
            if windows.times is not None or not column.is_time:
                array = getattr(windows, name)
                matrix = array if array.ndim == 2 else array[:, None]
                widths[name] = matrix.shape[1]
                parts.setdefault(column.dtype.name, []).append(matrix)
        matrices = {dtype: np.concatenate(found, axis=1) for dtype, found in parts.items()}
        return cls(matrices, _columns(widths))

    @classmethod
    def of_matrices(
        cls, matrices: Mapping[str, npt.NDArray[Any]], widths: Widths, *, times: bool
    ) -> PackedWindows:
        """Windows whose matrices were made by `of` from shards with these widths."""
        wanted = window_columns(times=times)
        names = {name: c for name, c in columns_of(Windows).items() if c in wanted}
        return cls(matrices, _columns({name: widths.size(c) for name, c in names.items()}))

    def __len__(self) -> int:
        return len(next(iter(self.matrices.values())))

    def windows(self) -> Windows:
        """The windows as views of the matrices; without times, target_time is 0."""
        arrays: dict[str, Any] = {"times": None}
        for dtype, columns in self.columns.items():
            at = 0
            for column in columns:
                part = self.matrices[dtype][:, at : at + column.width]
                arrays[column.array] = part[:, 0] if column.is_vector else part
                at += column.width
        if "target_time" not in arrays:
            arrays["target_time"] = np.zeros(len(self), dtype=np.int64)
        return Windows(**arrays)


def _columns(widths: Mapping[str, int]) -> dict[str, tuple[PackedColumn, ...]]:
    """The columns of each matrix, by their widths."""
    found: dict[str, tuple[PackedColumn, ...]] = {}
    for name, width in widths.items():
        column = columns_of(Windows)[name]
        packed = PackedColumn(name, column.tensor(name), width, is_vector=not column.width)
        found[column.dtype.name] = (*found.get(column.dtype.name, ()), packed)
    return found
