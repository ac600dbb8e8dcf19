"""Training rows of either kind as sequences of events, for methods that count instead of stepping.

A sequence is what one user did, oldest first and without padding: the inputs and targets of a
window, or a whole training history, put together again from the rows that it was cut into.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from itrec_dist.data.schema import PAD
from itrec_dist.data.shards.arrays import HistoryRows, Int32, Int64, Ragged, Windows


@dataclass(frozen=True)
class Sequences:
    """Sequences of training events, and the targets among them."""

    user_ids: Int32
    """[R]: whose sequence it is; those of a user stand together where they are histories."""
    item_ids: Ragged
    """[R] lists."""
    target_ids: Int32
    """[N, K]: targets that are predicted together: those of a window, or one event of a history."""
    target_times: Int64
    """[N]: the time of the first of them."""
    is_counted: npt.NDArray[np.bool_] | None = None
    """Which of the events are learned from, as targets, where not all of them are; the others only
    say what came before."""

    @classmethod
    def of(cls, rows: Windows | HistoryRows) -> Sequences:
        """The sequences of training rows in canonical order."""
        return _of_histories(rows) if isinstance(rows, HistoryRows) else _of_windows(rows)

    def counted(self, later: Int64) -> npt.NDArray[np.bool_] | slice:
        """Which of these events are learned from, as an index of them."""
        return slice(None) if self.is_counted is None else self.is_counted[later]

    def interactions(self, num_items: int) -> sparse.csr_array:
        """1 where a user has an item, float64 [users that have a sequence, V]."""
        _, places = np.unique(self.user_ids, return_inverse=True)
        users, ids = np.repeat(places, self.item_ids.lengths), self.item_ids.values
        learned = self.counted(np.arange(len(ids)))
        users, ids = users[learned], ids[learned]
        shape = (int(places.max(initial=-1)) + 1, num_items + 1)
        counts = sparse.csr_array(
            (np.ones(len(users)), (users, ids)), shape=shape
        )  # which adds up repeats
        counts.data[:] = 1
        return counts

    def pairs(self) -> Iterator[tuple[int, Int64, Int64]]:
        """All pairs of an event and a later one of its sequence, by the distance between them.

        Yields the distance, and the places of the earlier and the later event in
        `item_ids.values`, of every pair at that distance.
        """
        lengths, offsets = self.item_ids.lengths, self.item_ids.offsets
        later = np.arange(len(self.item_ids.values))
        number = later - np.repeat(offsets[:-1], lengths)
        for distance in range(1, int(lengths.max(initial=0))):
            is_later = number >= distance
            later, number = later[is_later], number[is_later]
            yield distance, later - distance, later

    def next_of_item(self) -> Int64:
        """How many events later the same item follows in the sequence; the largest int64 if not.

        One number per event, in the order of `item_ids.values`.
        """
        ids, lengths = self.item_ids.values, self.item_ids.lengths
        number = np.repeat(np.arange(len(lengths)), lengths)
        order = np.lexsort((ids, number))  # which keeps the events of an item in order
        is_same = (np.diff(ids[order]) == 0) & (np.diff(number[order]) == 0)
        distances = np.full(len(ids), np.iinfo(np.int64).max)
        distances[order[:-1][is_same]] = np.diff(order)[is_same]
        return distances


def _of_windows(windows: Windows) -> Sequences:
    events_BM = np.concatenate([windows.item_ids, windows.target_ids], axis=1)
    is_event_BM = events_BM != PAD
    return Sequences(
        user_ids=windows.user_ids,
        item_ids=Ragged(events_BM[is_event_BM], _offsets(is_event_BM.sum(axis=1))),
        target_ids=windows.target_ids,
        target_times=windows.target_time,
    )


def _of_histories(rows: HistoryRows) -> Sequences:
    """Rows of a user follow one another; each event but the first is a target of one of them."""
    lengths = rows.item_ids.lengths
    number = np.arange(lengths.sum()) - np.repeat(rows.item_ids.offsets[:-1], lengths)
    is_after = number >= np.repeat(rows.num_context, lengths)
    is_first_row = np.diff(rows.user_ids, prepend=PAD) != 0
    is_new = is_after | np.repeat(is_first_row, lengths)
    is_target, chooses = rows.is_learned, rows.chooses_targets.any()
    (starts,) = is_first_row.nonzero()
    new_lengths = np.add.reduceat(is_new, rows.item_ids.offsets[:-1], dtype=np.int64)
    return Sequences(
        user_ids=rows.user_ids[is_first_row],
        item_ids=Ragged(
            rows.item_ids.values[is_new], _offsets(np.add.reduceat(new_lengths, starts))
        ),
        target_ids=rows.item_ids.values[is_target][:, None],
        target_times=rows.times.values[is_target],
        is_counted=is_target[is_new] if chooses else None,
    )


def _offsets(lengths: npt.NDArray[np.int64]) -> Int64:
    return np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
