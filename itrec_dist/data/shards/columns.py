"""Declarations of the columns in a shards folder, and the columns that several files share.

A column is declared once, as the annotation of an array of `arrays.Windows`, `arrays.Histories` or
`arrays.Users`. The Arrow schema, the arrays, the tensors of a batch and the bytes of a row follow
from it. A new column also needs the SQL that fills it and a typed field of `schema.Batch`.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from itrec_dist.data.manifest import Manifest

Width = Literal["", "L", "K", "F", "LG", "ragged", "ragged G"]
"""Values per row: one, the size of a letter of data/schema.py or of two of them, or any number; for
each event of a ragged row one, or G. Columns with a G are absent where there are no such features.
"""


_RAGGED = ("ragged", "ragged G")


@dataclass(frozen=True)
class Column:
    """One column of a Parquet file."""

    name: str
    """Its name in the file."""
    values: pa.DataType
    """The type of one value."""
    width: Width = ""
    """Number of values per row."""
    default: int | None = None
    """The value of every row in shards of earlier versions that lack the column; None if all have
    it."""
    is_time: bool = False
    """Whether it is read only for models that need times."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of one value in numpy and torch."""
        dtype: np.dtype[Any] = np.dtype(self.values.to_pandas_dtype())
        return dtype

    def tensor(self, array: str) -> str:
        """The name in a batch of the numpy array called `array`: item_ids becomes item_ids_BL."""
        return f"{array}_B{self.width}"


@dataclass(frozen=True)
class Widths:
    """The fixed widths of the list columns."""

    inputs: int
    targets: int
    user_features: int
    event_features: int = 0

    @classmethod
    def of(cls, manifest: Manifest) -> "Widths":
        """The widths of a shards folder."""
        return cls(
            manifest.input_length, manifest.target_length, len(manifest.user_features),
            len(manifest.event_features),
        )  # fmt: skip

    def size(self, column: Column) -> int:
        """Values per row of a column that is not ragged."""
        sizes = {"": 1, "L": self.inputs, "K": self.targets, "F": self.user_features}
        return (sizes | {"LG": self.inputs * self.event_features})[column.width]

    def is_empty(self, column: Column) -> bool:
        """Whether its lists are empty, as in data without user features."""
        return column.width not in _RAGGED and self.size(column) == 0

    def is_absent(self, column: Column) -> bool:
        """Whether files lack it: fingerprints of data without such features stay as they were."""
        return "G" in column.width and not self.event_features

    def field(self, column: Column) -> pa.Field:
        """The Arrow field; lists of width 0, which Parquet does not support, are variable-size."""
        if not column.width:
            return pa.field(column.name, column.values)
        if column.width in _RAGGED or self.is_empty(column):
            return pa.field(column.name, pa.list_(column.values))
        return pa.field(column.name, pa.list_(column.values, self.size(column)))

    def schema(self, columns: Iterable[Column]) -> pa.Schema:
        """The Arrow schema of a file with these columns."""
        return pa.schema([self.field(c) for c in columns if not self.is_absent(c)])

    def row_bytes(self, columns: Iterable[Column]) -> int:
        """Bytes of one row in memory; no column may be ragged."""
        return sum(c.dtype.itemsize * self.size(c) for c in columns)

    def filled(self, column: Column, rows: int) -> npt.NDArray[Any]:
        """An array of the column's default, or of width 0 if its lists are empty."""
        shape = (rows, self.size(column)) if column.width else (rows,)
        return np.full(shape, column.default or 0, dtype=column.dtype)


@functools.cache
def columns_of(kind: type) -> dict[str, Column]:
    """The columns that a class of `arrays.py` declares, by the name of the array, in file order."""
    hints = get_type_hints(kind, include_extras=True)
    annotated = ((name, getattr(hint, "__metadata__", ())) for name, hint in hints.items())
    return {name: c for name, extras in annotated for c in extras if isinstance(c, Column)}


# Shared by several files; columns of a single file are declared with their array.
USER_ID = Column("user_id", pa.int32())  # dense, 1-based
USER_FEATURES = Column("user_features", pa.int32(), "F")  # one code per feature, 0 = unknown
ITEM_IDS = Column("item_ids", pa.int32(), "L")  # oldest first, left-padded with 0
RATINGS = Column("ratings", pa.float32(), "L")  # 0 where padded or without ratings
TIMES = Column("times", pa.int64(), "L", default=0, is_time=True)
"""The time of each input, in the source's unit (seconds in MovieLens); 0 where padded."""

ITEM_SCHEMA = pa.schema(
    [
        ("item_id", pa.int32()),
        ("source_id", pa.string()),
        ("title", pa.string()),
        ("year", pa.int32()),
        ("genres", pa.list_(pa.string())),
        ("feature_codes", pa.list_(pa.int32())),
        ("num_events", pa.int64()),
        ("num_train_targets", pa.int64()),
    ]
)


def item_schema(vector_width: int) -> pa.Schema:
    """The columns of an item table, with a vector of so many numbers unless that is 0."""
    if not vector_width:
        return ITEM_SCHEMA
    return ITEM_SCHEMA.append(pa.field("vector", pa.list_(pa.float32(), vector_width)))
