"""One trial: its runs, one seed after another, in the process that it is called in.

A run whose configuration asks for several workers is launched from here as a group of its own.

A run that is complete is not trained again; one that was cut off is begun anew. Nothing that goes
wrong here leaves as an exception: it becomes an outcome, so that no trial ends a sweep.
"""

import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from itrec_dist import config, environment, launch, manifest, storage
from itrec_dist.context import LocalContext
from itrec_dist.errors import ConfigError, ItrecError
from itrec_dist.run import RunConfig, check, prepare
from itrec_dist.run_directory import RunDirectory
from itrec_dist.schema import VALIDATION
from itrec_dist.sweep import windows
from itrec_dist.sweep.directory import Outcome, Status, SweepDirectory
from itrec_dist.sweep.settings import Runs, SweepConfig
from itrec_dist.sweep.space import Assignment
from itrec_dist.worker import run_worker

_POLL_SECONDS = 0.2

OnEpoch = Callable[[int, float], None]
"""Is told an epoch and the metric's value after it; may raise `Stopped`."""


class Stopped(KeyboardInterrupt):
    """The scheduler has given the trial up."""


@dataclass(frozen=True)
class Job:
    """What an actor is asked to do: the runs of a trial, or one of a finalist."""

    number: int
    assignment: Assignment
    seeds: tuple[int, ...]
    is_final: bool = False

    @property
    def waits(self) -> bool:
        """Whether there is nothing to do but to keep a process until the search is over."""
        return not self.seeds


WAIT = Job(-1, {}, ())
"""For a process that is free while others run the last trials: the finals will need it, and its
start costs more than its waiting."""


class _TrialContext(LocalContext):
    """The only worker of a run, which tells of its epochs."""

    def __init__(self, run: RunConfig, device: torch.device | None, on_epoch: OnEpoch) -> None:
        super().__init__(device, run.cluster.threads)
        self._run, self._on_epoch = run, on_epoch

    def report(self, metrics: dict[str, Any]) -> None:
        """Tell of the epoch, unless it is the last: the judgement that follows tells more."""
        if metrics["epoch"] < self._run.training.epochs:
            self._on_epoch(metrics["epoch"], metrics["monitor"])


class Trials:
    """Runs the trials of a sweep, in one process."""

    def __init__(
        self, sweep: SweepConfig, device: torch.device | None = None,
        group_on_gpus: bool | None = None,
    ) -> None:  # fmt: skip
        """Prepare for the trials of a sweep.

        Args:
            sweep: the sweep.
            device: where this process trains.
            group_on_gpus: null trains in this process; else a group of workers is launched for
                each run, with or without a GPU for each of them.
        """
        self._sweep, self._device, self._group_on_gpus = sweep, device, group_on_gpus
        self._runs = Runs(sweep)
        self._directory = SweepDirectory(sweep.out)

    def work(self, job: Job, on_epoch: OnEpoch) -> Outcome:
        """Train and judge all runs of a job; tried again as the sweep's `retries` say.

        Raises:
            Stopped: `on_epoch` did.
        """
        if job.waits:
            while not self._directory.searched.exists():
                time.sleep(_POLL_SECONDS)
            return Outcome("complete")
        for attempt in range(1, self._sweep.retries + 2):
            try:
                done = [self._run(job, seed, on_epoch) for seed in job.seeds]
                return _summary(done, attempt)
            except Exception as error:
                told = _told(error)
                self._keep_traceback(job)
                is_mistake = isinstance(error, ItrecError) and error.exit_code == 2
                status: Status = "refused" if isinstance(error, ConfigError) else "failed"
                if is_mistake or attempt > self._sweep.retries:
                    return Outcome(status, attempts=attempt, error=told)
        raise AssertionError

    def _run(self, job: Job, seed: int, on_epoch: OnEpoch) -> "_Done":
        place = self._directory.run(job.number, seed, is_final=job.is_final)
        run = self._runs.build(job.assignment, place, seed, judge_test=job.is_final)
        directory = RunDirectory(place)
        if not (directory.is_complete and _is_same(directory, run)):
            data = check(run, run.cluster.num_workers)
            shutil.rmtree(place, ignore_errors=True)
            prepare(run, data, {**_environment(), "seed": seed})
            if self._group_on_gpus is None:
                run_worker(run, _TrialContext(run, self._device, on_epoch))
            else:
                launch.launch(run, self._group_on_gpus)
        if job.is_final and not (place / windows.FILE).is_file():
            windows.write(place)
        return _read(run)

    def _keep_traceback(self, job: Job) -> None:
        place = self._directory.trial(job.number) / "error.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(traceback.format_exc(), encoding="utf-8")


@dataclass(frozen=True)
class _Done:
    value: float
    cost: dict[str, float]


def _read(run: RunConfig) -> _Done:
    directory = RunDirectory(run.folder)
    judged = directory.read_json(directory.evaluation)["splits"][VALIDATION]
    epochs = directory.events("epoch")
    start, end = directory.events("start")[-1], directory.events("end")[-1]
    speeds = sorted(epoch["windows_per_second"] for epoch in epochs)
    cost = {
        "seconds": float(end["seconds"]),
        "windows_per_second": float(speeds[len(speeds) // 2]),
        "num_parameters": float(start["num_parameters"]),
    }
    return _Done(run.training.value(judged), cost)


def _summary(done: list[_Done], attempts: int) -> Outcome:
    values = tuple(one.value for one in done)
    cost = {name: sum(one.cost[name] for one in done) / len(done) for name in done[0].cost}
    return Outcome("complete", sum(values) / len(values), values, cost, attempts)


def _is_same(directory: RunDirectory, run: RunConfig) -> bool:
    """Whether the complete run is this very one, on these very data."""
    try:
        stored = config.load(RunConfig, directory.config)
    except ConfigError:
        return False
    judged = directory.read_json(directory.evaluation)
    fingerprint = manifest.read(storage.local(run.shards)).fingerprint
    return replace(stored, out=run.out) == run and judged["fingerprint"] == fingerprint


@cache
def _environment() -> dict[str, Any]:
    return environment.record(None)


def _told(error: Exception) -> str:
    if isinstance(error, ItrecError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
