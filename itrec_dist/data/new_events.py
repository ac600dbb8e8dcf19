"""Reads events to be served, and lists of items, in the source's ids.

The columns are those that windowing was given, and events are ordered as windowing orders them:
by time, and of equal times in the order of the file.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from itrec_dist.data.database import Database
from itrec_dist.data.doors.files import SUFFIXES, Place, found
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards.arrays import Float32, Int32, Int64
from itrec_dist.data.source_files import SourceColumn
from itrec_dist.data.sources import staging
from itrec_dist.data.sources.opening import Door, Opened, opened
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import DataError

_TEXT = ".txt"
_REMEDY = "name them as in the table that the model's data was windowed from"


@dataclass(frozen=True)
class Events:
    """The events of users, one user after the other, each user's oldest first."""

    users: tuple[str, ...]
    offsets: Int64
    """[U + 1]: the events of user i are those from offsets[i] to offsets[i + 1]."""
    items: tuple[str, ...]
    """Of each event, the item's source id."""
    times: Int64
    ratings: Float32
    features: Int32
    """[N, G]: codes of the features of each event, as the model's data numbers them."""
    lacking: tuple[str, ...] = ()
    """Columns of features that are not there: their values are missing."""


def columns_of(manifest: Manifest) -> TableColumns:
    """The column names that windowing was given; a source without any has the usual ones."""
    recorded = manifest.source.get("columns")
    names = {
        name: value
        for name, value in (recorded if isinstance(recorded, dict) else {}).items()
        if name in ("user", "item", "timestamp", "order", "session", "rating")
    }
    rating = (names.get("rating") or "rating") if manifest.has_ratings else None
    return TableColumns(**{**names, "rating": rating})


def read_events(path: Place, manifest: Manifest) -> Events:
    """Read a file or a table of events; `manifest` is that of the model's data.

    Where windowing kept only the first or last event of a user and item, so does this.

    Raises:
        DataError: a file or column is missing, a value cannot be read, or there are no events.
        EnvironmentProblem: a URI cannot be reached.
    """
    with keyed(path, manifest) as events:
        return events.all()


@dataclass(frozen=True)
class KeyedEvents:
    """Events in a database; users are numbered by the length of their ids, then the ids."""

    num_users: int
    files: tuple[dict[str, Any], ...]
    """Name, size and SHA-256 of the files that were read."""
    _database: Database
    _manifest: Manifest
    _told: tuple[str, ...]
    """The columns of features that are there."""

    def all(self) -> Events:
        """Those of all users."""
        return self._events(self._database.arrow(self._query))

    def pieces(self, users: int) -> Iterator[Events]:
        """Those of so many users at a time, in the order of their numbers; the last may be fewer.

        Beyond the limit of the database, memory holds one piece.
        """
        held: list[pa.Table] = []
        piece = 0
        for batch in self._database.batches(self._query):
            rest = pa.Table.from_batches([batch])
            keys = rest["user_key"].to_numpy()
            while len(keys) and keys[-1] >= (piece + 1) * users:
                cut = int(np.searchsorted(keys, (piece + 1) * users))
                yield self._events(pa.concat_tables([*held, rest.slice(0, cut)]))
                held, rest, keys, piece = [], rest.slice(cut), keys[cut:], piece + 1
            held.append(rest)
        yield self._events(pa.concat_tables(held))

    @property
    def _query(self) -> str:
        return "shared/served_feature_events" if self._told else "shared/served_events"

    def _events(self, rows: pa.Table) -> Events:
        features = self._manifest.event_features
        values: dict[str, Any] = {}
        if self._told:
            texts = zip(*rows["feature_values"].to_pylist(), strict=True)
            values = dict(zip(self._told, texts, strict=True))
        codes = [f.codes(values.get(f.name, (None,) * len(rows))) for f in features]
        nothing = np.zeros((len(rows), 0), dtype=np.int32)
        starts = np.flatnonzero(np.diff(rows["user_key"].to_numpy(), prepend=-1))
        return Events(
            users=tuple(rows["user_source_id"].take(starts).to_pylist()),
            offsets=np.append(starts, len(rows)).astype(np.int64),
            items=tuple(rows["item_source_id"].to_pylist()),
            times=rows["event_time"].to_numpy().astype(np.int64),
            ratings=rows["rating"].to_numpy().astype(np.float32),
            features=np.stack(codes, axis=1) if codes else nothing,
            lacking=tuple(f.name for f in features if f.name not in values),
        )


@contextlib.contextmanager
def keyed(
    path: Place, manifest: Manifest, memory_limit: str | None = None
) -> Iterator[KeyedEvents]:
    """Read events into a database, which takes so much memory at most; see `read_events`."""
    columns = columns_of(manifest)
    optional = (columns.timestamp, columns.order, columns.session, columns.rating)
    names = [columns.user, columns.item, *(name for name in optional if name is not None)]
    with Database(memory_limit) as database:
        given = _with_columns(database, path, names)
        parts = given.source.parts
        told = [f for f in manifest.event_features if all(f.name in part.types for part in parts)]
        staged = TableConfig(
            columns=columns,
            event_features=tuple(f.name for f in told if f.kind == "category"),
            event_numbers=tuple(f.name for f in told if f.kind == "number"),
        ).stage(database, path, given)
        staging.key_events(database, staged, may_repeat=True)
        if (kept := manifest.settings.get("repeats")) in ("first", "last"):
            database.table("events", "next_items/repeats", keeps_last=kept == "last")
        num_users = database.rows("shared/num_served_users")[0]["num_users"]
        told_names = tuple(name for name, _ in staged.event_features)
        yield KeyedEvents(num_users, staged.files, database, manifest, told_names)


def checksums(path: Place) -> tuple[dict[str, Any], ...]:
    """Name, size and SHA-256 of the files of events, as `KeyedEvents.files`.

    Raises:
        DataError: there is no such file.
        EnvironmentProblem: a URI cannot be reached.
    """
    with Database() as database:
        return tuple(staging.checksum(f.path) for f in found([path], "exact", database.scratch))


def read_item_list(given: str, manifest: Manifest) -> tuple[str, ...]:
    """The source ids of items in a file, or separated by commas, in order.

    A file is a table with the item column of windowing, or a .txt with an id per line.

    Raises:
        DataError: the file or its column is missing, or there is no id.
    """
    path = Path(given)
    ids: Sequence[str | None]
    if given.endswith(_TEXT):
        ids = _lines(path)
    elif given.endswith(SUFFIXES):
        ids = _column(path, columns_of(manifest).item)
    else:
        ids = [part.strip() for part in given.split(",")]
    found = tuple(each for each in ids if each)
    if not found:
        raise DataError(
            f"{given!r} names no item: give ids separated by commas, a {_TEXT} file with one id "
            f"per line, or a {' or '.join(SUFFIXES)} file"
        )
    return found


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(f"{path} cannot be read: {reason}") from error


def _with_columns(database: Database, path: Place, names: Sequence[str]) -> Opened:
    given = opened(database, Door(), [path])
    for part in given.source.parts:
        if missing := [name for name in names if name not in part.types]:
            raise DataError(
                f"{part.shown} has no column {missing[0]!r}, its columns are "
                f"{', '.join(part.types)}: {_REMEDY}"
            )
    return given


def _column(path: Path, name: str) -> list[str | None]:
    with Database() as database:
        source = _with_columns(database, path, [name]).source
        database.load("listed", source, {"item": SourceColumn("text", (name,))})
        if any(part.is_text for part in source.parts):
            staging.refuse_rejected(database)
        return [item for batch in database.stored("listed") for item in batch["item"].to_pylist()]
