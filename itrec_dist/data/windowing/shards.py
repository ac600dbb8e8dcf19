"""Writes the tables and splits of a shards folder, the same for every task."""

from pathlib import Path

from itrec_dist.data import schema
from itrec_dist.data.database import Database
from itrec_dist.data.manifest import ShardFile
from itrec_dist.data.shards.arrays import HISTORY_COLUMNS, USER_COLUMNS, WINDOW_COLUMNS
from itrec_dist.data.shards.columns import ITEM_SCHEMA, Widths
from itrec_dist.data.shards.writer import ContentDigest, even_shards, write_split, write_table


def undescribed(database: Database) -> dict[str, int]:
    """Numbers of items and users that the source does not describe, for the manifest."""
    (items,) = database.rows("shared/num_undescribed")
    (users,) = database.rows("shared/num_undescribed_users")
    return {"undescribed_items": items["num_items"], "undescribed_users": users["num_users"]}


def write_tables(database: Database, widths: Widths, building: Path, digest: ContentDigest) -> None:
    """Write the item, user and history tables."""
    items = (b.rename_columns(ITEM_SCHEMA.names) for b in database.stored("item_table"))
    write_table(building / schema.ITEMS_FILE, items, ITEM_SCHEMA, digest)
    users = database.stored("users")
    write_table(building / schema.USERS_FILE, users, widths.schema(USER_COLUMNS), digest)
    histories = database.batches("shared/histories", input_length=widths.inputs)
    write_table(building / schema.HISTORIES_FILE, histories, widths.schema(HISTORY_COLUMNS), digest)


def write_splits(
    database: Database, sizes: dict[str, int], num_shards: int, widths: Widths,
    building: Path, digest: ContentDigest,
) -> dict[str, tuple[ShardFile, ...]]:  # fmt: skip
    """Write `windows` by split, given each split's size; training goes to `num_shards` files."""
    rows_per_shard = -(-sizes[schema.TRAIN] // num_shards)
    splits = {}
    for split in schema.SPLITS:
        if not sizes.get(split):
            continue
        shards = -(-sizes[split] // rows_per_shard)
        splits[split] = write_split(
            building / split,
            database.batches("shared/split", split=split),
            widths.schema(WINDOW_COLUMNS),
            even_shards(sizes[split], shards),
            digest,
        )
    return splits
