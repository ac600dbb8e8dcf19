"""Windows, items, users and histories as numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]


Int64 = npt.NDArray[np.int64]


Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Windows as arrays of equal length; the columns of `data/schema.py` under plural names."""

    window_ids: Int64  # [B]
    user_ids: Int32  # [B]
    user_features: Int32  # [B, F]
    item_ids: Int32  # [B, L]
    ratings: Float32  # [B, L]
    target_ids: Int32  # [B, K]
    target_ratings: Float32  # [B, K]
    target_time: Int64  # [B]

    def __len__(self) -> int:
        return len(self.window_ids)

    def take(self, indices: Int64) -> Windows:
        """The windows at `indices`, in that order, as writable copies."""
        return Windows(*(getattr(self, f.name)[indices] for f in fields(self)))


@dataclass(frozen=True)
class Items:
    """The catalogue; position i holds item id i + 1. Absent titles are empty strings."""

    source_ids: tuple[str, ...]
    titles: tuple[str, ...]
    years: tuple[int | None, ...]
    genres: tuple[tuple[str, ...], ...]
    num_events: Int64  # [C]: in the data that the catalogue was counted on
    num_train_targets: Int64  # [C]: in the training windows
    feature_codes: Int32  # concatenated over items
    feature_offsets: Int64  # [C + 1]: item i has feature_codes[offsets[i]:offsets[i + 1]]
    feature_width: int

    def __len__(self) -> int:
        return len(self.source_ids)

    def feature_matrix(self) -> Float32:
        """One-hot item features, float32[V, F]; row 0, the padding, is all zeros."""
        matrix = np.zeros((len(self) + 1, self.feature_width), dtype=np.float32)
        rows = np.repeat(np.arange(1, len(self) + 1), np.diff(self.feature_offsets))
        matrix[rows, self.feature_codes] = 1.0
        return matrix


@dataclass(frozen=True)
class Users:
    """The kept users; position i holds user id i + 1."""

    source_ids: tuple[str, ...]
    num_events: Int64  # [U]
    user_features: Int32  # [U, F]

    def __len__(self) -> int:
        return len(self.source_ids)


@dataclass(frozen=True)
class Histories:
    """Every kept user's latest events, and all items they ever saw; ordered by user id."""

    user_ids: Int32  # [U]
    user_features: Int32  # [U, F]
    item_ids: Int32  # [U, L]
    ratings: Float32  # [U, L]
    seen_ids: Int32  # concatenated over users, ascending within each
    seen_offsets: Int64  # [U + 1]

    def __len__(self) -> int:
        return len(self.user_ids)

    def seen(self, index: int) -> Int32:
        """All item ids of the user at position `index`, ascending."""
        return self.seen_ids[self.seen_offsets[index] : self.seen_offsets[index + 1]]
