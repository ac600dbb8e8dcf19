"""Windows, histories, items and users as numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from itrec_dist.data.shards.arrow_column import ArrowColumn
from itrec_dist.data.shards.columns import (
    ITEM_IDS,
    RATINGS,
    TIMES,
    USER_FEATURES,
    USER_ID,
    Column,
    columns_of,
)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Windows as arrays of equal length, and the columns of a shard, in order."""

    window_ids: Annotated[Int64, Column("window_id", pa.int64())]
    """[B]: the position in the canonical order, unique over all splits."""
    user_ids: Annotated[Int32, USER_ID]
    user_features: Annotated[Int32, USER_FEATURES]
    item_ids: Annotated[Int32, ITEM_IDS]
    ratings: Annotated[Float32, RATINGS]
    times: Annotated[Int64 | None, TIMES]
    """[B, L]; None if they were not requested."""
    target_ids: Annotated[Int32, Column("target_ids", pa.int32(), "K")]
    """[B, K]: the items that follow the inputs, in order."""
    target_ratings: Annotated[Float32, Column("target_ratings", pa.float32(), "K")]
    target_time: Annotated[Int64, Column("target_time", pa.int64(), is_time=True)]
    """[B]: the time of the first target, in the unit of `times`."""
    event_features: Int32 | None = None
    """[B, L, G]: codes of the features of each input, of histories in the shape of windows; no
    column, since windows in files have none."""

    def __len__(self) -> int:
        return len(self.window_ids)

    def take(self, indices: Int64) -> Windows:
        """The windows at `indices`, in that order, as writable copies."""
        taken: dict[str, Any] = {
            name: None if array is None else array[indices] for name, array in vars(self).items()
        }
        return Windows(**taken)

    @staticmethod
    def concatenated(parts: Sequence[Windows]) -> Windows:
        """The windows of all parts, one after the other; a single part is not copied."""
        if len(parts) == 1:
            return parts[0]
        arrays: dict[str, Any] = {}
        for name in columns_of(Windows):
            pieces = [getattr(part, name) for part in parts]
            arrays[name] = None if pieces[0] is None else np.concatenate(pieces)
        return Windows(**arrays)


@dataclass(frozen=True)
class Ragged:
    """Lists of any length, one after another."""

    values: npt.NDArray[Any]
    """[N], or [N, G] of the codes of features."""
    offsets: Int64
    """[B + 1]: list i is values[offsets[i]:offsets[i + 1]]."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Int64:
        """[B]: the length of each list."""
        return np.diff(self.offsets)

    def take(self, indices: Int64) -> Ragged:
        """The lists at `indices`, in that order."""
        lengths = self.lengths[indices]
        offsets = np.concatenate([[0], lengths.cumsum()])
        moved = np.repeat(self.offsets[indices] - offsets[:-1], lengths)
        return Ragged(self.values[np.arange(offsets[-1]) + moved], offsets)

    @staticmethod
    def concatenated(parts: Sequence[Ragged]) -> Ragged:
        """The lists of all parts, one after the other."""
        lengths = np.concatenate([part.lengths for part in parts])
        values = [part.values[part.offsets[0] : part.offsets[-1]] for part in parts]
        return Ragged(np.concatenate(values), np.concatenate([[0], lengths.cumsum()]))


@dataclass(frozen=True)
class HistoryRows:
    """Histories of a split as arrays of equal length, and the columns of a shard, in order.

    A training row holds its targets among its events: they are those after `num_context`, without
    those that are 0 in `target_ids`. A judged row holds them apart, and its events all come before
    them.
    """

    window_ids: Annotated[Int64, Column("window_id", pa.int64())]
    """[B]: the position in the canonical order, unique over all splits."""
    user_ids: Annotated[Int32, USER_ID]
    user_features: Annotated[Int32, USER_FEATURES]
    num_context: Annotated[Int32, Column("num_context", pa.int32())]
    """[B]: the leading events that are no targets, at least 1."""
    item_ids: Annotated[Ragged, Column("item_ids", pa.int32(), "ragged")]
    """Oldest first, at most max_length events before the last target."""
    ratings: Annotated[Ragged, Column("ratings", pa.float32(), "ragged")]
    times: Annotated[Ragged, Column("times", pa.int64(), "ragged", is_time=True)]
    seen_ids: Annotated[Ragged, Column("seen_ids", pa.int32(), "ragged")]
    """Distinct items of all events before the targets, ascending; empty in training."""
    target_ids: Annotated[Ragged, Column("target_ids", pa.int32(), "ragged")]
    """In order. Empty in training, unless some events after `num_context` are no targets: then all
    of these, with 0 for those."""
    target_ratings: Annotated[Ragged, Column("target_ratings", pa.float32(), "ragged")]
    """Of judged rows; empty in training, like their times."""
    target_times: Annotated[Ragged, Column("target_times", pa.int64(), "ragged", is_time=True)]
    event_features: Annotated[Ragged, Column("event_features", pa.int32(), "ragged G")]
    """Codes of the features of each event, [N, G]; in a file, lists of len(item_ids) * G codes,
    and no such column where G is 0. Those of judged targets are in no file."""

    def __len__(self) -> int:
        return len(self.window_ids)

    @property
    def is_learned(self) -> npt.NDArray[np.bool_]:
        """Which events are targets of training rows, [N]; none of a judged row is."""
        lengths = self.item_ids.lengths
        is_training = np.zeros((len(self), 2), dtype=bool)
        is_training[:, 1] = True  # context, then targets
        runs = np.stack([self.num_context, lengths - self.num_context], axis=1)
        is_learned: npt.NDArray[np.bool_] = np.repeat(is_training.ravel(), runs.ravel())
        chooses = self.chooses_targets
        if chooses.any():
            is_chosen = np.repeat(chooses, lengths) & is_learned
            given = self.target_ids.values[np.repeat(chooses, self.target_ids.lengths)]
            is_learned[is_chosen] = given != 0
        return is_learned

    @property
    def chooses_targets(self) -> npt.NDArray[np.bool_]:
        """Which rows are of training and have `target_ids`, [B]."""
        is_training = self.item_ids.lengths > self.num_context
        return is_training & (self.target_ids.lengths > 0)

    def take(self, indices: Int64) -> HistoryRows:
        """The rows at `indices`, in that order."""
        taken: dict[str, Any] = {
            name: a.take(indices) if isinstance(a, Ragged) else a[indices]
            for name, a in vars(self).items()
        }
        return HistoryRows(**taken)

    @staticmethod
    def concatenated(parts: Sequence[HistoryRows]) -> HistoryRows:
        """The rows of all parts, one after the other; a single part is not copied."""
        if len(parts) == 1:
            return parts[0]
        arrays: dict[str, Any] = {}
        for name in columns_of(HistoryRows):
            pieces = [getattr(part, name) for part in parts]
            is_ragged = isinstance(pieces[0], Ragged)
            arrays[name] = Ragged.concatenated(pieces) if is_ragged else np.concatenate(pieces)
        return HistoryRows(**arrays)


@dataclass(frozen=True)
class Items:
    """The catalogue; position i holds item id i + 1. Missing titles are empty strings."""

    source_ids: ArrowColumn[str]
    titles: ArrowColumn[str]
    years: ArrowColumn[int | None]
    genres: ArrowColumn[list[str] | None]
    num_events: Int64  # [C]: in the data that the catalogue was counted on
    num_train_targets: Int64  # [C]: in the training windows
    feature_codes: Int32  # concatenated over items
    feature_offsets: Int64  # [C + 1]: item i has feature_codes[offsets[i]:offsets[i + 1]]
    feature_width: int
    vectors: Float32  # [C, T], of zeros where an item has none; T = 0 without vectors

    def __len__(self) -> int:
        return len(self.source_ids)

    def feature_places(self) -> tuple[Int64, Int32]:
        """Rows and columns of the ones in the one-hot vectors of all items; row 0 is padding."""
        rows = np.repeat(np.arange(1, len(self) + 1), np.diff(self.feature_offsets))
        return rows, self.feature_codes

    def feature_matrix(self) -> Float32:
        """One-hot item features, float32[V, F]; row 0, the padding, is all zeros."""
        matrix = np.zeros((len(self) + 1, self.feature_width), dtype=np.float32)
        matrix[self.feature_places()] = 1.0
        return matrix


@dataclass(frozen=True)
class Users:
    """The kept users; position i holds user id i + 1."""

    source_ids: Annotated[tuple[str, ...], Column("source_id", pa.string())]
    num_events: Annotated[Int64, Column("num_events", pa.int64())]
    user_features: Annotated[Int32, USER_FEATURES]

    def __len__(self) -> int:
        return len(self.source_ids)


@dataclass(frozen=True)
class Histories:
    """Every kept user's latest events and all items they have seen, ordered by user id."""

    user_ids: Annotated[Int32, USER_ID]
    user_features: Annotated[Int32, USER_FEATURES]
    item_ids: Annotated[Int32, ITEM_IDS]
    ratings: Annotated[Float32, RATINGS]
    times: Annotated[Int64, TIMES]
    seen_ids: Annotated[Int32, Column("seen_ids", pa.int32(), "ragged")]
    """Concatenated over users, ascending within each."""
    seen_offsets: Int64  # [U + 1]
    event_features: Annotated[Int32, Column("event_features", pa.int32(), "LG")]
    """[U, L, G]: codes of the features of each event; no such column in the file if G is 0."""

    def __len__(self) -> int:
        return len(self.user_ids)

    def take(self, rows: Int64) -> Histories:
        """The users at `rows`, in that order."""
        seen = [self.seen(row) for row in rows.tolist()]
        ends = np.cumsum([0, *map(len, seen)], dtype=np.int64)
        return Histories(
            user_ids=self.user_ids[rows], user_features=self.user_features[rows],
            item_ids=self.item_ids[rows], ratings=self.ratings[rows], times=self.times[rows],
            seen_ids=np.concatenate([self.seen_ids[:0], *seen]), seen_offsets=ends,
            event_features=self.event_features[rows],
        )  # fmt: skip

    def seen(self, index: int) -> Int32:
        """All item ids of the user at position `index`, ascending."""
        return self.seen_ids[self.seen_offsets[index] : self.seen_offsets[index + 1]]

    def windows(self, rows: Int64, *, times: bool = False) -> Windows:
        """The users at `rows` as windows without targets: K is 0.

        `times` is whether the model needs them.
        """
        nothing = np.zeros((len(rows), 0))
        return Windows(
            window_ids=rows,
            user_ids=self.user_ids[rows],
            user_features=self.user_features[rows],
            item_ids=self.item_ids[rows],
            ratings=self.ratings[rows],
            times=self.times[rows] if times else None,
            target_ids=nothing.astype(np.int32),
            target_ratings=nothing.astype(np.float32),
            target_time=np.zeros(len(rows), dtype=np.int64),
            event_features=self.event_features[rows] if self.event_features.size else None,
        )


WINDOW_COLUMNS = tuple(columns_of(Windows).values())
"""The columns of every shard of windows."""

HISTORY_ROW_COLUMNS = tuple(columns_of(HistoryRows).values())
"""The columns of every shard of histories."""

HISTORY_COLUMNS = tuple(columns_of(Histories).values())
"""The columns of histories.parquet."""

USER_COLUMNS = (USER_ID, *columns_of(Users).values())
"""The columns of users.parquet."""


def window_columns(*, times: bool) -> tuple[Column, ...]:
    """The columns of a window that are held in memory, with or without the times."""
    return tuple(c for c in WINDOW_COLUMNS if times or not c.is_time)
