"""Gathers the lists of windows and histories from ordered events, a block of users at a time.

SQL says where a row stands: `targets`. Its lists are slices of the events of a user, which DuckDB
would make for every event, or by copying whole histories; here they are copied once. Memory is
bounded by a block and by the cells of the rows that are gathered at once, however long the
histories of some users are.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from itrec_dist.data import schema
from itrec_dist.data.database import Database
from itrec_dist.data.windowing import user_events
from itrec_dist.data.windowing.user_events import Events, Int, equal_lists, ragged, seen

FOLDER = "next_items/framing"
_EVENTS_SORTED_AT_ONCE = 2_097_152


def rank(database: Database, folder: str, top_items: int | None) -> None:
    """Fill `catalogue` from `events` and `counted` by the SQL of a folder."""
    database.table("item_counts", f"{folder}/item_counts")
    database.table("catalogue", f"{folder}/catalogue", top_items=top_items)


def keep(database: Database, min_user_events: int) -> None:
    """Fill `kept_users` and `sequences` from `events`, `catalogue` and `counted`.

    `catalogue_users` and `sequence_items` say how much there is.
    """
    database.table("catalogue_users", "next_items/catalogue_users")
    database.table("kept_users", "next_items/kept_users", min_user_events=min_user_events)
    database.fill("sequences", ("events", "catalogue", "kept_users"), order)
    database.table("sequence_items", "next_items/sequence_items")


def order(database: Database) -> None:
    """Fill `sequences` from `events`, `catalogue` and `kept_users`, in the order of user and place.

    Some users at a time, so that what is sorted stays in memory.
    """
    database.drop("sequences")
    blocks = database.rows("shared/user_blocks", events_per_block=_EVENTS_SORTED_AT_ONCE)
    for block in blocks or [{"first_user": 1, "last_user": 0}]:  # an empty table of no users
        database.extend("sequences", "next_items/sequences", **block)


READS = ("sequences", "targets", "kept_users", "users")
"""What `windows` and `histories` read."""


def windows(database: Database, input_length: int, target_length: int) -> None:
    """Fill `windows` from `sequences`, `targets` and `users`, in the order of window_id.

    One row per window: its input_length items, oldest first, left-padded with 0 where fewer events
    precede the targets, their ratings and times, and the target_length items that follow.
    """

    def framed(events: Events, rows: pa.Table) -> pa.Table:
        place = rows["target_place"].to_numpy()
        at = events.first_of(rows["user_id"].to_numpy()) + place
        before = np.arange(-input_length, 0)
        is_padding = before < -place[:, None].astype(np.int64)
        inputs = np.where(is_padding, 0, at[:, None] + before)
        targets = at[:, None] + np.arange(target_length)

        def padded(values: npt.NDArray[np.generic]) -> pa.ListArray:
            found = values[inputs]
            found[is_padding] = 0
            return equal_lists(found)

        return _with_lists(
            rows,
            item_ids=padded(events.items),
            ratings=padded(events.ratings),
            times=padded(events.times),
            target_ids=equal_lists(events.items[targets]),
            target_ratings=equal_lists(events.ratings[targets]),
            target_time=pa.array(events.times[at]),
        )

    width = input_length + target_length
    _fill(database, "windows", lambda rows: np.full(len(rows), width), framed)


def histories(database: Database) -> None:
    """Fill `windows` from `sequences`, `targets` and `users`, in the order of window_id.

    One row per chunk of a training history, whose events include its targets, and one per judged
    user and split, whose events do not; oldest first. seen_ids are the distinct items of all events
    before the targets of a judged row, ascending.
    """

    def cells(rows: pa.Table) -> Int:
        start = np.where(_is_judged(rows), 0, rows["start_place"].to_numpy())
        return np.asarray(rows["end_target"].to_numpy() - start + 1, dtype=np.int64)

    def framed(events: Events, rows: pa.Table) -> pa.Table:
        first = events.first_of(rows["user_id"].to_numpy())
        start, target, end = (
            rows[name].to_numpy().astype(np.int64)
            for name in ("start_place", "first_target", "end_target")
        )
        is_judged = _is_judged(rows)
        last = np.where(is_judged, target, end)
        lists = {}
        columns: tuple[npt.NDArray[Any], ...] = (events.items, events.ratings, events.times)
        for begin, stop, names in (
            (start, last, ("item_ids", "ratings", "times")),
            (target, end, ("target_ids", "target_ratings", "target_times")),
        ):
            offsets, index = ragged(first + begin, stop - begin)
            for name, values in zip(names, columns, strict=True):
                lists[name] = pa.ListArray.from_arrays(offsets, pa.array(values[index]))
        return _with_lists(
            rows,
            num_context=pa.array((target - start).astype(np.int32)),
            **lists,
            seen_ids=seen(events, first, np.where(is_judged, target, 0)),
        )

    _fill(database, "histories", cells, framed)


def _fill(
    database: Database,
    name: str,
    cells: Callable[[pa.Table], Int],
    framed: Callable[[Events, pa.Table], pa.Table],
) -> None:
    """Frame the rows of sql/next_items/framing/NAME.sql, block by block."""
    database.drop("windows")
    for block in database.rows("shared/user_blocks", events_per_block=user_events.EVENTS_PER_BLOCK):
        found = database.arrow("shared/user_events", **block)
        events = Events.of(found)
        place = found["place"].to_numpy()
        assert np.all((np.diff(place) == 1) | (place[1:] == 0)), "sequences is not in order"
        rows = database.arrow(f"{FOLDER}/{name}", **block)
        for part in _parts(rows, cells(rows)):
            database.append("windows", framed(events, part))


def _parts(rows: pa.Table, cells: Int) -> Iterator[pa.Table]:
    """The rows in runs of about CELLS_AT_ONCE cells; at least one run."""
    part = (np.cumsum(cells) - cells) // user_events.CELLS_AT_ONCE
    cuts = np.flatnonzero(np.diff(part)) + 1
    bounds = [0, *cuts.tolist(), len(rows)]
    for begin, end in itertools.pairwise(bounds):
        yield rows.slice(begin, end - begin)


def _with_lists(rows: pa.Table, **columns: pa.Array) -> pa.Table:
    """The rows with these columns in place of their positions."""
    kept = rows.select(["window_id", "split", "user_id", "user_features"])
    for name, column in columns.items():
        kept = kept.append_column(name, column)
    return kept


def _is_judged(rows: pa.Table) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.not_equal(rows["split"], schema.TRAIN).to_numpy())
