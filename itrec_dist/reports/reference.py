"""The run that all others of a report are compared with, by paired tests on the same users.

What a run found for each window of the test split is kept by studies, sweeps and baselines alone; a
run of `itrec train` is evaluated again for it, once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from itrec_dist.data import schema
from itrec_dist.errors import ConfigError
from itrec_dist.evaluation import per_window
from itrec_dist.reports.runs import Run, find, read
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage.uri import Uri


def compared(
    runs: Sequence[Run], against: Path, copies: Mapping[Path, Uri | None] = MappingProxyType({})
) -> list[Run]:
    """The runs and the reference, with what each found for every test window.

    Args:
        runs: those that are to be compared.
        against: the reference, or a folder that contains it.
        copies: of the runs that are copied from a URI, that URI.

    Raises:
        CheckpointError: a checkpoint cannot be loaded.
        ConfigError: `against` is no single run with a test split, or no other run is on its data.
        ShardsError: the shards of a run have changed since.
    """
    places = find([against])
    if len(places) > 1:
        raise ConfigError(
            f"--against {against} holds {len(places)} runs, and all others are compared with one: "
            f"give it, such as {places[0]}"
        )
    chosen = replace(read(places[0]), is_reference=True)
    if schema.TEST not in chosen.judgements:
        raise ConfigError(
            f"--against {against} was not judged on a test split, and paired tests are of test "
            "windows: train it to the end, on shards that have one"
        )
    others = [run for run in runs if run.path.resolve() != chosen.path.resolve()]
    same = [run for run in others if _can_meet(run, chosen)]
    if not same:
        raise ConfigError(
            f"none of the runs was judged on the test split of --against {against}: give runs on "
            "the same shards that are complete"
        )
    for run in (*same, chosen):
        if run.kind == "train" and not RunDirectory(run.path).test_windows.is_file():
            per_window.write(run.path, copies.get(run.path))
    return [*others, chosen]


def _can_meet(run: Run, chosen: Run) -> bool:
    if run.manifest is None or chosen.manifest is None or schema.TEST not in run.judgements:
        return False
    return (run.manifest.fingerprint, run.task, run.seen) == (
        chosen.manifest.fingerprint, chosen.task, chosen.seen
    )  # fmt: skip
