"""What the feed costs without a model: windows per second from Parquet to batches of tensors.

`raw` is the baseline: the row groups of the same files, one after the other, turned into tensors
with no order, no batches and no shuffling. `ray` does the same with the blocks that Ray Data
streams. The other ways shuffle and cut batches: `streamed` from files on every pass, `cached` from
memory, and `in-memory` is the plain loop that `cached` is to be compared with: one tensor per
column and a permutation.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
import torch
from measuring import Target, Way

from itrec_dist.data import feeds, manifest
from itrec_dist.data.batches import Share
from itrec_dist.data.feeds import Feed, StreamedFeed
from itrec_dist.data.shards import arrays
from itrec_dist.data.shards.splits import BlockReader, WindowReader, read_split, split_files
from itrec_dist.distributed.context import LocalContext, RayContext

TARGETS = {
    "ray": Target("raw", 0.5),
    "cached": Target("in-memory", 0.95),
}
_BUFFER = 262_144


def ways(shards: Path, batch_size: int) -> dict[str, Way]:
    """Every way by name, ready to be timed; the first pass of the Ray ones starts its readers."""
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    ray.init(
        address="local", num_cpus=4, include_dashboard=False, log_to_driver=False,
        logging_level="error",
    )  # fmt: skip
    described = manifest.read(shards)
    files = split_files(shards, described, "train")
    count = sum(f.rows for f in files)
    cpu, share = torch.device("cpu"), Share(batch_size)
    local = LocalContext(cpu, threads=1)
    windows = read_split(shards, described, "train")

    def ray_blocks(wanted: Sequence[Path], columns: Sequence[str]) -> Iterator[pa.Table]:
        return RayContext.blocks(None, wanted, columns)  # a context itself exists in workers only

    def tensors_of(read: BlockReader) -> Callable[[], int]:
        return lambda: sum(map(_tensors, WindowReader(described, read).read(files)))

    streams = {
        name: StreamedFeed(files, WindowReader(described, read), share, cpu, _BUFFER)
        for name, read in (("streamed", local.blocks), ("streamed by ray", ray_blocks))
    }
    cached = feeds.cached(windows, share, cpu)
    passes: dict[str, Callable[[], int]] = {
        "raw": tensors_of(local.blocks),
        "ray": tensors_of(ray_blocks),
        "in-memory": _in_memory(windows, batch_size),
        "cached": lambda: _drain(cached),
        **{name: lambda feed=feed: _drain(feed) for name, feed in streams.items()},
    }
    for one in passes.values():
        one()
    return {name: _timed(one, count) for name, one in passes.items()}


def _timed(one_pass: Callable[[], int], count: int) -> Way:
    def way() -> list[float]:
        started = time.perf_counter()
        seen = one_pass()
        assert seen == count, (seen, count)
        return [count / (time.perf_counter() - started)]

    return way


def _tensors(windows: arrays.Windows) -> int:
    held = [column for column in vars(windows).values() if column is not None]
    columns = [torch.from_numpy(np.ascontiguousarray(column)) for column in held]
    return len(columns[0])


def _in_memory(windows: arrays.Windows, batch_size: int) -> Callable[[], int]:
    unused = ("times", "target_time")
    needed = {name: c for name, c in vars(windows).items() if name not in unused}
    columns = {name: torch.from_numpy(c.copy()) for name, c in needed.items()}

    def one_pass() -> int:
        order, seen = torch.randperm(len(windows)), 0
        for rows in order.split(batch_size):
            batch = {name: column[rows] for name, column in columns.items()}
            seen += len(batch["item_ids"])
        return seen

    return one_pass


def _drain(feed: Feed) -> int:
    return round(sum(batch.denominator for batch in feed.epoch((0, 1))))
