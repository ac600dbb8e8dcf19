"""What a batch is asked for, and how its users are cut into parts; written down to be resumed."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from itrec_dist.errors import OutputError
from itrec_dist.inference.load import Restored
from itrec_dist.inference.recommend import USERS_PER_BLOCK, Request
from itrec_dist.inference.scoring.folder import REQUEST, SUMMARY, Existing, Folder
from itrec_dist.inference.scoring.sources import Source

_FORMAT = 1
_MOST_BLOCKS = 16  # in a part: memory of a worker grows with it, and the number of files shrinks
_PARTS_PER_WORKER = 4  # at least, if there are users enough: workers end at about the same time
_READERS = 16  # of footers at a time, which at a URI wait for the network

_WORDS = {
    "checkpoint": "of another checkpoint", "histories": "for other histories",
    "among": "with another --among", "without": "with another --without",
}  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """How users are cut into parts."""

    users: int
    users_per_part: int
    histories: Any
    """What tells the histories from others."""
    skipped_events: int
    skipped_items: int
    lacking: tuple[str, ...]
    """Columns of events that the model is told and that are not there."""

    @property
    def parts(self) -> int:
        """How many there are."""
        return -(-self.users // self.users_per_part)


@dataclass(frozen=True)
class Plan:
    """A batch whose histories stand in its folder."""

    request: str
    """The fingerprint of what is asked for, of the histories too."""
    cut: Cut
    done: dict[int, dict[str, Any]]
    """What was counted in the parts that are complete."""

    @property
    def left(self) -> list[int]:
        """The parts that are not."""
        return [part for part in range(self.cut.parts) if part not in self.done]


def checkpoint_of(restored: Restored) -> str:
    """What tells a checkpoint from others: a digest of the checksums of its files."""
    return _digest(restored.record.files)


def prepare(
    folder: Folder, source: Source, restored: Restored, request: Request, workers: int,
    existing: Existing,
) -> Plan:  # fmt: skip
    """Cut the users into parts, or find those of an earlier call that was interrupted.

    Raises:
        OutputError: the folder is taken, or holds parts of another request.
        ItrecError: the users cannot be read.
    """
    asked = _asked(restored, request)
    cut = None
    if folder.is_taken() and existing != "overwrite":
        if existing == "refuse":
            raise OutputError(
                f"{folder.place} holds parts already: pass --resume to go on with them or "
                "--overwrite to replace them, or choose another place"
            )
        cut = _recorded(folder, asked, source)
    if cut is None:
        cut = _write_histories(folder, source, restored, asked, workers)
    fingerprint = _digest([asked, cut.histories])
    with ThreadPoolExecutor(_READERS) as pool:
        counts = pool.map(lambda part: folder.is_complete(part, fingerprint), range(cut.parts))
        done = {part: found for part, found in enumerate(counts) if found is not None}
    plan = Plan(fingerprint, cut, done)
    if plan.left and folder.read(SUMMARY) is not None:  # a part was lost since all were there
        with source.opened() as opened:
            for part, served in enumerate(opened.pieces(cut.users_per_part)):
                if part not in done:
                    folder.write_histories(part, served.as_table(restored.manifest))
    return plan


def _write_histories(
    folder: Folder, source: Source, restored: Restored, asked: dict[str, Any], workers: int
) -> Cut:
    """Begin a batch; what was in the folder is removed when the users are known to be readable."""
    with source.opened() as opened:
        folder.clear()
        folder.write(REQUEST, {"format": _FORMAT, "asked": asked, "cut": None})
        size = users_per_part(opened.num_users, workers)
        skipped, lacking = 0, tuple[str, ...]()
        try:
            for part, served in enumerate(opened.pieces(size)):
                folder.write_histories(part, served.as_table(restored.manifest))
                skipped += served.unknown_events
                lacking = served.lacking
        except BaseException:
            folder.clear()
            raise
        items = opened.unknown_items()
        cut = Cut(opened.num_users, size, opened.identity, skipped, items, lacking)
    folder.write(REQUEST, {"format": _FORMAT, "asked": asked, "cut": asdict(cut)})
    return cut


def _recorded(folder: Folder, asked: dict[str, Any], source: Source) -> Cut | None:
    """The cut of an earlier call for the same; None if it did not come so far.

    Raises:
        OutputError: it was for something else; the message says what.
    """
    record = folder.read(REQUEST) or {}
    if record.get("format") != _FORMAT:
        raise OutputError(
            f"{folder.place}/{REQUEST} has format {record.get('format')!r}, this version reads "
            f"{_FORMAT}: start again with --overwrite"
        )
    cut = None if record["cut"] is None else Cut(**record["cut"])
    before, now = dict(record["asked"]), dict(asked)
    if cut is not None:
        before["histories"], now["histories"] = cut.histories, source.identity()
    for name, value in now.items():
        if before.get(name) != value:
            given = f"with {name} {before.get(name)}, not {value}"
            raise OutputError(
                f"{folder.place} holds parts of another request, {_WORDS.get(name, given)}: "
                "choose another place, or pass --overwrite to replace them"
            )
    return cut


def users_per_part(users: int, workers: int) -> int:
    """Users in a part: whole blocks, few enough that every worker gets several parts."""
    blocks = users // (USERS_PER_BLOCK * workers * _PARTS_PER_WORKER)
    return USERS_PER_BLOCK * min(max(blocks, 1), _MOST_BLOCKS)


def _asked(restored: Restored, request: Request) -> dict[str, Any]:
    def digest(items: tuple[str, ...] | None) -> str | None:
        return _digest(sorted(items)) if items else None

    return {
        "checkpoint": checkpoint_of(restored),
        "k": request.k,
        "seen": request.seen or restored.run.evaluation.seen,
        "among": digest(request.among),
        "without": digest(request.without),
        **({} if request.at is None else {"at": request.at}),
    }


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
