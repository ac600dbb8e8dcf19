"""What a run found for each window of the test split: the input of paired tests.

`test_windows.parquet` has a row per window, in the order of their ids, so that row i of two runs on
the same data is the same window:

    window_id, user_id   as in the shards
    user_features        codes, as the manifest names them
    num_targets          different targets
    unmasked, masked     the ranks of those that were found, from 1, as far as rankings were judged

and in its metadata the length of the rankings (`depth`). A model that does not rank has no rows.
"""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from itrec_dist.data.schema import TEST
from itrec_dist.data.shards import fetch
from itrec_dist.distributed.context import LocalContext
from itrec_dist.errors import CheckpointError, EnvironmentProblem
from itrec_dist.evaluation.checkpoints import feed_of
from itrec_dist.inference import fitting
from itrec_dist.inference.load import restore
from itrec_dist.metrics.metric import RANKINGS
from itrec_dist.metrics.outcomes import Outcomes
from itrec_dist.runs.directory import BEST, RunDirectory
from itrec_dist.runs.remote import Mirror
from itrec_dist.storage import atomic
from itrec_dist.storage.uri import Uri
from itrec_dist.training.loop import evaluate

_DEPTH = b"depth"
_COLUMNS = pa.schema(
    [
        ("window_id", pa.int64()),
        ("user_id", pa.int32()),
        ("user_features", pa.list_(pa.int32())),
        ("num_targets", pa.int32()),
        *((ranking, pa.list_(pa.int32())) for ranking in RANKINGS),
    ]
)


def write(run: Path, uri: Uri | None = None) -> None:
    """Evaluate the best checkpoint of a run on the test split, and save what it found.

    Args:
        run: the run directory.
        uri: where it is a copy of: its checkpoint is fetched from there, and the file sent there.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        OutputError: the file cannot be written.
        ShardsError: its shards have changed since.
    """
    mirror = None if uri is None else Mirror(uri, run)
    if mirror is not None:
        mirror.fetch_checkpoint(BEST)
    restored = restore(run)
    outcomes = None
    if restored.task.ranks:
        shards = fetch.local(restored.run.shards)
        fitting.refuse_wrong_checksum(restored, shards, restored.run.shards)
        feed = feed_of(restored, fitting.fit(restored, shards), TEST)
        context = LocalContext(restored.engine.device)
        choice = replace(restored.run.evaluation.choice, outcomes=True)
        judge = restored.task.judge(context.device, choice)
        outcomes = evaluate(restored.engine, feed, judge, context).outcomes
    directory = RunDirectory(run)
    save(directory, outcomes)
    if mirror is not None:
        with contextlib.suppress(EnvironmentProblem):  # it may be there to read only
            mirror.store.upload(directory.test_windows, directory.test_windows.name)


def save(run: RunDirectory, outcomes: Outcomes | None) -> None:
    """Write outcomes into the directory of a run, or that there are none.

    Raises:
        OutputError: the file cannot be written.
    """
    table, depth = _COLUMNS.empty_table(), 0
    if outcomes is not None:
        depth = outcomes.hits[RANKINGS[0]].shape[1]
        columns = [
            outcomes.window_ids, outcomes.user_ids, list(outcomes.user_features),
            outcomes.num_targets, *(_ranks(outcomes.hits[ranking]) for ranking in RANKINGS),
        ]  # fmt: skip
        table = pa.table(
            [pa.array(c, f.type) for c, f in zip(columns, _COLUMNS, strict=True)], _COLUMNS
        )
    table = table.replace_schema_metadata({_DEPTH: str(depth)})
    with atomic.new_file(run.test_windows) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read(run: Path) -> Outcomes | None:
    """What `save` wrote; None if there is no file, or nothing in it.

    Raises:
        CheckpointError: the file is damaged.
    """
    place = RunDirectory(run).test_windows
    if not place.is_file():
        return None
    try:
        table = pq.read_table(place, schema=_COLUMNS.with_metadata(None))
        depth = int(pq.read_schema(place).metadata[_DEPTH])
        if not table.num_rows:
            return None
        windows, users, counts = (
            table[name].to_numpy().astype(np.int64)
            for name in ("window_id", "user_id", "num_targets")
        )
        codes = table["user_features"].combine_chunks().flatten().to_numpy()
        features = codes.astype(np.int64).reshape(len(windows), -1)
        hits = {ranking: _hits(table[ranking].combine_chunks(), depth) for ranking in RANKINGS}
    except (OSError, ValueError, TypeError, IndexError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{place} is damaged ({reason}): remove it and resume") from error
    return Outcomes(windows, users, features, counts, hits)


def _ranks(hits: npt.NDArray[np.bool_]) -> pa.Array:
    """The ranks of the hits of each window, as a list."""
    _, places = hits.nonzero()
    offsets = np.concatenate([[0], hits.sum(axis=1).cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, (places + 1).astype(np.int32))


def _hits(ranks: pa.ListArray, depth: int) -> npt.NDArray[np.bool_]:
    """Whether each place up to `depth` is a hit, [W, depth]."""
    hits = np.zeros((len(ranks), depth), dtype=bool)
    rows = np.repeat(np.arange(len(ranks)), ranks.value_lengths().to_numpy())
    hits[rows, ranks.flatten().to_numpy() - 1] = True
    return hits
