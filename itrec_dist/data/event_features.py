"""Columns of the events as features: how values are numbered, in windowing and in serving alike.

A number becomes the range that it lies in, one of about as many events of training each: ranges do
not care for the scale of a column, nor for its extremes, and a missing number has a code like any
other value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

EventFeatureKind = Literal["category", "number"]

MISSING = 0
"""Code of an event without a value; also of padding."""
UNKNOWN = 1
"""Code of a value that training does not have."""
FIRST_VALUE = 2
"""Code of the first value or range."""

RANGES = 20
"""Ranges of a numeric feature at most: more than of an item's, as there are more events."""


@dataclass(frozen=True)
class EventFeature:
    """A column of the events: the codes of its values count from 2, 0 is missing and 1 unknown."""

    name: str
    kind: EventFeatureKind
    values: tuple[str, ...] = ()
    """Of a category: its values in training, in order."""
    edges: tuple[float, ...] = ()
    """Of a number: the highest number of each range but the last, ascending."""

    @property
    def num_codes(self) -> int:
        """Codes in all."""
        return FIRST_VALUE + (len(self.values) if self.kind == "category" else len(self.edges) + 1)

    def codes(self, values: Sequence[str | None]) -> npt.NDArray[np.int32]:
        """The codes of values, [N], as text as the source has them; None is missing."""
        if self.kind == "category":
            known: dict[str | None, int] = {v: i for i, v in enumerate(self.values, FIRST_VALUE)}
            known[None] = MISSING
            return np.array([known.get(value, UNKNOWN) for value in values], dtype=np.int32)
        numbers = np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)
        ranges = FIRST_VALUE + np.searchsorted(np.array(self.edges), numbers, side="left")
        return np.where(np.isnan(numbers), MISSING, ranges).astype(np.int32)

    def translation(self, other: "EventFeature") -> npt.NDArray[np.int32] | None:
        """This feature's code for each code of the same column in other shards, [num_codes].

        None if it cannot be told: the column is of another kind, or its ranges are others.
        """
        if (self.kind, self.edges) != (other.kind, other.edges):
            return None
        if self.kind == "number":
            return np.arange(self.num_codes, dtype=np.int32)
        return np.concatenate([[MISSING, UNKNOWN], self.codes(other.values)]).astype(np.int32)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "EventFeature":
        """Build from the plain values of a manifest."""
        lists = {name: tuple(content[name]) for name in ("values", "edges")}
        return cls(content["name"], content["kind"], **lists)
