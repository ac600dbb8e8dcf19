"""What the ids and titles of a catalogue hold in a process that reads its item table.

    python jobs/benchmarks/catalogue_memory.py --scratch FOLDER --items 2000000

writes an item table with an id of up to eight digits and a title for each item, and reads it as
workers do, in a process of its own. Held is the process's own memory after it (RssAnon), the peak
that of its resident memory (VmHWM), both less what it held before.
"""

import gc
import multiprocessing
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import machine

from itrec_dist.config import Parser
from itrec_dist.data import schema
from itrec_dist.data.shards import reader

_SPREAD = 7919  # a prime, so that ids differ


def make(folder: Path, count: int) -> None:
    """The item table of a catalogue without years, genres, features and vectors."""
    numbers = np.arange(1, count + 1)
    given = {
        "item_id": numbers.astype(np.int32),
        "source_id": [str(n * _SPREAD % 100_000_007) for n in numbers.tolist()],
        "title": [f"Item number {n}" for n in numbers.tolist()],
        "num_events": np.ones(count, dtype=np.int64),
        "num_train_targets": np.ones(count, dtype=np.int64),
    }
    wanted = reader.item_schema(0)
    columns = [_column(given.get(field.name), field.type, count) for field in wanted]
    pq.write_table(pa.table(columns, schema=wanted), folder / schema.ITEMS_FILE)


def _column(given: Any, kind: pa.DataType, count: int) -> pa.Array:
    if given is not None:
        return pa.array(given, kind)
    return pa.array([[]] * count, kind) if pa.types.is_list(kind) else pa.nulls(count, kind)


def read(folder: Path, count: int) -> tuple[int, int]:
    """Bytes held by a catalogue that was read, and those at the peak."""
    described: Any = SimpleNamespace(num_items=count, item_vector_width=0, item_feature_width=0)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    own, resident = _memory("RssAnon"), _memory("VmRSS")
    items = reader.read_items(folder, described)
    gc.collect()
    assert len(items) == count
    return _memory("RssAnon") - own, _memory("VmHWM") - resident


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    """Make, read, and print a line."""
    parser = Parser("catalogue_memory.py", __doc__ or "")
    parser.add_argument("--scratch", type=Path, required=True, help="Folder for the item table.")
    parser.add_argument("--items", type=int, default=2_000_000, help="Size of the catalogue.")
    given = parser.parse(sys.argv[1:])
    given.scratch.mkdir(parents=True, exist_ok=True)
    make(given.scratch, given["items"])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        held, peak = pool.apply(read, (given.scratch, given["items"]))
    print(
        f"{machine()}; {given['items']:,} items: held {held / 1e6:,.0f} MB, peak {peak / 1e6:,.0f}"
    )


if __name__ == "__main__":
    main()
