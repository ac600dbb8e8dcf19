"""The ordered events of a block of users, as arrays, and lists that are cut from them.

SQL would make lists for every event, or sort within lists what is in order already; here they are
copied once. Memory is bounded by a block and by the cells of the rows that are gathered at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from itrec_dist.data.database import Database

EVENTS_PER_BLOCK = 524_288
CELLS_AT_ONCE = 2_097_152

Int = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Events:
    """E consecutive events of whole users, in order."""

    users: npt.NDArray[np.int32]
    """(U,) their ids, ascending."""
    first: Int
    """(U,) where the events of each begin."""
    items: npt.NDArray[np.int32]
    ratings: npt.NDArray[np.float32]
    times: Int

    @classmethod
    def of(cls, rows: pa.Table) -> "Events":
        """From the rows of sql/shared/user_events.sql, sorted unless they are in order."""
        if not _are_ordered(rows):
            rows = rows.sort_by([("user_id", "ascending"), ("place", "ascending")])
        users = rows["user_id"].to_numpy()
        first = np.flatnonzero(np.diff(users, prepend=-1))
        return cls(
            users=users[first],
            first=first,
            items=rows["item_id"].to_numpy(),
            ratings=rows["rating"].to_numpy().astype(np.float32, copy=False),
            times=rows["event_time"].to_numpy(),
        )

    def first_of(self, users: npt.NDArray[np.int32]) -> Int:
        """Where the events of the given users begin."""
        return np.asarray(self.first[np.searchsorted(self.users, users)])


def _are_ordered(rows: pa.Table) -> bool:
    user, place = (np.diff(rows[name].to_numpy()) for name in ("user_id", "place"))
    return bool(np.all((user > 0) | ((user == 0) & (place > 0))))


def latest(database: Database, length: int) -> Iterator[pa.RecordBatch]:
    """The input of recommendations, from `sequences` and `users`: a row per user, by user_id.

    The lists of the latest events are oldest first, left-padded with 0 to the length; seen_ids are
    the distinct items of all events of the user, ascending.
    """
    for block in database.rows("shared/user_blocks", events_per_block=EVENTS_PER_BLOCK):
        events = Events.of(database.arrow("shared/user_events", **block))
        users = database.arrow("shared/user_features", **block)
        assert np.array_equal(events.users, users["user_id"].to_numpy()), "not the same users"
        ends = np.append(events.first[1:], len(events.items))
        step = max(1, CELLS_AT_ONCE // length)
        for begin in range(0, len(users), step):
            part = slice(begin, begin + step)
            rows = _latest(events, events.first[part], ends[part], length)
            of_part = users.slice(begin, step)
            for name, column in rows.items():
                of_part = of_part.append_column(name, column)
            yield from of_part.combine_chunks().to_batches()


def _latest(events: Events, first: Int, ends: Int, length: int) -> dict[str, pa.Array]:
    at = ends[:, None] + np.arange(-length, 0)
    is_padding = at < first[:, None]
    at[is_padding] = 0

    def padded(values: npt.NDArray[np.generic]) -> pa.ListArray:
        found = values[at]
        found[is_padding] = 0
        return equal_lists(found)

    return {
        "item_ids": padded(events.items),
        "ratings": padded(events.ratings),
        "times": padded(events.times),
        "seen_ids": _distinct(events.items[first[0] : ends[-1]], ends - first),
    }


def _distinct(items: npt.NDArray[np.int32], length: Int) -> pa.ListArray:
    """The distinct items, ascending, of users whose events follow one another."""
    key = _by_user(np.repeat(np.arange(len(length)), length), items)
    key.sort()
    key = key[np.diff(key, prepend=-1) != 0]
    counts = np.bincount(key >> 32, minlength=len(length))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array((key & 0xFFFFFFFF).astype(np.int32)))


def _by_user(user: Int, items: npt.NDArray[np.int32]) -> Int:
    """One number for both, to sort by: ids of items are not negative."""
    return (user << 32) | items


def equal_lists(values: npt.NDArray[np.generic]) -> pa.ListArray:
    """(N, W) values as N lists."""
    count, width = values.shape
    offsets = pa.array(np.arange(0, (count + 1) * width, width or 1, dtype=np.int32)[: count + 1])
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))


def ragged(first: Int, length: Int) -> tuple[pa.Array, Int]:
    """Offsets of lists with the given lengths, and where each value of them stands."""
    offsets = np.concatenate([[0], np.cumsum(length)])
    index = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], length)
    return pa.array(offsets, pa.int32()), index


def seen(events: Events, first: Int, end: Int) -> pa.ListArray:
    """The distinct items, ascending, of the first `end` events of the users that begin at `first`.

    Only the users with any such events are sorted.
    """
    judged = np.flatnonzero(end > 0)
    wanted, of_row = np.unique(first[judged], return_inverse=True)
    ends = np.append(events.first, len(events.items))
    length = ends[np.searchsorted(events.first, wanted) + 1] - wanted
    _, index = ragged(wanted, length)
    user = np.repeat(np.arange(len(wanted)), length)
    # Stable: a user's earliest event of an item stands first.
    order = np.argsort(_by_user(user, events.items[index]), kind="stable")
    place = (index - wanted[user])[order]
    item, user = events.items[index][order], user[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (np.diff(item) != 0) | (np.diff(user) != 0)
    item, user, place = item[is_new], user[is_new], place[is_new]
    begins = np.searchsorted(user, np.arange(len(wanted) + 1))
    length = np.diff(begins)[of_row]
    _, index = ragged(begins[of_row], length)
    row = np.repeat(judged, length)
    is_before = place[index] < end[row]
    counts = np.bincount(row[is_before], minlength=len(first))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(item[index][is_before], pa.int32()))
