"""Reads a shards folder as numpy arrays, in-process and without copying where Arrow allows it.

Owns the conversion from Arrow columns to arrays (`table_to_arrays`, for Parquet files and streamed
blocks) and the checks against the manifest. Leaves the files of a split to `splits.py`, and
batching, shuffling and tensors to `data/feeds.py`.

The arrays may be read-only views of Arrow memory: `take` makes writable copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards.arrays import (
    HISTORY_COLUMNS,
    HISTORY_ROW_COLUMNS,
    USER_COLUMNS,
    WINDOW_COLUMNS,
    Histories,
    HistoryRows,
    Int32,
    Int64,
    Items,
    Ragged,
    Users,
    Windows,
)
from itrec_dist.data.shards.arrow_column import ArrowColumn
from itrec_dist.data.shards.columns import (
    ITEM_SCHEMA,
    TIMES,
    Column,
    Widths,
    columns_of,
    item_schema,
)
from itrec_dist.errors import ShardsError
from itrec_dist.storage import parquet


def column_names(manifest: Manifest, *, times: bool) -> list[str]:
    """The columns of a shard to read; times only if requested."""
    return [c.name for c in _held(WINDOW_COLUMNS, manifest) if times or c is not TIMES]


def table_to_arrays(
    table: pa.Table, manifest: Manifest, where: str = "a block", *, times: bool = False
) -> Windows:
    """Convert a table with the columns of a shard to arrays; rows keep their order.

    `where` names the table in error messages. Times are None unless requested, and 0 if the shards
    have none.

    Raises:
        ShardsError: a column is missing, of another type or width, holds nulls or ids outside
            the catalogue.
    """
    wanted = {n: c for n, c in columns_of(Windows).items() if times or c is not TIMES}
    windows = Windows(**{"times": None, **_arrays(table, wanted, manifest, where)})
    _refuse_outside(windows.item_ids, manifest.num_items, "item_ids", where)
    _refuse_outside(windows.target_ids, manifest.num_items, "target_ids", where)
    for i, feature in enumerate(manifest.user_features):
        _refuse_outside(windows.user_features[:, i], len(feature.values), feature.name, where)
    return windows


def history_column_names(manifest: Manifest) -> list[str]:
    """The columns of a shard of histories."""
    widths = Widths.of(manifest)
    return [column.name for column in HISTORY_ROW_COLUMNS if not widths.is_absent(column)]


def table_to_history_rows(
    table: pa.Table, manifest: Manifest, where: str = "a block"
) -> HistoryRows:
    """The arrays of a table that has the columns of a shard of histories; rows keep their order.

    Raises:
        ShardsError: a column is missing, of another type, holds nulls or ids outside the catalogue,
            or the lists of a row do not agree.
    """
    columns, widths = columns_of(HistoryRows), Widths.of(manifest)
    ragged = {name: c for name, c in columns.items() if c.width == "ragged"}
    fixed = {name: c for name, c in columns.items() if not c.width.startswith("ragged")}
    arrays = _arrays(table, fixed, manifest, where)
    for name, column in ragged.items():
        arrays[name] = Ragged(*_ragged(table, column.name, where))
        _refuse_type(table.schema.field(column.name).type, widths.field(column), where)
    arrays["event_features"] = _event_features(table, arrays["item_ids"], manifest, where)
    rows = HistoryRows(**arrays)
    for name in ("item_ids", "seen_ids", "target_ids"):
        _refuse_outside(getattr(rows, name).values, manifest.num_items, name, where)
    for i, feature in enumerate(manifest.user_features):
        _refuse_outside(rows.user_features[:, i], len(feature.values), feature.name, where)
    lengths = rows.item_ids.lengths
    for name, other in (("ratings", rows.ratings), ("times", rows.times)):
        if not np.array_equal(other.lengths, lengths):
            raise ShardsError(
                f"{where} has rows with more or fewer {name} than item_ids: window the data again"
            )
    if len(rows) and not ((rows.num_context > 0) & (rows.num_context <= lengths)).all():
        raise ShardsError(f"{where} has num_context outside its rows: window the data again")
    num_after, num_given = lengths - rows.num_context, rows.target_ids.lengths
    if (rows.chooses_targets & (num_given != num_after)).any():
        raise ShardsError(
            f"{where} has training rows with more or fewer target_ids than events after "
            "num_context: window the data again"
        )
    return rows


def read_items(shards: Path, manifest: Manifest) -> Items:
    """Read the item table.

    Raises:
        ShardsError: it is missing, damaged or does not match the manifest.
    """
    path = shards / schema.ITEMS_FILE
    expected = item_schema(manifest.item_vector_width)
    table = _read_file(path, expected, rows=manifest.num_items)
    _refuse_gaps(table, "item_id", path)
    vectors = np.zeros((len(table), 0), dtype=np.float32)
    if manifest.item_vector_width:
        vectors = _column(table, expected.field("vector"), str(path))
    codes, offsets = _ragged(table, "feature_codes", path)
    _refuse_outside(codes, manifest.item_feature_width - 1, "feature_codes", str(path))
    return Items(
        source_ids=ArrowColumn(table["source_id"].combine_chunks()),
        titles=ArrowColumn(table["title"].combine_chunks().fill_null("")),
        years=ArrowColumn(table["year"].combine_chunks()),
        genres=ArrowColumn(table["genres"].combine_chunks()),
        num_events=_column(table, ITEM_SCHEMA.field("num_events"), str(path)),
        num_train_targets=_column(table, ITEM_SCHEMA.field("num_train_targets"), str(path)),
        feature_codes=codes,
        feature_offsets=offsets,
        feature_width=manifest.item_feature_width,
        vectors=vectors,
    )


def refuse_without_users(shards: Path) -> None:
    """Raise a ShardsError for shards without a file of users, needed when training is over."""
    if not (shards / schema.USERS_FILE).is_file():
        raise ShardsError(f"{shards / schema.USERS_FILE} is missing: window the data again")


def read_users(shards: Path, manifest: Manifest) -> Users:
    """Read the user table.

    Raises:
        ShardsError: it is missing, damaged or does not match the manifest.
    """
    path = shards / schema.USERS_FILE
    expected = Widths.of(manifest).schema(_held(USER_COLUMNS, manifest))
    table = _read_file(path, expected, rows=manifest.num_users)
    _refuse_gaps(table, "user_id", path)
    columns = columns_of(Users)
    source_ids = tuple(table[columns["source_ids"].name].to_pylist())
    numbers = {name: c for name, c in columns.items() if name != "source_ids"}
    return Users(source_ids=source_ids, **_arrays(table, numbers, manifest, str(path)))


def read_histories(shards: Path, manifest: Manifest) -> Histories:
    """Read every kept user's latest events.

    Raises:
        ShardsError: the file is missing, damaged or does not match the manifest.
    """
    path = shards / schema.HISTORIES_FILE
    table = _read_file(path, history_schema(manifest), rows=manifest.num_users)
    _refuse_gaps(table, "user_id", path)
    return table_to_histories(table, manifest, str(path))


def history_pieces(
    shards: Path, manifest: Manifest, users: int
) -> Iterator[tuple[tuple[str, ...], Histories]]:
    """Source ids and latest events of so many kept users at a time; the last may be fewer.

    Memory holds one piece.

    Raises:
        ShardsError: a file is missing, damaged or does not match the manifest.
    """
    names = _pieces(shards / schema.USERS_FILE, pa.schema([("source_id", pa.string())]), users)
    path = shards / schema.HISTORIES_FILE
    num_users = 0
    for table in _pieces(path, history_schema(manifest), users):
        named = next(names, None)
        ids = _column(table, pa.field("user_id", pa.int32()), str(path))
        counted = np.arange(num_users + 1, num_users + len(table) + 1)
        if named is None or len(named) != len(table) or not np.array_equal(ids, counted):
            raise ShardsError(f"{path} and {schema.USERS_FILE} differ: window the data again")
        num_users += len(table)
        yield (
            tuple(named["source_id"].to_pylist()), table_to_histories(table, manifest, str(path))
        )  # fmt: skip
    if num_users != manifest.num_users:
        raise ShardsError(
            f"{path} holds {num_users:,} rows, {manifest.num_users:,} are expected by the "
            "manifest: window the data again"
        )


def _pieces(path: Path, expected: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The rows of a file, so many at a time."""
    try:
        with parquet.opened(path) as file:
            if absent := [n for n in expected.names if n not in file.schema_arrow.names]:
                raise ShardsError(f"{path} lacks the column {absent[0]}: window the data again")
            held: list[pa.Table] = []
            missing = rows
            for batch in file.iter_batches(rows, columns=expected.names):
                rest = pa.Table.from_batches([batch])
                while len(rest) >= missing:
                    yield pa.concat_tables([*held, rest.slice(0, missing)]).combine_chunks()
                    held, rest, missing = [], rest.slice(missing), rows
                if len(rest):
                    held.append(rest)
                    missing -= len(rest)
            if held:
                yield pa.concat_tables(held).combine_chunks()
    except (OSError, pa.ArrowException) as error:
        raise parquet.unreadable(path, error) from error


def history_schema(manifest: Manifest) -> pa.Schema:
    """The columns of latest events that are not empty."""
    return Widths.of(manifest).schema(_held(HISTORY_COLUMNS, manifest))


def table_to_histories(table: pa.Table, manifest: Manifest, where: str) -> Histories:
    """Latest events from a table with the columns of `history_schema`.

    Raises:
        ShardsError: a column is missing, of another type, holds nulls or ids outside the catalogue.
    """
    fixed = {n: c for n, c in columns_of(Histories).items() if c.width != "ragged"}
    seen_ids, seen_offsets = _ragged(table, "seen_ids", where)
    arrays = _arrays(table, fixed, manifest, where)
    shape = (*arrays["item_ids"].shape, len(manifest.event_features))
    arrays["event_features"] = arrays["event_features"].reshape(shape)
    histories = Histories(**arrays, seen_ids=seen_ids, seen_offsets=seen_offsets)
    _refuse_codes(histories.event_features, manifest, where)
    _refuse_outside(histories.item_ids, manifest.num_items, "item_ids", where)
    _refuse_outside(seen_ids, manifest.num_items, "seen_ids", where)
    return histories


def histories_to_table(histories: Histories, manifest: Manifest) -> pa.Table:
    """The table that `table_to_histories` reads."""
    expected, arrays = history_schema(manifest), []
    for name, column in columns_of(Histories).items():
        if column.name not in expected.names:
            continue
        field, values = expected.field(column.name), getattr(histories, name)
        flat = pa.array(values.reshape(-1))
        if column.width == "ragged":
            offsets = pa.array(histories.seen_offsets.astype(np.int32))
            arrays.append(pa.ListArray.from_arrays(offsets, flat))
        elif _is_fixed(field):
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size))
        else:
            arrays.append(flat)
    return pa.Table.from_arrays(arrays, schema=expected)


def _held(columns: Sequence[Column], manifest: Manifest) -> list[Column]:
    """The columns that exist in the files of this manifest and are not empty."""
    widths = Widths.of(manifest)
    is_there = [c for c in columns if not widths.is_empty(c) and not widths.is_absent(c)]
    return [c for c in is_there if c is not TIMES or manifest.has_times]


def _event_features(table: pa.Table, events: Ragged, manifest: Manifest, where: str) -> Ragged:
    """The codes of the features of events, [N, G]."""
    G = len(manifest.event_features)
    if not G:
        return Ragged(np.zeros((len(events.values), 0), dtype=np.int32), events.offsets)
    expected = pa.field("event_features", pa.list_(pa.int32()))
    codes, offsets = _ragged(table, expected.name, where)
    _refuse_type(table.schema.field(expected.name).type, expected, where)
    if not np.array_equal(offsets, events.offsets * G):
        raise ShardsError(
            f"{where} has rows with more or fewer event_features than {G} for each of item_ids: "
            "window the data again"
        )
    codes = codes.reshape(-1, G)
    _refuse_codes(codes, manifest, where)
    return Ragged(codes, events.offsets)


def _refuse_codes(codes: Int32, manifest: Manifest, where: str) -> None:
    for i, feature in enumerate(manifest.event_features):
        _refuse_outside(codes[..., i], feature.num_codes - 1, feature.name, where)


def _arrays(
    table: pa.Table, columns: dict[str, Column], manifest: Manifest, where: str
) -> dict[str, Any]:
    """The arrays of the given columns by name; defaults for columns that the files lack."""
    widths = Widths.of(manifest)
    held = _held(list(columns.values()), manifest)
    return {
        name: _column(table, widths.field(column), where)
        if column in held
        else widths.filled(column, table.num_rows)
        for name, column in columns.items()
    }


def _read_file(path: Path, expected: pa.Schema, rows: int) -> pa.Table:
    try:
        with parquet.opened(path, memory_map=True) as file:
            num_rows = file.metadata.num_rows
            absent = [n for n in expected.names if n not in file.schema_arrow.names]
            table = None if absent else file.read(columns=expected.names)
    except FileNotFoundError as error:
        raise ShardsError(f"{path} is missing: window the data again") from error
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ShardsError(f"{path} cannot be read, window the data again: {reason}") from error
    if table is None:
        raise ShardsError(f"{path} lacks the column {absent[0]}: window the data again")
    if num_rows != rows:
        raise ShardsError(
            f"{path} holds {num_rows:,} rows, {rows:,} are expected by the manifest: "
            "window the data again"
        )
    for field in expected:
        _refuse_type(table.schema.field(field.name).type, field, str(path))
    return table


def _is_fixed(field: pa.Field) -> bool:
    return bool(pa.types.is_fixed_size_list(field.type))


def _column(table: pa.Table, field: pa.Field, where: str) -> Any:
    """One column as an array, [B] or [B, width]."""
    array = _whole(table, field.name, where)
    _refuse_type(array.type, field, where)
    if _is_fixed(field):
        return _values(array.flatten(), field.name, where).reshape(-1, field.type.list_size)
    return _values(array, field.name, where)


def _ragged(table: pa.Table, name: str, path: Path | str) -> tuple[Any, Int64]:
    """A list column as (values, offsets), with offsets starting at 0."""
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
    """Refuse a column of another type; names inside lists may differ between writers."""
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
