"""Estimates the size of a run, and the duration of a sweep."""

import contextlib
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from itrec_dist.data import manifest
from itrec_dist.data import spec as data_spec
from itrec_dist.data.schema import TRAIN, VALIDATION
from itrec_dist.data.shards import fetch, reader
from itrec_dist.data.shards.arrays import window_columns
from itrec_dist.data.shards.columns import Widths
from itrec_dist.distributed.context import LocalContext
from itrec_dist.errors import ItrecError
from itrec_dist.storage.uri import Uri
from itrec_dist.sweeps.config import Runs, SweepConfig
from itrec_dist.sweeps.space import Assignment
from itrec_dist.tasks import TASKS
from itrec_dist.training.config import RunConfig, check, prepare
from itrec_dist.training.worker import run_worker

_CONTEXT_BYTES = 1.5 * 2**30  # of CUDA and its libraries in each process
_BYTES_PER_PARAMETER = 16  # weight, gradient and two moments in fp32
_MEASURED_SECONDS = 6.0
_WARM_UP = 5  # steps
_JUDGED_TO_TRAINED = 1 / 3  # evaluation is a forward pass, training costs three
_START_SECONDS = 15.0  # of the actors: imports


@dataclass(frozen=True)
class Size:
    """The size of a run."""

    parameters: int
    bytes_on_device: float


def size(run: RunConfig) -> Size:
    """The parameters of a run's model, and a generous estimate of the memory to train it."""
    shards = fetch.local(run.shards)
    data = manifest.read(shards)
    with torch.device("cpu"):
        spec = data_spec.build(data, reader.read_items(shards, data))
        task = TASKS[run.model.task](run.model, run.loss, spec)
    parameters = sum(p.numel() for p in task.parameters())
    rows = sum(data.num_windows(split) for split in data.splits)
    row_bytes = Widths.of(data).row_bytes(window_columns(times=run.model.uses_times))
    scores = 4 * 4 * (data.num_items + 1) * max(run.training.batch_size, run.evaluation.batch_size)
    held = _BYTES_PER_PARAMETER * parameters + rows * row_bytes + scores
    return Size(parameters, _CONTEXT_BYTES + 1.5 * held)


class _Enough(KeyboardInterrupt):
    pass


def seconds_of_run(run: RunConfig) -> float:
    """Estimate how long a run takes on this machine, from the first seconds of its training.

    The first steps are excluded: they are slower than the rest.

    Raises:
        ItrecError: the run cannot be trained.
    """
    began = time.monotonic()
    marks: list[tuple[int, float]] = []
    seen: dict[str, Any] = {}

    def watch(event: dict[str, Any]) -> None:
        now = time.monotonic() - began
        if event["event"] == "start":
            seen.update(setup=now, steps_per_epoch=event["steps_per_epoch"])
        elif event["event"] == "progress":
            marks.append((event["step"], now))
            if now - seen["setup"] > _MEASURED_SECONDS:
                raise _Enough

    with tempfile.TemporaryDirectory(prefix="itrec-measured-") as folder:
        measured = replace(
            run, out=Path(folder) / "run", training=replace(run.training, log_seconds=0.0)
        )
        data = check(measured, 1)
        prepare(measured, data, {})
        with contextlib.suppress(_Enough):
            run_worker(measured, LocalContext(threads=run.cluster.threads), watch)
    whole = time.monotonic() - began
    if len(marks) >= run.training.epochs * seen["steps_per_epoch"]:
        return whole  # it finished while it was measured
    per_epoch = seconds_per_step(marks, seen["setup"]) * seen["steps_per_epoch"]
    judged = data.num_windows(VALIDATION) + run.evaluation.train_sample
    judging = per_epoch * _JUDGED_TO_TRAINED * judged / data.num_windows(TRAIN)
    return float(seen["setup"] + run.training.epochs * (per_epoch + judging))


def seconds_per_step(marks: Sequence[tuple[int, float]], setup: float) -> float:
    """The duration of a step, without the first ones where others were measured.

    Args:
        marks: steps and the seconds at which each was done, in order; at least one.
        setup: the seconds at which training began.
    """
    warm = min(_WARM_UP, len(marks) - 2)  # steps of seconds leave few to exclude
    first, last = marks[warm] if warm >= 0 else (0, setup), marks[-1]
    return (last[1] - first[1]) / max(last[0] - first[0], 1)


def invalid_trials(runs: Runs, out: Uri | Path, assignments: Sequence[Assignment]) -> list[str]:
    """The error messages of the assignments that are invalid."""
    messages = []
    for number, assignment in enumerate(assignments):
        try:
            run = runs.build(assignment, out, 0)
            check(run, run.cluster.num_workers)
        except ItrecError as error:
            messages.append(f"trial {number:04d}: {error}")
    return messages


def format_time(seconds: float) -> str:
    """A duration, for printing."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def total_seconds(per_run: float, num_runs: float, concurrent: int) -> float:
    """The duration of runs, so many of them concurrent, including the start of the actors."""
    return _START_SECONDS + math.ceil(num_runs / concurrent) * per_run


def least_runs(sweep: SweepConfig, count: int, epochs: int, combinations: int) -> float:
    """The training of `count` trials in whole runs, if the scheduler stops as many as possible.

    At each rung one trial of every combination continues, and one of `reduction` of the others.
    """
    if sweep.scheduler.name != "asha":
        return float(count)
    kept, begun, trained = float(count), 0, 0.0
    rung = sweep.scheduler.grace
    while rung < epochs:
        trained += kept * (rung - begun)
        kept, begun = max(kept / sweep.scheduler.reduction, min(kept, combinations)), rung
        rung *= sweep.scheduler.reduction
    return (trained + kept * (epochs - begun)) / epochs
