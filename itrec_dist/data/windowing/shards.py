"""Writes the tables and splits of a shards folder, the same for every task."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa

from itrec_dist.data import schema
from itrec_dist.data.database import Database
from itrec_dist.data.manifest import ShardFile
from itrec_dist.data.shards.arrays import HISTORY_COLUMNS, USER_COLUMNS
from itrec_dist.data.shards.columns import Widths, item_schema
from itrec_dist.data.shards.writer import ContentDigest, even_shards, write_split, write_table
from itrec_dist.data.windowing.user_events import latest


def undescribed(database: Database) -> dict[str, int]:
    """Numbers of items and users that the source does not describe, for the manifest."""
    (items,) = database.rows("shared/num_undescribed")
    (users,) = database.rows("shared/num_undescribed_users")
    return {"undescribed_items": items["num_items"], "undescribed_users": users["num_users"]}


def write_tables(database: Database, widths: Widths, building: Path, digest: ContentDigest) -> int:
    """Write the item, user and history tables; returns the numbers of an item's vector."""
    width: int = database.rows("shared/vector_width")[0]["width"]
    items = item_schema(width)
    found = database.stored("item_table")
    if width:
        found = database.batches("shared/item_table_with_vectors", width=width)
    renamed = (batch.rename_columns(items.names) for batch in found)
    write_table(building / schema.ITEMS_FILE, renamed, items, digest)
    users = database.stored("users")
    write_table(building / schema.USERS_FILE, users, widths.schema(USER_COLUMNS), digest)
    histories = _histories(database, widths)
    write_table(building / schema.HISTORIES_FILE, histories, widths.schema(HISTORY_COLUMNS), digest)
    return width


def _histories(database: Database, widths: Widths) -> Iterator[pa.RecordBatch]:
    """Every kept user's latest events, with their features if they have any."""
    reads = ("sequences", "kept_users", "users")
    found = database.flow(reads, partial(latest, length=widths.inputs))
    if not widths.event_features:
        return found
    database.drop("histories")
    for batch in found:
        database.append("histories", pa.Table.from_batches([batch]))
    num_codes = widths.inputs * widths.event_features
    return database.batches("shared/histories_with_features", num_codes=num_codes)


@dataclass(frozen=True)
class SplitRows:
    """The rows of the splits: which SQL file gives those of one, and how they are written."""

    sql_name: str
    columns: pa.Schema
    sizes: Mapping[str, int]
    """Rows of each split."""
    num_shards: int
    """Files of the training split; others get files of about the same size."""
    parameters: Mapping[str, int] = field(default_factory=dict)
    """Of the SQL file, besides the split."""


def write_splits(
    database: Database, rows: SplitRows, building: Path, digest: ContentDigest
) -> dict[str, tuple[ShardFile, ...]]:
    """Write every split that has any rows."""
    sizes = rows.sizes
    rows_per_shard = -(-sizes[schema.TRAIN] // rows.num_shards)
    splits = {}
    for split in schema.SPLITS:
        if not sizes.get(split):
            continue
        shards = -(-sizes[split] // rows_per_shard)
        splits[split] = write_split(
            building / split,
            database.batches(rows.sql_name, split=split, **rows.parameters),
            rows.columns,
            even_shards(sizes[split], shards),
            digest,
        )
    return splits
