"""Shards that a restored model is asked to score: do they fit, and which ids are whose.

Ids are positions: of items by popularity, of users by name. One more event can change them all, so
items and users are matched by the source's own ids, and everything read here has the model's ids.
"""

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
    """Shards that a model can score, read with the model's ids."""

    path: Path
    manifest: Manifest
    item_ids: Int32 | None
    """[V]: the model's id of each item id of the shards; None where they are the same."""
    user_ids: Int32 | None
    """[U + 1]: likewise of users; PAD for a user that the model does not know."""

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
        )

    def histories(self) -> Histories:
        """Every kept user's latest events; row i is still user i + 1 of the shards."""
        histories = reader.read_histories(self.path, self.manifest)
        return replace(
            histories,
            item_ids=_translated(self.item_ids, histories.item_ids),
            seen_ids=_translated(self.item_ids, histories.seen_ids),
            user_ids=_translated(self.user_ids, histories.user_ids),
        )


def fit(restored: Restored, shards: Path) -> FittingShards:
    """Match the items and users of `shards` with the model's.

    Raises:
        ShardsError: other items, other window lengths or other user features; or the model knows
            users and nothing says any more which ones.
    """
    other, mine = manifests.read(shards), restored.manifest
    item_ids = _items(restored, shards, other)
    for name in ("input_length", "target_length", "has_ratings"):
        if getattr(other, name) != getattr(mine, name):
            raise ShardsError(
                f"{shards} has {name}={getattr(other, name)}, the model was trained with "
                f"{getattr(mine, name)}: window it with the same settings"
            )
    if other.user_features != mine.user_features:
        raise ShardsError(
            f"{shards} has the user features {_named(other)}, the model was trained with "
            f"{_named(mine)}, and their values must be the same ones in the same order: window it "
            "from the same users"
        )
    return FittingShards(shards, other, item_ids, _users(restored, shards, other))


def refuse_other(restored: Restored, shards: Path, place: Uri | Path) -> None:
    """Refuse to judge a model on windows that stand where those of its training stood.

    Raises:
        ShardsError: names both fingerprints; `place` is what the run calls `shards`.
    """
    if told := _told_other(restored, shards, place):
        raise ShardsError(
            f"{told}, so that the model may have been trained on what it would be judged on: give "
            f"--shards {place} to judge it there all the same, or window the data as it was"
        )


def warning(restored: Restored, shards: Path, place: Uri | Path) -> str | None:
    """A line that says that the model was trained on other windows; None if it was not."""
    told = _told_other(restored, shards, place)
    return f"warning: {told}" if told else None


def _told_other(restored: Restored, shards: Path, place: Uri | Path) -> str | None:
    found, trained_on = manifests.read(shards).fingerprint, restored.manifest.fingerprint
    if found == trained_on:
        return None
    return (
        f"{place} holds other windows (fingerprint {found[:12]}) than the model was trained on "
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
            f"{lacking:,} of the model's are missing: window ratings of the same items with the "
            "same top_items, or train anew"
        )
    return np.array([PAD, *(ids[source_id] for source_id in theirs)], dtype=np.int32)


def _users(restored: Restored, shards: Path, other: Manifest) -> Int32 | None:
    """The model's ids of the shards' users, where the model knows users.

    The shards of its training say who they are: a checkpoint has no table of users.
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
            f"{shards} may number its users in another way than the model, which learned users by "
            f"their numbers, and {place} no longer holds the windows of its training (fingerprint "
            f"{mine.fingerprint[:12]}), which say whose they are: window the data as it was, or "
            "train anew"
        )
    ids = {source_id: i for i, source_id in enumerate(known, 1)}
    theirs = reader.read_users(shards, other).source_ids
    return np.array([PAD, *(ids.get(source_id, PAD) for source_id in theirs)], dtype=np.int32)


def _translated(ids: Int32 | None, given: Int32) -> Int32:
    return given if ids is None else ids[given]


def _named(manifest: Manifest) -> str:
    """User features in a few words: gender (2 values), age (7 values)."""
    features = manifest.user_features
    return ", ".join(f"{f.name} ({len(f.values)} values)" for f in features) or "none at all"
