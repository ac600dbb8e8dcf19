"""Writes small, valid shards folders from given arrays, for tests that need no windowing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from itrec_dist.data import schema
from itrec_dist.data.manifest import Feature, Manifest, ShardFile
from itrec_dist.data.shards import columns
from itrec_dist.data.shards.arrays import Windows

GENRES = ("Comedy", "Drama", "War")
ERAS = ("old", "new")
USER_FEATURES = (Feature("gender", "single", ("F", "M")), Feature("age", "single", ("a", "b", "c")))


def random_windows(
    num_windows: int = 40,
    num_items: int = 12,
    input_length: int = 4,
    target_length: int = 2,
    *,
    seed: int = 0,
    first_id: int = 0,
    num_users: int = 10,
) -> Windows:
    """Windows with left-padded inputs; some windows hold an item among inputs and targets."""
    rng = np.random.default_rng(seed)
    item_ids = rng.integers(1, num_items + 1, (num_windows, input_length), dtype=np.int32)
    empty = np.arange(input_length) < rng.integers(0, input_length, (num_windows, 1))
    item_ids[empty] = schema.PAD
    ratings = rng.integers(1, 6, item_ids.shape).astype(np.float32)
    ratings[empty] = 0
    users = rng.integers(1, num_users + 1, num_windows, dtype=np.int32)
    codes = np.stack([users % 3, users % 4], axis=1).astype(np.int32)
    shape = (num_windows, target_length)
    return Windows(
        window_ids=np.arange(first_id, first_id + num_windows),
        user_ids=users,
        user_features=codes,
        item_ids=item_ids,
        ratings=ratings,
        target_ids=rng.integers(1, num_items + 1, shape, dtype=np.int32),
        target_ratings=rng.integers(1, 6, shape).astype(np.float32),
        target_time=rng.integers(0, 1000, num_windows),
    )


def make_shards(
    folder: Path,
    splits: Mapping[str, Windows],
    *,
    num_items: int = 12,
    num_users: int = 10,
    num_files: int = 2,
    user_features: tuple[Feature, ...] = USER_FEATURES,
) -> Manifest:
    """Write `folder` with the given windows per split, cut into `num_files` files each."""
    some = next(iter(splits.values()))
    manifest = Manifest(
        input_length=some.item_ids.shape[1],
        target_length=some.target_ids.shape[1],
        num_items=num_items,
        num_users=num_users,
        protocol="random_windows",
        catalogue_from="all data",
        has_ratings=True,
        rating_mean=3.0,
        rating_std=1.4,
        user_features=user_features,
        item_features=(Feature("genres", "multi", GENRES), Feature("era", "single", ERAS)),
        splits={},
        fingerprint="0" * 64,
    )
    for split, windows in splits.items():
        manifest.splits[split] = _write_split(folder, split, windows, manifest, num_files)
    train = splits.get(schema.TRAIN)
    _write_items(folder, num_items, train)
    _write_users(folder, manifest)
    path = folder / schema.MANIFEST_FILE
    path.write_text(json.dumps(manifest.to_json()), encoding="utf-8")
    return manifest


def to_table(windows: Windows, manifest: Manifest) -> pa.Table:
    """The Arrow table whose arrays are `windows`."""
    built, names = [], []
    for column, field in zip(columns.columns(manifest), fields(Windows), strict=True):
        if pa.types.is_fixed_size_list(column.type) and column.type.list_size == 0:
            continue  # Parquet has no lists of width 0: data without user features
        names.append(column)
        built.append(_to_arrow(getattr(windows, field.name), column.type))
    return pa.table(built, schema=pa.schema(names))


def _write_split(
    folder: Path, split: str, windows: Windows, manifest: Manifest, num_files: int
) -> tuple[ShardFile, ...]:
    (folder / split).mkdir(parents=True)
    files = []
    for i, rows in enumerate(np.array_split(np.arange(len(windows)), num_files)):
        name = f"{split}/part-{i:05d}.parquet"
        pq.write_table(to_table(windows.take(rows), manifest), folder / name)
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        files.append(ShardFile(name=name, rows=len(rows), bytes=len(content), sha256=digest))
    return tuple(files)


def _write_items(folder: Path, num_items: int, train: Windows | None) -> None:
    ids = np.arange(1, num_items + 1, dtype=np.int32)
    targets = np.zeros(num_items + 1, dtype=np.int64)
    if train is not None:
        targets += np.bincount(train.target_ids.reshape(-1), minlength=num_items + 1)
    codes = [[int(i % 3), *([int((i + 1) % 3)] if i % 2 else []), 3 + int(i % 2)] for i in ids]
    table = pa.table(
        {
            "item_id": pa.array(ids),
            "source_id": [f"m{i}" for i in ids],
            "title": [f"Film {i} (1990)" for i in ids],
            "year": pa.array([None if i % 5 == 0 else 1980 + int(i) for i in ids], pa.int32()),
            "genres": [[GENRES[c] for c in row if c < 3] for row in codes],
            "feature_codes": pa.array(codes, pa.list_(pa.int32())),
            "num_events": pa.array(1000 - ids.astype(np.int64)),
            "num_train_targets": pa.array(targets[1:]),
        }
    )
    pq.write_table(table, folder / schema.ITEMS_FILE)


def _write_users(folder: Path, manifest: Manifest) -> None:
    users = random_windows(
        manifest.num_users, manifest.num_items, manifest.input_length, manifest.target_length
    )
    windows = to_table(users, manifest)
    num_users = manifest.num_users
    histories = pa.table({"user_id": pa.array(range(1, num_users + 1), pa.int32())})
    table = histories.append_column(
        "source_id", pa.array([f"u{i}" for i in range(1, num_users + 1)])
    ).append_column("num_events", pa.array([20] * num_users, pa.int64()))
    for name in (schema.USER_FEATURES, schema.ITEM_IDS, schema.RATINGS):
        if name in windows.column_names:
            histories = histories.append_column(name, windows[name])
    if schema.USER_FEATURES in windows.column_names:
        table = table.append_column(schema.USER_FEATURES, windows[schema.USER_FEATURES])
    seen = [sorted({int(i) for i in row if i}) for row in users.item_ids]
    histories = histories.append_column("seen_ids", pa.array(seen, pa.list_(pa.int32())))
    pq.write_table(table, folder / schema.USERS_FILE)
    pq.write_table(histories, folder / schema.HISTORIES_FILE)


def _to_arrow(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind.value_type)
    return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
