"""Scores the parts of a batch: what each worker does, with a model that it loads once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pyarrow as pa

from itrec_dist.errors import CheckpointError
from itrec_dist.inference.load import Restored, restore
from itrec_dist.inference.recommend import Ranker, Ranking, Request
from itrec_dist.inference.scoring.folder import Folder
from itrec_dist.inference.scoring.plan import checkpoint_of
from itrec_dist.inference.served import Served
from itrec_dist.runs.fetched import local_run
from itrec_dist.storage import cache
from itrec_dist.storage.uri import Uri

_ROWS_PER_GROUP = 131_072


@dataclass(frozen=True)
class Job:
    """What all workers of a batch are told."""

    run: Uri | Path
    checkpoint: str
    checkpoint_id: str
    """What tells it from others: it must not change while workers load it."""
    request: Request
    out: Uri | Path
    fingerprint: str
    """Of the batch."""


class Scorer:
    """A worker with its model."""

    def __init__(self, job: Job) -> None:
        """Load the model.

        Raises:
            CheckpointError: it cannot be loaded here, or is another one by now.
        """
        self._job = job
        restored = _loaded(job)
        if checkpoint_of(restored) != job.checkpoint_id:
            raise CheckpointError(
                f"checkpoint {job.checkpoint} of {job.run} has changed since this batch began: "
                "start again with --overwrite, or name one that stays with --checkpoint"
            )
        self._ranker = Ranker(restored, job.request)
        self._folder = Folder(job.out)

    def score(self, part: int) -> dict[str, Any]:
        """Write a part; returns what was counted in it, and the seconds that it took.

        Raises:
            ItrecError: its histories cannot be read, or it cannot be written.
        """
        started = time.monotonic()
        histories = self._folder.read_histories(part)
        served = Served.of_table(histories, self._ranker.restored.manifest)
        ranking = self._ranker.ranking(served)
        counts: dict[str, Any] = {"request": self._job.fingerprint, "served": len(served.users)}
        self._folder.write_part(part, _grouped(ranking, counts), counts)
        return {**counts, "part": part, "seconds": time.monotonic() - started}


def _loaded(job: Job) -> Restored:
    if not isinstance(job.run, Uri):
        return restore(job.run, job.checkpoint)
    place = cache.cache("views", job.run)
    place.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(place.with_name(f"{place.name}.lock")):  # one worker per machine
        return restore(local_run(job.run, job.checkpoint), job.checkpoint)


def _grouped(ranking: Ranking, counts: dict[str, Any]) -> Iterator[pa.Table]:
    """The blocks of a ranking as row groups; what was counted is filled in at the end."""
    held: list[pa.Table] = []
    for table in ranking.tables():
        held.append(table)
        if sum(map(len, held)) >= _ROWS_PER_GROUP:
            yield pa.concat_tables(held)
            held = []
    counts.update(vars(ranking.outcome()))
    if held:
        yield pa.concat_tables(held)
