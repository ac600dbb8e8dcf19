"""Predicts the next items of every user from their latest events, as a Parquet table."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from itrec_dist.data import batches
from itrec_dist.data.schema import PAD
from itrec_dist.data.shards import arrays, reader
from itrec_dist.data.shards.arrays import Histories
from itrec_dist.errors import ConfigError
from itrec_dist.inference.fitting import fit
from itrec_dist.inference.load import Restored
from itrec_dist.storage import atomic

_BATCH = 1024

COLUMNS = pa.schema(
    [
        ("user", pa.string()),  # the source's id
        ("rank", pa.int32()),  # 1 is the best
        ("item", pa.string()),  # the source's id
        ("title", pa.string()),
        ("score", pa.float32()),  # the model's output: comparable within a user only
    ]
)


def recommend(restored: Restored, shards: Path, out: Path, k: int, *, overwrite: bool) -> int:
    """Write the top k unseen items of every user of `shards`; returns how many users got any.

    A user who has seen nearly the whole catalogue gets fewer rows, or none. Rows are ordered by
    user (as in users.parquet) and rank.

    Raises:
        ConfigError: k is below 1 or above the catalogue, or the model needs the time of the query.
        OutputError: `out` is taken.
        ShardsError: `shards` does not fit the model; see `fitting.fit`.
    """
    fitting = fit(restored, shards)
    manifest = fitting.manifest
    if not 1 <= k <= manifest.num_items:
        raise ConfigError(f"-k {k} is not between 1 and the catalogue's {manifest.num_items} items")
    if restored.run.model.uses_time_of_query:
        raise ConfigError(
            "the model was trained with model.time_of_query=true: it must be told when the next "
            "event happens, which is not known of the future: train one without"
        )
    if out.exists():
        atomic.refuse_existing(out, overwrite=overwrite)
    histories = fitting.histories()
    users = reader.read_users(shards, manifest)
    served = 0
    with atomic.new_file(out) as building, pq.ParquetWriter(building, COLUMNS) as writer:
        for rows, top_BN, scores_BN in _ranked(restored, histories, k):
            writer.write_table(_table(restored, users, rows, top_BN, scores_BN))
            served += int((top_BN != PAD).any(axis=1).sum())
    return served


def _ranked(
    restored: Restored, histories: Histories, k: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """Yields per block of users their positions, the top item ids and their scores."""
    device = restored.engine.device
    for start in range(0, len(histories), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(histories)))
        windows = histories.windows(rows, times=restored.run.model.uses_times)
        batch = batches.whole_batch(windows, device)
        seen_ids_BS = torch.from_numpy(_seen(histories, rows)).to(device)
        top_BN, scores_BN = restored.top_items(batch, k, seen_ids_BS)
        yield rows, top_BN.cpu().numpy(), scores_BN.cpu().numpy()


def _seen(histories: Histories, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """All items that each user has seen, [B, S], padded with PAD."""
    seen = [histories.seen(row) for row in rows.tolist()]
    seen_BS = np.full((len(seen), max(map(len, seen), default=0)), PAD, dtype=np.int64)
    for place, ids in zip(seen_BS, seen, strict=True):
        place[: len(ids)] = ids
    return seen_BS


def _table(
    restored: Restored, users: arrays.Users, rows: npt.NDArray[np.int64],
    top_BN: npt.NDArray[np.int64], scores_BN: npt.NDArray[np.float32],
) -> pa.Table:  # fmt: skip
    items = restored.items
    is_item_BN = top_BN != PAD
    ids = (top_BN[is_item_BN] - 1).tolist()
    of_user = np.repeat(rows, is_item_BN.sum(axis=1)).tolist()
    rank_BN = np.broadcast_to(np.arange(1, top_BN.shape[1] + 1, dtype=np.int32), top_BN.shape)
    return pa.table(
        {
            "user": [users.source_ids[u] for u in of_user],
            "rank": rank_BN[is_item_BN],
            "item": [items.source_ids[i] for i in ids],
            "title": [items.titles[i] or items.source_ids[i] for i in ids],
            "score": scores_BN[is_item_BN].astype(np.float32),
        },
        schema=COLUMNS,
    )
