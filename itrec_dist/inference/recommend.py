"""Predicts the next items of users from their latest events, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from itrec_dist.data import batches
from itrec_dist.data.schema import PAD, Seen
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.inference.load import Restored
from itrec_dist.inference.served import Served
from itrec_dist.models import rank
from itrec_dist.models.seen import left_out
from itrec_dist.storage import outputs
from itrec_dist.storage.uri import Uri

USERS_PER_BLOCK = 1024
"""Users that are scored together. Last bits of a score may depend on who is scored with whom, so
parts of a batch are made of whole blocks."""

COLUMNS = pa.schema(
    [
        ("user", pa.string()),  # the source's id
        ("rank", pa.int32()),  # 1 is the best
        ("item", pa.string()),  # the source's id
        ("title", pa.string()),
        ("score", pa.float32()),  # the model's output: comparable within a user only
    ]
)


@dataclass(frozen=True)
class Request:
    """How many items to recommend to everybody, and which."""

    k: int
    """Items per user; one who has seen nearly all that is allowed gets fewer, or none."""
    seen: Seen | None = None
    """What is left out: the history, the model's input, or nothing; None is as the run says."""
    among: tuple[str, ...] | None = None
    """Source ids of the only items to recommend; None allows all."""
    without: tuple[str, ...] = ()
    """Source ids of items not to recommend."""
    at: int | None = None
    """The time of the query, in the unit of the data's times, for a model that is told it."""


@dataclass(frozen=True)
class Outcome:
    """What was recommended, in numbers."""

    users: int
    """Users with an item."""
    popular: int
    """Of them, those of whom the model knows no event: they got the most popular items."""
    short: int
    """Users with fewer events than any window that the model was trained on."""
    fewer: int = 0
    """Users with fewer than k items, or none: they have seen nearly all that is allowed."""


def recommend(
    restored: Restored, served: Served, request: Request, out: Uri | Path, *, overwrite: bool
) -> Outcome:
    """Write recommendations to a Parquet file, ordered by user as they are served, and rank.

    Raises:
        ConfigError: k is below 1 or above the number of items that may be recommended, or the
            model is told the time of the query and it is missing.
        DataError: none of the items in `among` is known, or an event is after the query.
        OutputError: `out` is taken.
    """
    ranking = Ranker(restored, request).ranking(served)
    outputs.refuse_existing(out, overwrite=overwrite)
    with outputs.new_file(out) as building, pq.ParquetWriter(building, COLUMNS) as writer:
        for table in ranking.tables():
            writer.write_table(table)
    return ranking.outcome()


def table_of(restored: Restored, served: Served, request: Request) -> pa.Table:
    """The same as one table in memory; see `recommend` for errors."""
    return pa.concat_tables(Ranker(restored, request).ranking(served).tables())


class Ranker:
    """A model and what is asked of it, for any number of users."""

    def __init__(self, restored: Restored, request: Request) -> None:
        """Check that the model can do it.

        Raises:
            ItrecError: it cannot; see `recommend`.
        """
        self.restored, self.k = restored, request.k
        self.seen = request.seen or restored.run.evaluation.seen
        self.at = request.at
        if restored.run.model.uses_time_of_query and self.at is None:
            raise ConfigError(
                "the model was trained with model.time_of_query=true, or with time_of_query in "
                "model.event_context: say when the recommendations are asked for, by --at now or a "
                "date, or train a model without"
            )
        self.is_allowed_C = _allowed(restored, request)

    def ranking(self, served: Served) -> Ranking:
        """The recommendations for some users."""
        return Ranking(self, served)


class Ranking:
    """Recommendations block by block, and what was counted meanwhile."""

    def __init__(self, ranker: Ranker, served: Served) -> None:
        self._restored, self._k, self._seen = ranker.restored, ranker.k, ranker.seen
        self._is_allowed_C, self._at = ranker.is_allowed_C, ranker.at
        self._served = served
        _refuse_later(served, self._at)
        self._users = self._fewer = 0
        is_event_UL = served.histories.item_ids != PAD
        self._num_events_U = is_event_UL.sum(axis=1)

    def tables(self) -> Iterator[pa.Table]:
        """The rows of a block of users after the other."""
        for start in range(0, len(self._served.users), USERS_PER_BLOCK):
            rows = np.arange(start, min(start + USERS_PER_BLOCK, len(self._served.users)))
            top_BN, scores_BN = self._ranked(rows)
            is_item_BN = top_BN != PAD
            self._users += int(is_item_BN.any(axis=1).sum())
            self._fewer += int((~is_item_BN.all(axis=1)).sum())
            yield _table(self._restored, self._served.users, rows, (top_BN, scores_BN))

    def outcome(self) -> Outcome:
        """What the blocks so far have counted."""
        manifest = self._restored.manifest
        length = manifest.input_length if manifest.samples == "windows" else 0
        num_events_U = self._num_events_U
        return Outcome(
            users=self._users,
            popular=int((num_events_U == 0).sum()),
            short=int(((num_events_U > 0) & (num_events_U < length)).sum()),
            fewer=self._fewer,
        )

    def _ranked(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The top item ids of a block of users, and their scores."""
        restored, histories = self._restored, self._served.histories
        device = restored.engine.device
        windows = histories.windows(rows, times=restored.run.model.uses_times)
        if self._at is not None:
            windows = replace(windows, target_time=np.full(len(rows), self._at, dtype=np.int64))
        seen = [histories.seen(row) for row in rows.tolist()]
        seen_ids_BS = torch.from_numpy(_padded(seen)).to(device)
        batch = replace(batches.whole_batch(windows, device), seen_ids_BS=seen_ids_BS)
        left_out_BS = left_out(batch, self._seen)
        top_BN, scores_BN = restored.top_items(batch, self._k, left_out_BS, self._is_allowed_C)
        is_empty_B = torch.from_numpy(self._num_events_U[rows] == 0).to(device)
        if is_empty_B.any():
            popular_N, counts_N = self._popular(device)
            top_BN = torch.where(is_empty_B[:, None], popular_N, top_BN)
            scores_BN = torch.where(is_empty_B[:, None], counts_N, scores_BN)
        return top_BN.cpu().numpy(), scores_BN.float().cpu().numpy()

    def _popular(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """The most frequent targets of training, as the baseline ranks them, and their counts."""
        counts_C = torch.from_numpy(self._restored.items.num_train_targets.copy()).to(device)
        blocks = [counts_C[None].float()]
        if self._is_allowed_C is not None:
            blocks = list(rank.among(blocks, self._is_allowed_C))
        return rank.top_items(blocks, self._k)


def _allowed(restored: Restored, request: Request) -> torch.Tensor | None:
    """Which items may be recommended, [C]; None for all."""
    sources = restored.items.source_ids
    what = f"the catalogue's {len(sources)} items"
    is_allowed_C = None
    if request.among is not None or request.without:
        chosen = set(sources if request.among is None else request.among)
        if not chosen & set(sources):
            raise DataError(
                f"--among names no item that the model knows, but {', '.join(sorted(chosen)[:3])}: "
                f"give source ids such as {sources[0]}"
            )
        chosen -= set(request.without)
        is_allowed_C = torch.tensor([source in chosen for source in sources])
        what = f"the {int(is_allowed_C.sum())} items that --among and --without leave"
    num_allowed = len(sources) if is_allowed_C is None else int(is_allowed_C.sum())
    if not 1 <= request.k <= num_allowed:
        raise ConfigError(f"-k {request.k} is not between 1 and {what}")
    return None if is_allowed_C is None else is_allowed_C.to(restored.engine.device)


def _refuse_later(served: Served, at: int | None) -> None:
    """Refuse events after the query, which no model that is told its time has learned from."""
    if at is None:
        return
    newest_U = served.histories.times.max(axis=1, initial=0)
    if later := int((newest_U > at).sum()):
        user = served.users[int(newest_U.argmax())]
        raise DataError(
            f"--at is {at:,} in the unit of the data's times, and {later:,} of {len(newest_U):,} "
            f"users have later events, user {user!r} up to {newest_U.max():,}: give a later time, "
            "or the events before it"
        )


def _padded(lists: list[npt.NDArray[np.int32]]) -> npt.NDArray[np.int64]:
    """Lists of ids as rows of one length, [B, S], padded with PAD."""
    filled_BS = np.full((len(lists), max(map(len, lists), default=0)), PAD, dtype=np.int64)
    for place, ids in zip(filled_BS, lists, strict=True):
        place[: len(ids)] = ids
    return filled_BS


def _table(
    restored: Restored, users: tuple[str, ...], rows: npt.NDArray[np.int64],
    ranked: tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]],
) -> pa.Table:  # fmt: skip
    items, (top_BN, scores_BN) = restored.items, ranked
    is_item_BN = top_BN != PAD
    ids = top_BN[is_item_BN] - 1
    named, titles = items.source_ids.take(ids), items.titles.take(ids)
    of_user = np.repeat(rows, is_item_BN.sum(axis=1)).tolist()
    rank_BN = np.broadcast_to(np.arange(1, top_BN.shape[1] + 1, dtype=np.int32), top_BN.shape)
    return pa.table(
        {
            "user": [users[u] for u in of_user],
            "rank": rank_BN[is_item_BN],
            "item": named,
            "title": pc.if_else(pc.equal(titles, ""), named, titles),
            "score": scores_BN[is_item_BN].astype(np.float32),
        },
        schema=COLUMNS,
    )
