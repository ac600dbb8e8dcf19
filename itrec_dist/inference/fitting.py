"""Checks that shards fit a loaded model, and translates their ids into the model's.

Ids are positions: of items by popularity, of users by name. One more event can change them all, so
items and users are matched by their source ids, and everything read here has the model's ids.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from itrec_dist.data import manifest as manifests
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import PAD
from itrec_dist.data.shards import fetch, reader
from itrec_dist.data.shards.arrays import Histories, HistoryRows, Int32, Ragged, Windows
from itrec_dist.data.shards.splits import BlockReader, read_history_split, read_split
from itrec_dist.errors import ItrecError, ShardsError
from itrec_dist.inference.load import Restored
from itrec_dist.models.rating_model import RatingModel
from itrec_dist.storage.uri import Uri


@dataclass(frozen=True)
class FittingShards:
    """Shards that fit a model, read with the model's ids."""

    path: Path
    manifest: Manifest
    item_ids: Int32 | None
    """[V]: the model's id of each item id of the shards; None if they are the same."""
    user_ids: Int32 | None
    """[U + 1]: the same for users; PAD for a user that the model does not know."""
    event_features: tuple[tuple[int, Int32], ...] = ()
    """For each of the model's columns of events, its place in the shards and the model's code of
    each code there."""

    def split(self, split: str, blocks: BlockReader, *, times: bool) -> Windows:
        """The windows of a split; see `read_split`."""
        windows = read_split(self.path, self.manifest, split, blocks, times=times)
        return replace(
            windows,
            item_ids=_translated(self.item_ids, windows.item_ids),
            target_ids=_translated(self.item_ids, windows.target_ids),
            user_ids=_translated(self.user_ids, windows.user_ids),
        )

    def history_split(self, split: str, blocks: BlockReader) -> HistoryRows:
        """The histories of a split; see `read_history_split`."""
        rows = read_history_split(self.path, self.manifest, split, blocks)

        def items(ragged: Ragged) -> Ragged:
            return Ragged(_translated(self.item_ids, ragged.values), ragged.offsets)

        return replace(
            rows,
            item_ids=items(rows.item_ids),
            seen_ids=items(rows.seen_ids),
            target_ids=items(rows.target_ids),
            user_ids=_translated(self.user_ids, rows.user_ids),
            event_features=Ragged(self._codes(rows.event_features.values), rows.item_ids.offsets),
        )

    def histories(self) -> Histories:
        """Every user's latest events; row i is still user i + 1 of the shards."""
        return self._fitted(reader.read_histories(self.path, self.manifest))

    def pieces(self, users: int) -> Iterator[tuple[tuple[str, ...], Histories]]:
        """The same of so many users at a time, with their source ids; see `history_pieces`."""
        for source_ids, histories in reader.history_pieces(self.path, self.manifest, users):
            yield source_ids, self._fitted(histories)

    def _fitted(self, histories: Histories) -> Histories:
        return replace(
            histories,
            item_ids=_translated(self.item_ids, histories.item_ids),
            seen_ids=_translated(self.item_ids, histories.seen_ids),
            user_ids=_translated(self.user_ids, histories.user_ids),
            event_features=self._codes(histories.event_features),
        )

    def _codes(self, theirs: Int32) -> Int32:
        """The model's codes of features of events, [..., G]."""
        codes = [ids[theirs[..., place]] for place, ids in self.event_features]
        shape = (*theirs.shape[:-1], len(codes))
        return np.stack(codes, axis=-1) if codes else np.zeros(shape, dtype=np.int32)


def _put(name: str, manifest: Manifest) -> str:
    """A property of shards in words."""
    value = getattr(manifest, name)
    return ("ratings" if value else "no ratings") if name == "has_ratings" else f"{name} {value}"


def fit(restored: Restored, shards: Path) -> FittingShards:
    """Match the items and users of `shards` with the model's.

    Raises:
        ShardsError: items, window lengths or user features differ; or the model has user ids, and
            the shards that say whose they are have changed or are gone.
    """
    other, mine = manifests.read(shards), restored.manifest
    item_ids = _items(restored, shards, other)
    names = ["input_length", "target_length", "has_ratings"]
    if {m.settings.get("target_length", 0) for m in (other, mine)} == {None}:
        names.remove("target_length")  # as many as there are
    for name in names:
        if getattr(other, name) != getattr(mine, name):
            raise ShardsError(
                f"{shards} has {_put(name, other)}, and the model was trained with "
                f"{_put(name, mine)}: window it with the same settings"
            )
    _refuse_other_features(shards, other, mine)
    users = _users(restored, shards, other)
    return FittingShards(shards, other, item_ids, users, _event_features(shards, other, mine))


def needs_users(restored: Restored) -> bool:
    """Whether the model knows something of users besides their events."""
    is_by_id = isinstance(restored.task.model, RatingModel)
    return is_by_id or bool(restored.manifest.user_features)


def known_users(restored: Restored, shards: Path) -> dict[str, tuple[int, Int32]]:
    """The users of `shards` by source id: the model's id, PAD if it has none, and their features.

    Raises:
        ShardsError: features differ from the model's, or see `fit`.
    """
    other = manifests.read(shards)
    _refuse_other_features(shards, other, restored.manifest)
    users, ids = reader.read_users(shards, other), _users(restored, shards, other)
    own = np.arange(1, len(users) + 1, dtype=np.int32) if ids is None else ids[1:]
    rows = zip(own.tolist(), users.user_features, strict=True)
    return dict(zip(users.source_ids, rows, strict=True))


def _refuse_other_features(shards: Path, other: Manifest, mine: Manifest) -> None:
    if other.user_features != mine.user_features:
        raise ShardsError(
            f"{shards} has the user features {_named(other)}, the model was trained with "
            f"{_named(mine)}; features and values must be the same, in the same order: window it "
            "from the same users"
        )


def _event_features(shards: Path, other: Manifest, mine: Manifest) -> tuple[tuple[int, Int32], ...]:
    """Match the columns of events by name, and their values.

    Raises:
        ShardsError: a column is not there, or its ranges are others.
    """
    places = {feature.name: place for place, feature in enumerate(other.event_features)}
    found = []
    for feature in mine.event_features:
        if feature.name not in places:
            raise ShardsError(
                f"{shards} has no column {feature.name!r} of events, which the model's data has: "
                "window it with the same --event_features and --event_numbers"
            )
        codes = feature.translation(other.event_features[places[feature.name]])
        if codes is None:
            raise ShardsError(
                f"{shards} has other ranges of the column {feature.name!r} of events than the "
                "model was trained with, and its numbers are no longer known: window the data as "
                "before, or serve events with --histories"
            )
        found.append((places[feature.name], codes))
    return tuple(found)


def refuse_wrong_checksum(restored: Restored, shards: Path, place: Uri | Path) -> None:
    """Refuse to evaluate a model on its run's shards if they have been replaced since.

    `place` is the run's own setting `shards`.

    Raises:
        ShardsError: the windows differ; names both fingerprints.
    """
    if difference := _difference(restored, shards, place):
        raise ShardsError(
            f"{difference}, so the model may have been trained on what it would be evaluated on: "
            f"give --shards {place} to evaluate it there anyway, or window the data as before"
        )


def warning(restored: Restored, shards: Path, place: Uri | Path) -> str | None:
    """A clause to warn of if the model was trained on other windows; None otherwise."""
    return _difference(restored, shards, place)


def _difference(restored: Restored, shards: Path, place: Uri | Path) -> str | None:
    given, trained_on = manifests.read(shards).fingerprint, restored.manifest.fingerprint
    if given == trained_on:
        return None
    return (
        f"{place} holds other windows (fingerprint {given[:12]}) than the model was trained on "
        f"({trained_on[:12]})"
    )


def _items(restored: Restored, shards: Path, other: Manifest) -> Int32 | None:
    """The model's ids of the shards' items, which must be the same set."""
    theirs, mine = reader.read_items(shards, other).source_ids, restored.items.source_ids
    if theirs == mine:
        return None
    ids = {source_id: i for i, source_id in enumerate(mine, 1)}
    unknown = [source_id for source_id in theirs if source_id not in ids]
    if unknown or len(theirs) != len(mine):
        lacking = len(mine) - (len(theirs) - len(unknown))
        example = f", such as {unknown[0]!r}" if unknown else ""
        raise ShardsError(
            f"{shards} has another catalogue ({len(theirs):,} items) than the model was trained on "
            f"({len(mine):,}): {len(unknown):,} items are unknown to the model{example}, and "
            f"{lacking:,} of the model's are missing: window events of the same items with the "
            "same top_items, or train again"
        )
    return np.array([PAD, *(ids[source_id] for source_id in theirs)], dtype=np.int32)


def _users(restored: Restored, shards: Path, other: Manifest) -> Int32 | None:
    """The model's ids of the shards' users, if the model has user ids.

    A checkpoint has no user table: the shards that it was trained on say whose the ids are.
    """
    mine = restored.manifest
    if not isinstance(restored.task.model, RatingModel) or other.fingerprint == mine.fingerprint:
        return None
    place = restored.run.shards
    try:
        own = fetch.local(place)
        is_there = manifests.read(own).fingerprint == mine.fingerprint
        known = reader.read_users(own, mine).source_ids if is_there else ()
    except ItrecError:
        is_there, known = False, ()
    if not is_there:
        raise ShardsError(
            f"{shards} may number its users differently than the model, which knows users by "
            f"number, and {place} no longer holds the windows it was trained on (fingerprint "
            f"{mine.fingerprint[:12]}), which say whose the numbers are: window the data as "
            "before, or train again"
        )
    ids = {source_id: i for i, source_id in enumerate(known, 1)}
    theirs = reader.read_users(shards, other).source_ids
    return np.array([PAD, *(ids.get(source_id, PAD) for source_id in theirs)], dtype=np.int32)


def _translated(ids: Int32 | None, given: Int32) -> Int32:
    return given if ids is None else ids[given]


def _named(manifest: Manifest) -> str:
    """User features in a few words: gender (2 values), age (7 values)."""
    features = manifest.user_features
    return ", ".join(f"{f.name} ({len(f.values)} values)" for f in features) or "none"
