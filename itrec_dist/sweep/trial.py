"""One trial: its runs, one seed after another, in the process that it is called in.

A run whose configuration asks for several workers is launched from here as a group of its own.

A run that is complete is not trained again; one that was cut off is begun anew, but for a member of
a population, whose parts go on from the checkpoint that is there. Nothing that goes
wrong here leaves as an exception: it becomes an outcome, so that no trial ends a sweep.
"""

import itertools
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from itrec_dist import config, launch
from itrec_dist.data import manifest
from itrec_dist.data.schema import VALIDATION
from itrec_dist.data.shards import fetch
from itrec_dist.distributed.context import LocalContext
from itrec_dist.errors import ConfigError, ItrecError, TrainingError
from itrec_dist.evaluation import per_window
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.runs.checkpoints import training_state
from itrec_dist.runs.directory import LAST, RunDirectory
from itrec_dist.sweep.config import Runs, SweepConfig
from itrec_dist.sweep.directory import Outcome, Status, SweepDirectory
from itrec_dist.sweep.space import Assignment
from itrec_dist.sweep.trackers import Tracked, following
from itrec_dist.system import environment
from itrec_dist.training import precision, resume
from itrec_dist.training.config import RunConfig, check, prepare
from itrec_dist.training.worker import run_worker

_POLL_SECONDS = 0.2
_WAIT_SECONDS = 5.0  # before the second attempt, twice as long before each further one
_MOST_SECONDS = 60.0

OnEpoch = Callable[[int, float], None]
"""Is told an epoch and the metric's value after it; may raise `Stopped`."""


class Stopped(KeyboardInterrupt):
    """The scheduler has given the trial up."""


class _Reached(KeyboardInterrupt):
    """The epoch is trained that the job ends with; the run goes on in another job."""


@dataclass(frozen=True)
class Job:
    """What an actor is asked to do: the runs of a trial, a part of one, or one of a finalist."""

    number: int
    assignment: Assignment
    seeds: tuple[int, ...]
    is_final: bool = False
    until: int | None = None
    """Last epoch of a part: the run goes on from its checkpoint, and is left there; null trains
    it from the beginning to the end."""
    before: tuple[tuple[int, Assignment], ...] = ()
    """(last epoch, settings) of what a run is trained with before `assignment` holds."""
    attempts: int = 0
    """How often it failed in earlier lives of the sweep."""
    awaits: str = ""
    """File in the scratch folder whose coming ends a job without seeds."""

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> "Job":
        """From what `asdict` gave, by way of JSON."""
        before = tuple((epoch, assignment) for epoch, assignment in content["before"])
        return cls(**{**content, "seeds": tuple(content["seeds"]), "before": before})

    @property
    def waits(self) -> bool:
        """Whether there is nothing to do but to keep a process that will be needed."""
        return not self.seeds


def wait_for(file: str) -> Job:
    """For a process that is free while others do what has to be done before the next job.

    Its start costs more than its waiting.
    """
    return Job(-1, {}, (), awaits=file)


@dataclass(frozen=True)
class Part:
    """A run from where it stands to its last epoch `until`; null is the run's end."""

    until: int | None
    assignment: Assignment
    run: RunConfig


class _TrialContext(LocalContext):
    """The only worker of a run, which tells of its epochs."""

    def __init__(
        self, run: RunConfig, device: torch.device | None, on_epoch: OnEpoch, until: int | None
    ) -> None:
        super().__init__(device, run.cluster.threads)
        self._run, self._on_epoch, self._until = run, on_epoch, until

    def report(self, metrics: dict[str, Any]) -> None:
        """Tell of the epoch, unless it is the last: the judgement that follows tells more.

        Raises:
            _Reached: it is the last of the job, and not of the run.
        """
        if metrics["epoch"] < self._run.training.epochs:
            self._on_epoch(metrics["epoch"], metrics["monitor"])
            if metrics["epoch"] == self._until:
                raise _Reached


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

        A setting that is refused stays so. What the machine lacks, such as shards that cannot be
        reached, may pass: it is waited for.

        Raises:
            Stopped: `on_epoch` did.
        """
        if job.waits:
            awaited = [self._directory.scratch / job.awaits, self._directory.searched]
            while not any(file.exists() for file in awaited):
                time.sleep(_POLL_SECONDS)
            return Outcome("complete")
        for attempt in itertools.count(job.attempts + 1):
            try:
                done = [self._run(job, seed, on_epoch) for seed in job.seeds]
                return _summary(done, attempt)
            except Exception as error:
                told = _told(error)
                self._keep_traceback(job)
                status: Status = "refused" if isinstance(error, ConfigError) else "failed"
                if status == "refused" or attempt > self._sweep.retries:
                    return Outcome(status, attempts=attempt, error=told)
                if _is_of_environment(error):
                    time.sleep(min(_WAIT_SECONDS * 2 ** (attempt - 1), _MOST_SECONDS))
        raise AssertionError

    def _run(self, job: Job, seed: int, on_epoch: OnEpoch) -> "_Done":
        place = self._directory.run(job.number, seed, is_final=job.is_final)
        parts = self.built(job, place, seed)
        run = parts[-1].run
        directory = RunDirectory(place)
        if not (directory.is_complete and _is_same(directory, run)):
            if job.until is None:
                shutil.rmtree(place, ignore_errors=True)
            is_whole = True
            for part in parts:
                name = _name(job, seed, part.until)
                tracked = Tracked(self._sweep.out.name, name, part.assignment, directory)
                is_whole = self._train(part.run, on_epoch, part.until, tracked)
            if not is_whole:
                judged = directory.events("epoch")[-1]["validation"]
                value = run.training.value(Judgement.from_json(judged))
                return _Done(value, {}, is_whole=False)
        if job.is_final and not (place / per_window.FILE).is_file():
            per_window.write(place)
        return _read(run)

    def built(self, job: Job, place: Path, seed: int) -> list["Part"]:
        """The parts of a job's run with one seed, each with its own settings.

        Raises:
            ConfigError: settings do not fit each other.
        """
        return [
            Part(until, assignment,
                 self._runs.build(assignment, place, seed, judge_test=job.is_final))
            for until, assignment in (*job.before, (job.until, job.assignment))
        ]  # fmt: skip

    def _train(
        self, run: RunConfig, on_epoch: OnEpoch, until: int | None, tracked: Tracked
    ) -> bool:
        """Train a run up to an epoch, from where it stands; returns whether it is complete.

        What is gone on with has the settings of `run` from here on: the first update alone still
        has the learning rate that the one before it prepared.
        """
        data, recorded = check(run, run.cluster.num_workers), {**_environment(), "seed": run.seed}
        last = RunDirectory(run.folder).checkpoints / LAST
        if last.is_dir():
            epoch = training_state.read(last).position.epoch
            if epoch == until and until < run.training.epochs:
                return False  # the driver was killed before it knew
            resume.prepare(run, recorded)
        else:
            shutil.rmtree(run.folder, ignore_errors=True)
            prepare(run, data, recorded)
        with following(self._sweep.trackers, tracked) as watch:
            if self._group_on_gpus is not None:
                launch.launch(run, self._group_on_gpus)
                for event in tracked.run.events():  # of other processes
                    watch(event)
                return True
            try:
                run_worker(run, _TrialContext(run, self._device, on_epoch, until), watch)
            except _Reached:
                return False
            return True

    def _keep_traceback(self, job: Job) -> None:
        place = self._directory.trial(job.number) / "error.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(traceback.format_exc(), encoding="utf-8")


def _name(job: Job, seed: int, until: int | None) -> str:
    """A run, or a part of one that ends with an epoch, as trackers show it."""
    part = f" to epoch {until}" if until else ""
    return f"{'final' if job.is_final else 'trial'} {job.number:04d} seed {seed}{part}"


@dataclass(frozen=True)
class _Done:
    value: float
    cost: dict[str, float]
    is_whole: bool = True


def _read(run: RunConfig) -> _Done:
    directory = RunDirectory(run.folder)
    judged = directory.read_json(directory.evaluation)["splits"][VALIDATION]
    epochs = directory.events("epoch")
    start, ends = directory.events("start")[-1], directory.events("end")
    speeds = sorted(epoch["windows_per_second"] for epoch in epochs)
    cost = {
        "seconds": float(sum(end["seconds"] for end in ends)),  # of all its parts
        "windows_per_second": float(speeds[len(speeds) // 2]),
        "num_parameters": float(start["num_parameters"]),
    }
    return _Done(run.training.value(Judgement.from_json(judged)), cost)


def _summary(done: list[_Done], attempts: int) -> Outcome:
    values = tuple(one.value for one in done)
    cost = {name: sum(one.cost[name] for one in done) / len(done) for name in done[0].cost}
    status: Status = "complete" if all(one.is_whole for one in done) else "open"
    return Outcome(status, sum(values) / len(values), values, cost, attempts)


def _is_same(directory: RunDirectory, run: RunConfig) -> bool:
    """Whether the complete run is this very one, on these very data."""
    try:
        stored = config.load(RunConfig, directory.config)
    except ConfigError:
        return False
    judged = directory.read_json(directory.evaluation)
    fingerprint = manifest.read(fetch.local(run.shards)).fingerprint
    is_same = precision.is_same(replace(stored, out=run.out), run)
    return is_same and judged["fingerprint"] == fingerprint


@cache
def _environment() -> dict[str, Any]:
    return environment.record(None)


def _is_of_environment(error: Exception) -> bool:
    """Whether it says something of the machine, and nothing of the training."""
    return isinstance(error, ItrecError | OSError) and not isinstance(error, TrainingError)


def _told(error: Exception) -> str:
    if isinstance(error, ItrecError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
