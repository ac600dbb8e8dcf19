"""A shards folder as numpy arrays, read in-process and without copying where Arrow allows it.

Owns the way from Arrow columns to arrays (`table_to_arrays` serves Parquet files and streamed
blocks alike) and the checks that the files are those the manifest describes. Leaves batching,
shuffling and tensors to `data/feeds.py`.

The arrays may be read-only views of Arrow memory: `take` makes writable copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards.arrays import Histories, Int32, Int64, Items, Users, Windows
from itrec_dist.data.shards.columns import ITEM_SCHEMA, columns
from itrec_dist.errors import ShardsError


def read_split(shards: Path, manifest: Manifest, split: str) -> Windows:
    """All windows of a split, by rising window id.

    Raises:
        ShardsError: the split is absent, or a file is missing, damaged or not the manifest's.
    """
    files = manifest.splits.get(split, ())
    if not files:
        there = ", ".join(s for s in schema.SPLITS if manifest.num_windows(s))
        raise ShardsError(f"{shards} has no {split} split; it has: {there or 'none'}")
    expected = columns(manifest)
    tables = [_read_file(shards / f.name, expected, rows=f.rows) for f in files]
    windows = table_to_arrays(pa.concat_tables(tables), manifest, where=f"{shards / split}")
    if (np.diff(windows.window_ids) > 0).all():
        return windows
    windows = windows.take(np.argsort(windows.window_ids, kind="stable"))
    if not (np.diff(windows.window_ids) > 0).all():
        raise ShardsError(f"{shards / split} holds a window twice: window the data again")
    return windows


def table_to_arrays(table: pa.Table, manifest: Manifest, where: str = "a block") -> Windows:
    """The arrays of a table that has the columns of a shard; rows keep their order.

    `where` names the table in refusals.

    Raises:
        ShardsError: a column is missing, of another type or width, holds nulls or ids outside
            the catalogue.
    """
    arrays = [_column(table, field, where) for field in columns(manifest)]
    windows = Windows(*arrays)
    _refuse_outside(windows.item_ids, manifest.num_items, schema.ITEM_IDS, where)
    _refuse_outside(windows.target_ids, manifest.num_items, schema.TARGET_IDS, where)
    for i, feature in enumerate(manifest.user_features):
        _refuse_outside(windows.user_features[:, i], len(feature.values), feature.name, where)
    return windows


def read_items(shards: Path, manifest: Manifest) -> Items:
    """The item table.

    Raises:
        ShardsError: it is missing, damaged or not the manifest's.
    """
    path = shards / schema.ITEMS_FILE
    table = _read_file(path, ITEM_SCHEMA, rows=manifest.num_items)
    _refuse_gaps(table, "item_id", path)
    codes, offsets = _ragged(table, "feature_codes", path)
    _refuse_outside(codes, manifest.item_feature_width - 1, "feature_codes", str(path))
    return Items(
        source_ids=tuple(table["source_id"].to_pylist()),
        titles=tuple(title or "" for title in table["title"].to_pylist()),
        years=tuple(table["year"].to_pylist()),
        genres=tuple(tuple(g or ()) for g in table["genres"].to_pylist()),
        num_events=_column(table, ITEM_SCHEMA.field("num_events"), str(path)),
        num_train_targets=_column(table, ITEM_SCHEMA.field("num_train_targets"), str(path)),
        feature_codes=codes,
        feature_offsets=offsets,
        feature_width=manifest.item_feature_width,
    )


def read_users(shards: Path, manifest: Manifest) -> Users:
    """The user table.

    Raises:
        ShardsError: it is missing, damaged or not the manifest's.
    """
    path = shards / schema.USERS_FILE
    expected = pa.schema(
        [
            (schema.USER_ID, pa.int32()),
            ("source_id", pa.string()),
            ("num_events", pa.int64()),
            columns(manifest).field(schema.USER_FEATURES),
        ]
    )
    table = _read_file(path, expected, rows=manifest.num_users)
    _refuse_gaps(table, schema.USER_ID, path)
    return Users(
        source_ids=tuple(table["source_id"].to_pylist()),
        num_events=_column(table, expected.field("num_events"), str(path)),
        user_features=_column(table, expected.field(schema.USER_FEATURES), str(path)),
    )


def read_histories(shards: Path, manifest: Manifest) -> Histories:
    """Every kept user's latest events.

    Raises:
        ShardsError: the file is missing, damaged or not the manifest's.
    """
    path = shards / schema.HISTORIES_FILE
    names = (schema.USER_ID, schema.USER_FEATURES, schema.ITEM_IDS, schema.RATINGS)
    fixed = [columns(manifest).field(name) for name in names]
    expected = pa.schema([*fixed, ("seen_ids", pa.list_(pa.int32()))])
    table = _read_file(path, expected, rows=manifest.num_users)
    _refuse_gaps(table, schema.USER_ID, path)
    user_ids, user_features, item_ids, ratings = (_column(table, f, str(path)) for f in fixed)
    seen_ids, seen_offsets = _ragged(table, "seen_ids", path)
    _refuse_outside(item_ids, manifest.num_items, schema.ITEM_IDS, str(path))
    _refuse_outside(seen_ids, manifest.num_items, "seen_ids", str(path))
    return Histories(user_ids, user_features, item_ids, ratings, seen_ids, seen_offsets)


def _read_file(path: Path, expected: pa.Schema, rows: int) -> pa.Table:
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            found = file.metadata.num_rows
            absent = [n for n in _read_names(expected) if n not in file.schema_arrow.names]
            table = None if absent else file.read(columns=_read_names(expected))
    except FileNotFoundError as error:
        raise ShardsError(f"{path} is missing: window the data again") from error
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ShardsError(f"{path} cannot be read, window the data again: {reason}") from error
    if table is None:
        raise ShardsError(f"{path} lacks the column {absent[0]}: window the data again")
    if found != rows:
        raise ShardsError(
            f"{path} holds {found:,} rows, {rows:,} are expected by the manifest: "
            "window the data again"
        )
    for field in expected:
        if field.name in table.column_names:
            _refuse_type(table.schema.field(field.name).type, field, str(path))
    return table


def _read_names(expected: pa.Schema) -> list[str]:
    """Columns worth reading: a list of width 0 (data without user features) holds nothing."""
    return [f.name for f in expected if not (_is_fixed(f) and f.type.list_size == 0)]


def _is_fixed(field: pa.Field) -> bool:
    return bool(pa.types.is_fixed_size_list(field.type))


def _column(table: pa.Table, field: pa.Field, where: str) -> Any:
    """One column as an array, [B] or [B, width]."""
    if _is_fixed(field) and field.type.list_size == 0:
        return np.zeros((table.num_rows, 0), dtype=field.type.value_type.to_pandas_dtype())
    array = _whole(table, field.name, where)
    _refuse_type(array.type, field, where)
    if _is_fixed(field):
        return _values(array.flatten(), field.name, where).reshape(-1, field.type.list_size)
    return _values(array, field.name, where)


def _ragged(table: pa.Table, name: str, path: Path) -> tuple[Int32, Int64]:
    """A list column as (values, offsets), offsets starting at 0."""
    array = _whole(table, name, str(path))
    offsets = np.asarray(array.offsets, dtype=np.int64)
    return _values(array.flatten(), name, str(path)), offsets - offsets[0]


def _whole(table: pa.Table, name: str, where: str) -> pa.Array:
    if name not in table.column_names:
        raise ShardsError(f"{where} lacks the column {name}: window the data again")
    column = table[name]
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if array.null_count:
        raise ShardsError(f"{where} has nulls in column {name}: window the data again")
    return array


def _values(array: pa.Array, name: str, where: str) -> Any:
    if array.null_count:
        raise ShardsError(f"{where} has nulls in column {name}: window the data again")
    return array.to_numpy(zero_copy_only=True)


def _refuse_type(given: pa.DataType, field: pa.Field, where: str) -> None:
    """Refuse another type; names inside lists may differ, they depend on the writer."""
    if given != field.type:
        raise ShardsError(
            f"{where} has column {field.name} as {given}, expected is {field.type}: "
            "window the data again"
        )


def _refuse_gaps(table: pa.Table, name: str, path: Path) -> None:
    ids: Sequence[int] = _column(table, pa.field(name, pa.int32()), str(path))
    if not np.array_equal(ids, np.arange(1, table.num_rows + 1)):
        raise ShardsError(f"{path} must hold {name} 1, 2, 3 ... in order: window the data again")


def _refuse_outside(ids: Int32, highest: int, name: str, where: str) -> None:
    if ids.size and (ids.min() < 0 or ids.max() > highest):
        raise ShardsError(
            f"{where} has values in {name} from {ids.min()} to {ids.max()}, "
            f"allowed are 0 to {highest}: window the data again"
        )
