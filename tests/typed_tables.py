"""Tables of four events with columns of any type, and what is read from them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from itrec_dist.data.database import Database
from itrec_dist.data.sources import staging
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import DataError

RATED = TableConfig(columns=TableColumns(rating="rating"))


def write(path: Path, **columns: Any) -> Path:
    """Four events; keywords replace columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    base = {"user": list("aabb"), "item": list("xyxy"), "timestamp": [1, 2, 3, 4]}
    table = base | {"rating": [1.0, 2.0, 3.0, 4.0]} | columns
    pq.write_table(pa.table(table), path)
    return path


def read(path: Path, table: TableConfig = RATED) -> list[dict[str, Any]]:
    """The rows of `ratings`, checked as windowing checks them."""
    with Database(threads=1) as database:
        staged = table.stage(database, path)
        found = [row for batch in database.stored("ratings") for row in batch.to_pylist()]
        staging.key_events(database, staged)
    return found


def column(path: Path, name: str, table: TableConfig = RATED) -> list[Any]:
    return [row[name] for row in read(path, table)]


def refusal(path: Path, table: TableConfig = RATED) -> str:
    with pytest.raises(DataError) as caught:
        read(path, table)
    assert "\n" not in str(caught.value)
    return str(caught.value)
