"""Writes small, valid shards folders from given arrays, for tests that need no windowing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from itrec_dist.data import schema
from itrec_dist.data.manifest import Feature, Manifest, ShardFile
from itrec_dist.data.shards.arrays import Windows
from itrec_dist.data.shards.columns import Widths, columns_of

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
    times: bool = False,
) -> Windows:
    """Windows with left-padded inputs; some windows hold an item among inputs and targets.

    Shards made of windows without times are as an earlier version wrote them.
    """
    rng = np.random.default_rng(seed)
    item_ids = rng.integers(1, num_items + 1, (num_windows, input_length), dtype=np.int32)
    empty = np.arange(input_length) < rng.integers(0, input_length, (num_windows, 1))
    item_ids[empty] = schema.PAD
    ratings = rng.integers(1, 6, item_ids.shape).astype(np.float32)
    ratings[empty] = 0
    users = rng.integers(1, num_users + 1, num_windows, dtype=np.int32)
    codes = np.stack([users % 3, users % 4], axis=1).astype(np.int32)
    shape = (num_windows, target_length)
    windows = Windows(
        window_ids=np.arange(first_id, first_id + num_windows),
        user_ids=users,
        user_features=codes,
        item_ids=item_ids,
        ratings=ratings,
        times=None,
        target_ids=rng.integers(1, num_items + 1, shape, dtype=np.int32),
        target_ratings=rng.integers(1, 6, shape).astype(np.float32),
        target_time=rng.integers(0, 1000, num_windows),
    )
    if not times:
        return windows
    passed = rng.integers(0, 3, item_ids.shape).cumsum(axis=1)
    return replace(windows, times=np.where(empty, 0, 978_300_000 + passed))


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
        has_times=some.times is not None,
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
    widths = Widths.of(manifest)
    built, written = [], []
    for name, column in columns_of(Windows).items():
        values = getattr(windows, name)
        if values is not None:
            written.append(widths.field(column))
            built.append(_to_arrow(values, written[-1].type))
    return pa.table(built, schema=pa.schema(written))


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
        manifest.num_users, manifest.num_items, manifest.input_length, manifest.target_length,
        times=manifest.has_times,
    )  # fmt: skip
    if not manifest.user_features:
        users = replace(users, user_features=np.zeros((len(users), 0), np.int32))
    windows = to_table(users, manifest)
    num_users = manifest.num_users
    histories = pa.table({"user_id": pa.array(range(1, num_users + 1), pa.int32())})
    table = histories.append_column(
        "source_id", pa.array([f"u{i}" for i in range(1, num_users + 1)])
    ).append_column("num_events", pa.array([20] * num_users, pa.int64()))
    for name in ("user_features", "item_ids", "ratings", "times"):
        if name in windows.column_names:
            histories = histories.append_column(name, windows[name])
    table = table.append_column("user_features", windows["user_features"])
    seen = [sorted({int(i) for i in row if i}) for row in users.item_ids]
    histories = histories.append_column("seen_ids", pa.array(seen, pa.list_(pa.int32())))
    pq.write_table(table, folder / schema.USERS_FILE)
    pq.write_table(histories, folder / schema.HISTORIES_FILE)


def _to_arrow(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.array(values.tolist(), kind)
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind.value_type)
    return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
