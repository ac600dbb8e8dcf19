"""Runs one trial: its runs, one seed after another, in the current process.

A run with several workers is launched from here as its own group, whose epochs are told here as
those of a run in this process are.

A complete run is not trained again. One that was cut off starts again, except for a member of a
population, whose parts continue from its checkpoint. Errors do not leave as exceptions: they become
outcomes, so that no trial ends a sweep.
"""

import contextlib
import itertools
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from itrec_dist import config, launch
from itrec_dist.data import manifest
from itrec_dist.data.schema import VALIDATION
from itrec_dist.data.shards import fetch
from itrec_dist.distributed.context import LocalContext
from itrec_dist.errors import (
    ConfigError,
    EnvironmentProblem,
    ItrecError,
    MachineError,
    TrainingError,
)
from itrec_dist.evaluation import per_window
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.runs.checkpoints import training_state
from itrec_dist.runs.console import ProgressView
from itrec_dist.runs.directory import LAST, RunDirectory
from itrec_dist.runs.log import Watcher
from itrec_dist.runs.trackers import Tracked, following
from itrec_dist.storage.uri import Uri
from itrec_dist.sweeps.config import Runs, SweepConfig
from itrec_dist.sweeps.directory import SEARCHED, Outcome, Status, SweepDirectory
from itrec_dist.sweeps.remote import WorkingRun
from itrec_dist.sweeps.space import Assignment
from itrec_dist.system import environment
from itrec_dist.training import precision, resume
from itrec_dist.training.config import RunConfig, check, prepare
from itrec_dist.training.worker import run_worker

_POLL_SECONDS = 0.2
_WAIT_SECONDS = 5.0  # before the second attempt, twice as long before each further one
_MOST_SECONDS = 60.0

OnEpoch = Callable[[int, float], None]
"""Called with an epoch and the metric's value after it; may raise `Stopped`."""


class Stopped(KeyboardInterrupt):
    """The scheduler has stopped the trial."""


class _Reached(KeyboardInterrupt):
    """The last epoch of the job is trained; the run continues in another job."""


@dataclass(frozen=True)
class Job:
    """The work of an actor: the runs of a trial, a part of one, or one run of a finalist."""

    number: int
    assignment: Assignment
    seeds: tuple[int, ...]
    is_final: bool = False
    until: int | None = None
    """Last epoch of a part: the run continues from its checkpoint up to there; None trains it from
    the beginning to the end."""
    before: tuple[tuple[int, Assignment], ...] = ()
    """(last epoch, settings) of the stages before `assignment` applies."""
    attempts: int = 0
    """How often it failed in earlier driver sessions."""
    tries: int | None = None
    """How often it may be attempted in this one; None as the sweep's `retries` say."""
    awaits: str = ""
    """For a job without seeds: the file in the scratch folder that it waits for."""

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> "Job":
        """From the JSON of `asdict`."""
        before = tuple((epoch, assignment) for epoch, assignment in content["before"])
        return cls(**{**content, "seeds": tuple(content["seeds"]), "before": before})

    @property
    def waits(self) -> bool:
        """Whether the job only keeps its process alive for later jobs."""
        return not self.seeds


def wait_for(file: str) -> Job:
    """A job that waits for a file, while other jobs must end before the next one can start.

    Keeping the process costs less than starting a new one.
    """
    return Job(-1, {}, (), awaits=file)


@dataclass(frozen=True)
class RunPart:
    """A run from its current epoch to epoch `until`; None is the run's end."""

    until: int | None
    assignment: Assignment
    run: RunConfig


@dataclass(frozen=True)
class _EpochOfPart:
    """Tells an epoch of a part, unless it is the run's last one, which the final judgement follows.

    Raises `_Reached` after the last epoch of the part.
    """

    run: RunConfig
    until: int | None
    on_epoch: OnEpoch

    def __call__(self, epoch: int, value: float) -> None:
        if epoch < self.run.training.epochs:
            self.on_epoch(epoch, value)
            if epoch == self.until:
                raise _Reached


class _TrialContext(LocalContext):
    """The only worker of a run, which reports its epochs."""

    shares_data = True  # with other trials

    def __init__(self, device: torch.device | None, threads: int | None, on_epoch: OnEpoch) -> None:
        super().__init__(device, threads)
        self._on_epoch = on_epoch

    def report(self, metrics: dict[str, Any]) -> None:
        """Tell the epoch; what that raises ends the run."""
        self._on_epoch(metrics["epoch"], metrics["monitor"])


class _Unseen(ProgressView):
    """Passes the events that a group of workers logs to the trackers, and shows nothing."""

    def __init__(self, watch: Watcher) -> None:
        super().__init__(quiet=True)
        self._watch = watch

    def __call__(self, event: dict[str, Any]) -> None:
        self._watch(event)


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
            group_on_gpus: None trains in this process; otherwise each run launches a group of
                workers, with or without a GPU each.
        """
        self._sweep, self._device, self._group_on_gpus = sweep, device, group_on_gpus
        self._directory = SweepDirectory(sweep.out)

    @cached_property
    def _runs(self) -> Runs:
        """Reads the shards; within a trial, so that what goes wrong is that trial's error."""
        return Runs(self._sweep)

    def work(self, job: Job, on_epoch: OnEpoch) -> Outcome:
        """Train and evaluate all runs of a job, with the sweep's number of `retries`.

        Invalid settings are not retried. After an error of the machine, such as unreachable shards,
        the retry waits, and the outcome of the last one is transient.

        Raises:
            Stopped: raised by `on_epoch`.
        """
        if job.waits:
            self._wait(job.awaits)
            return Outcome("complete")
        tries = job.tries or self._sweep.retries + 1
        for attempt in itertools.count(1):
            attempts = job.attempts + attempt
            try:
                done = [self._run(job, seed, on_epoch) for seed in job.seeds]
                return _summary(done, attempts)
            except Exception as error:
                message = _message(error)
                self._keep_traceback(job)
                if isinstance(error, ConfigError):
                    return Outcome("refused", attempts=attempts, error=message)
                transient = _is_transient(error)
                if attempt >= tries:
                    return Outcome("failed", attempts=attempts, error=message, transient=transient)
                if transient:
                    time.sleep(min(_WAIT_SECONDS * 2 ** (attempt - 1), _MOST_SECONDS))
        raise AssertionError

    def _run(self, job: Job, seed: int, on_epoch: OnEpoch) -> "_Done":
        place = self._directory.run_place(job.number, seed, is_final=job.is_final)
        parts = self.built(job, place, seed)
        run = parts[-1].run
        working = WorkingRun(run)
        working.fetch()
        directory = working.directory
        if not (directory.is_complete and _is_same(directory, run)):
            if job.until is None:
                working.remove()
            is_whole = True
            for part in parts:
                name = _name(job, seed, part.until)
                tracked = Tracked(
                    self._sweep.out.name, name, part.assignment, directory, self._directory.path
                )
                is_whole = self._train(part.run, on_epoch, part.until, tracked)
            if not is_whole:
                judged = directory.events("epoch")[-1]["validation"]
                value = run.training.value(Judgement.from_json(judged))
                return _Done(value, {}, is_whole=False)
        if job.is_final and not directory.test_windows.is_file():
            per_window.write(directory.path, run.out if isinstance(run.out, Uri) else None)
            working.send()
        done = _read(run)
        working.close()
        return done

    def _wait(self, name: str) -> None:
        """Wait for a file in the scratch folder, or for the end of the search."""
        pause = _POLL_SECONDS * (10 if isinstance(self._sweep.out, Uri) else 1)
        while True:
            with contextlib.suppress(EnvironmentProblem):
                if self._directory.is_marked(name, SEARCHED):
                    return
            time.sleep(pause)

    def built(self, job: Job, place: Uri | Path, seed: int) -> list["RunPart"]:
        """The parts of a job's run with one seed, each with its own settings.

        Raises:
            ConfigError: settings conflict with each other.
        """
        return [
            RunPart(until, assignment,
                 self._runs.build(assignment, place, seed, judge_test=job.is_final))
            for until, assignment in (*job.before, (job.until, job.assignment))
        ]  # fmt: skip

    def _train(
        self, run: RunConfig, on_epoch: OnEpoch, until: int | None, tracked: Tracked
    ) -> bool:
        """Train a run up to an epoch, from its last checkpoint; returns whether it is complete.

        A continued run has the settings of `run` from here on, except that its first update still
        uses the learning rate that the previous update had set.
        """
        data, recorded = check(run, run.cluster.num_workers), {**_environment(), "seed": run.seed}
        working = WorkingRun(run)
        working.fetch(checkpoints=True)
        last = working.directory.checkpoints / LAST
        if is_begun := last.is_dir():
            epoch = training_state.read(last).position.epoch
            if epoch == until and until < run.training.epochs:
                return False  # the driver was killed before it was reported
            resume.prepare(run, recorded)
        else:
            working.remove()
            prepare(run, data, recorded)
        working.send()
        told = _EpochOfPart(run, until, on_epoch)
        with following(self._sweep.trackers, tracked) as watch:
            try:
                if self._group_on_gpus is None:
                    context = _TrialContext(self._device, run.cluster.threads, told)
                    run_worker(run, context, watch)
                else:
                    launch.launch(
                        run, self._group_on_gpus, _Unseen(watch), resume=is_begun, on_epoch=told
                    )
            except _Reached:
                working.fetch()  # its worker 0 may have been on another machine
                return False
            except Stopped:
                working.close()
                raise
            working.fetch()
            return True

    def _keep_traceback(self, job: Job) -> None:
        with contextlib.suppress(EnvironmentProblem):
            self._directory.keep_error(job.number, traceback.format_exc())


def _name(job: Job, seed: int, until: int | None) -> str:
    """The name of a run, or of a part up to an epoch, in trackers."""
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
        "seconds": float(sum(end["seconds"] for end in ends)),  # over all its parts
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
    """Whether the complete run has this configuration and this data."""
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


def _is_transient(error: Exception) -> bool:
    """Whether an error is due to the machine, not to the training, so that it may pass."""
    if isinstance(error, TrainingError):
        return isinstance(error, MachineError)
    return isinstance(error, ItrecError | OSError | MemoryError)


def _message(error: Exception) -> str:
    if isinstance(error, ItrecError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
