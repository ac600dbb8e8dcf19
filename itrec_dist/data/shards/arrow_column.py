"""A column that is kept as Arrow keeps it: some bytes for a value, where Python has an object."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

T = TypeVar("T")

_AT_ONCE = 65_536  # values that are Python objects at a time while a column is walked through


class ArrowColumn(Sequence[T]):
    """Values as a sequence; each becomes a Python object when it is asked for.

    It equals any sequence of the same values.
    """

    def __init__(self, array: pa.Array) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...

    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if isinstance(index, slice):
            return tuple(self._array[index].to_pylist())
        value: T = self._array[index].as_py()
        return value

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self._array.slice(start, _AT_ONCE).to_pylist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ArrowColumn):
            return bool(self._array.equals(other._array))
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        """What `pyarrow.array` makes of it."""
        return self._array if type is None else self._array.cast(type)

    def take(self, places: npt.NDArray[np.integer[Any]] | list[int]) -> pa.Array:
        """The values at some places."""
        return self._array.take(pa.array(places, pa.int64()))
