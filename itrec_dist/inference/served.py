"""Whom to recommend to: users of some shards, those of a table of events, or lists of items.

All of them become `Histories` in the model's ids: the newest events that a model is shown, padded
on the left, and every item seen. So equal events give equal recommendations, wherever they came
from.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from itrec_dist.data.event_features import MISSING
from itrec_dist.data.schema import PAD
from itrec_dist.data.shards import fetch, reader
from itrec_dist.data.shards.arrays import Float32, Histories, Int32, Int64
from itrec_dist.errors import DataError
from itrec_dist.inference.fitting import fit, known_users, needs_users
from itrec_dist.inference.load import Restored
from itrec_dist.storage.uri import Uri

if TYPE_CHECKING:
    from itrec_dist.data.doors.files import Place
    from itrec_dist.data.manifest import Manifest
    from itrec_dist.data.new_events import Events

NOBODY = ""
"""The user of a list of items."""

_USER = "user"


@dataclass(frozen=True)
class Served:
    """Users and their histories in the model's ids; row i is user i."""

    users: tuple[str, ...]
    histories: Histories
    unknown_events: int = 0
    """Events that were skipped: the model does not know their items."""
    unknown_items: int = 0
    """Those items."""
    lacking: tuple[str, ...] = ()
    """Columns of events that the model is told and that are not there."""
    has_times: bool = True
    """Whether it is known when the events happened, which lists of items do not say."""

    def of(self, users: Sequence[str]) -> Served:
        """Some of the users, in the order given.

        Raises:
            DataError: there is no such user.
        """
        rows = {user: row for row, user in enumerate(self.users)}
        if unknown := [user for user in users if user not in rows]:
            raise DataError(
                f"there is no user {unknown[0]!r} in the shards ({len(unknown):,} of "
                f"{len(users):,} are unknown): give source ids such as {self.users[0]}, or the "
                "histories of new users"
            )
        chosen = np.array([rows[user] for user in users], dtype=np.int64)
        return replace(self, users=tuple(users), histories=self.histories.take(chosen))

    def at(self, time: int) -> Served:
        """The same users, with all events of one time, in the unit of the model's data."""
        is_event_UL = self.histories.item_ids != PAD
        times_UL = np.where(is_event_UL, time, 0).astype(self.histories.times.dtype)
        return replace(self, histories=replace(self.histories, times=times_UL), has_times=True)

    def as_table(self, manifest: Manifest) -> pa.Table:
        """Users and histories as a table; `manifest` is that of the model's data."""
        table = reader.histories_to_table(self.histories, manifest)
        return table.add_column(0, _USER, pa.array(self.users, pa.string()))

    @staticmethod
    def of_table(table: pa.Table, manifest: Manifest) -> Served:
        """Users and histories that `as_table` made a table."""
        users = tuple(table[_USER].to_pylist())
        return Served(users, reader.table_to_histories(table, manifest, "the histories"))


def from_shards(restored: Restored, shards: Path) -> Served:
    """Every kept user of `shards`.

    Raises:
        ShardsError: `shards` does not fit the model; see `fitting.fit`.
    """
    fitting = fit(restored, shards)
    users = reader.read_users(shards, fitting.manifest)
    return Served(users.source_ids, fitting.histories())


def from_events(restored: Restored, path: Place, place: Uri | Path) -> Served:
    """The users of a file or table of events, which holds their whole histories.

    Users are met by their source id in the shards at `place`, if the model knows more of users than
    their events; a user who is not there has unknown features.

    Raises:
        DataError: the file cannot be read, or the model knows none of its items.
        ShardsError: the shards are needed and do not fit the model.
    """
    from itrec_dist.data import new_events  # which imports DuckDB, and who serves shards needs none

    events = new_events.read_events(path, restored.manifest)
    reading = EventReader(restored, place)
    served = reading.served(events)
    reading.refuse_strangers(path)
    return replace(served, unknown_items=len(reading.unknown))


class EventReader:
    """Turns events into histories in the model's ids, and counts what the model does not know."""

    def __init__(self, restored: Restored, place: Uri | Path) -> None:
        """Meet the users in the shards at `place`, if the model knows more than their events.

        Raises:
            ShardsError: the shards are needed and do not fit the model.
        """
        self._restored = restored
        self._item_ids = _ids_of(restored)
        self._known = known_users(restored, fetch.local(place)) if needs_users(restored) else {}
        self.unknown: set[str] = set()
        """The items met that the model does not know."""
        self._is_any_known = False

    def served(self, events: Events) -> Served:
        """The users of some events; `unknown_items` counts only the items of these."""
        restored = self._restored
        stranger = PAD, np.zeros(len(restored.manifest.user_features), dtype=np.int32)
        found = [self._known.get(user, stranger) for user in events.users]
        item_ids = _ids(self._item_ids, events.items)
        owner = np.repeat(np.arange(len(events.users)), np.diff(events.offsets))
        is_known = item_ids != PAD
        histories = _histories(
            _Events(owner, item_ids, events.ratings, events.times, events.features).where(is_known),
            np.array([user_id for user_id, _ in found], dtype=np.int32),
            np.stack([features for _, features in found]),
            restored.manifest.input_length,
        )
        missed = {item for item, is_there in zip(events.items, is_known, strict=True)
                  if not is_there}  # fmt: skip
        self.unknown |= missed
        self._is_any_known |= bool(is_known.any())
        lacking = tuple(n for n in events.lacking if n in restored.run.model.event_features)
        return Served(events.users, histories, int((~is_known).sum()), len(missed), lacking)

    def refuse_strangers(self, path: Place) -> None:
        """Refuse events, now that all were met, of whose items the model knows none.

        Raises:
            DataError: it is so.
        """
        if not self._is_any_known:
            raise DataError(
                f"the model knows none of the {len(self.unknown):,} items in {path}, such as "
                f"{min(self.unknown)!r}: give events of the items that it was trained on"
            )


def from_items(restored: Restored, given: tuple[str, ...]) -> Served:
    """One history of these items, oldest first, with ratings at the mean and of one moment.

    Features of its events are missing.

    Raises:
        DataError: the model knows none of them.
    """
    return from_lists(restored, (NOBODY,), [given])


def from_lists(restored: Restored, users: Sequence[str], lists: Sequence[Sequence[str]]) -> Served:
    """A history of items for each user, oldest first, with ratings at the mean and of one moment.

    Raises:
        DataError: the model knows none of the items, or there is no history.
    """
    given = tuple(itertools.chain.from_iterable(lists))
    item_ids = _ids(_ids_of(restored), given)
    if not given:
        raise DataError(
            f"the histories name no item: give source ids such as {restored.items.source_ids[0]}"
        )
    if not item_ids.any():
        some = f"{', '.join(given[:3])}{' ...' if len(given) > 3 else ''}"
        raise DataError(
            f"the model knows none of the items {some}: give source ids such as "
            f"{restored.items.source_ids[0]}"
        )
    is_known = item_ids != PAD
    owner = np.repeat(np.arange(len(lists)), [len(items) for items in lists])[is_known]
    count = len(owner)
    ratings = np.full(count, restored.manifest.rating_mean, dtype=np.float32)
    features = np.zeros((len(lists), len(restored.manifest.user_features)), dtype=np.int32)
    nothing = np.full((count, len(restored.manifest.event_features)), MISSING, dtype=np.int32)
    histories = _histories(
        _Events(owner, item_ids[is_known], ratings, np.zeros(count, dtype=np.int64), nothing),
        np.full(len(lists), PAD, dtype=np.int32), features, restored.manifest.input_length,
    )  # fmt: skip
    unknown = {item for item, is_there in zip(given, is_known, strict=True) if not is_there}
    skipped = len(given) - count
    return Served(tuple(users), histories, skipped, len(unknown), has_times=False)


@dataclass(frozen=True)
class _Events:
    """Events of several users, one user after the other, each user's oldest first."""

    owner: Int64
    """The row of the user."""
    item_ids: Int32
    ratings: Float32
    times: Int64
    features: Int32
    """[N, G]"""

    def where(self, is_chosen: npt.NDArray[np.bool_]) -> _Events:
        """Some of them."""
        return _Events(*(column[is_chosen] for column in vars(self).values()))


def _histories(events: _Events, user_ids: Int32, user_features: Int32, length: int) -> Histories:
    """Histories as windowing writes them."""
    count = len(user_ids)
    sizes = np.bincount(events.owner, minlength=count)
    ends = sizes.cumsum()
    left = ends[events.owner] - np.arange(len(events.owner))  # 1 is the newest event
    is_shown = left <= length
    at = events.owner[is_shown], length - left[is_shown]

    def newest(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        filled_UL = np.zeros((count, length, *column.shape[1:]), dtype=column.dtype)
        filled_UL[at] = column[is_shown]
        return filled_UL

    pairs = np.unique(events.owner.astype(np.int64) << 32 | events.item_ids)  # by user, then item
    seen = np.bincount(pairs >> 32, minlength=count).cumsum()
    return Histories(
        user_ids=user_ids, user_features=user_features, item_ids=newest(events.item_ids),
        ratings=newest(events.ratings), times=newest(events.times),
        seen_ids=(pairs & 0xFFFFFFFF).astype(np.int32), seen_offsets=np.concatenate([[0], seen]),
        event_features=newest(events.features),
    )  # fmt: skip


def _ids_of(restored: Restored) -> dict[str, int]:
    """The model's ids of items by their source ids."""
    return {source_id: i for i, source_id in enumerate(restored.items.source_ids, 1)}


def _ids(ids: dict[str, int], source_ids: tuple[str, ...]) -> Int32:
    """The model's ids of items, PAD where it does not know them."""
    return np.array([ids.get(item, PAD) for item in source_ids], dtype=np.int32)
