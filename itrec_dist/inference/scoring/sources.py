"""Whom a batch serves, in pieces: users of shards, of events, or of what is in memory.

Pieces come in the order in which `itrec recommend` serves the same users in one process.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from itrec_dist.data import manifest as manifests
from itrec_dist.inference import fitting
from itrec_dist.inference.load import Restored
from itrec_dist.inference.served import EventReader, Served
from itrec_dist.storage.uri import Uri

if TYPE_CHECKING:
    from itrec_dist.data.doors.files import Place


@dataclass(frozen=True)
class Opened:
    """Users that can be read."""

    num_users: int
    identity: Any
    """What tells these histories from others; JSON."""
    pieces: Callable[[int], Iterator[Served]]
    """So many users at a time; the last may be fewer."""
    unknown_items: Callable[[], int] = lambda: 0
    """Items unknown to the model, once all pieces have been read."""


class Source(Protocol):
    """Users to serve."""

    def identity(self) -> Any:
        """That of `Opened`, without reading more than that needs."""

    def opened(self) -> contextlib.AbstractContextManager[Opened]:
        """Read them.

        Raises:
            ItrecError: they cannot be read, or the model knows none of their items.
        """


@dataclass(frozen=True)
class OfShards:
    """Every kept user of a shards folder on this machine."""

    restored: Restored
    shards: Path

    def identity(self) -> Any:
        """The fingerprint."""
        return {"shards": manifests.read(self.shards).fingerprint}

    @contextlib.contextmanager
    def opened(self) -> Iterator[Opened]:
        """Match them with the model."""
        fitted = fitting.fit(self.restored, self.shards)

        def pieces(users: int) -> Iterator[Served]:
            for source_ids, histories in fitted.pieces(users):
                yield Served(source_ids, histories)

        yield Opened(fitted.manifest.num_users, self.identity(), pieces)


@dataclass(frozen=True)
class OfEvents:
    """The users of files or a table of events, sorted by a database with a limit of memory."""

    restored: Restored
    path: Place
    place: Uri | Path
    """The shards in which users are met, if the model knows more of them than their events."""
    memory_limit: str

    def identity(self) -> Any:
        """The checksums of the files."""
        from itrec_dist.data import new_events

        return {"files": list(new_events.checksums(self.path))}

    @contextlib.contextmanager
    def opened(self) -> Iterator[Opened]:
        """Sort the events, and turn them into histories piece by piece."""
        from itrec_dist.data import new_events

        with new_events.keyed(self.path, self.restored.manifest, self.memory_limit) as events:
            reading = EventReader(self.restored, self.place)

            def pieces(users: int) -> Iterator[Served]:
                yield from map(reading.served, events.pieces(users))
                reading.refuse_strangers(self.path)

            yield Opened(
                events.num_users, {"files": list(events.files)}, pieces,
                lambda: len(reading.unknown),
            )  # fmt: skip


@dataclass(frozen=True)
class Given:
    """Users in memory."""

    served: Served

    def identity(self) -> Any:
        """A digest of the users and of their histories."""
        digest = hashlib.sha256("\n".join(self.served.users).encode())
        for _, values in sorted(vars(self.served.histories).items()):
            digest.update(np.ascontiguousarray(values).tobytes())
        return {"given": digest.hexdigest()}

    @contextlib.contextmanager
    def opened(self) -> Iterator[Opened]:
        """Slices of what is there."""
        served = self.served

        def pieces(users: int) -> Iterator[Served]:
            for start in range(0, len(served.users), users):
                rows = np.arange(start, min(start + users, len(served.users)))
                is_first = start == 0  # what was skipped is counted once
                yield Served(
                    served.users[start : start + users], served.histories.take(rows),
                    served.unknown_events if is_first else 0,
                    lacking=served.lacking,
                )  # fmt: skip

        yield Opened(len(served.users), self.identity(), pieces, lambda: served.unknown_items)
