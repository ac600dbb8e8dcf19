"""Runs the jobs of a sweep on Ray Tune, with reused actors.

Tune starts the actors, places them, restarts those that die, and passes epochs to its schedulers.
The state of a sweep is in the sweep directory, never in Tune: Tune's own state is not reused when
the driver restarts, and its files are deleted.

An actor imports torch once and is then reused for trial after trial: `reset_config` ends the
thread in which a stopped trial waits, and starts the next trial.
"""

import contextlib
import json
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from itrec_dist.distributed.context import default_device
from itrec_dist.errors import EnvironmentProblem
from itrec_dist.storage import atomic
from itrec_dist.sweeps.asha import EPOCH, JOB, SCORE, EndedTrial, Halving
from itrec_dist.sweeps.config import SweepConfig, placed
from itrec_dist.sweeps.directory import Outcome, SweepDirectory
from itrec_dist.sweeps.resources import Packing
from itrec_dist.sweeps.trial import Job, OnEpoch, Stopped, Trials

_OUTCOME = "outcome"


class JobSource(Protocol):
    """Hands out jobs and receives their outcomes; called in the driver."""

    @property
    def is_over(self) -> bool:
        """Whether no job is left, now or later."""

    def next(self) -> Job | None:
        """The next job, None if there is none now."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome of a job."""


def run(
    sweep: SweepConfig, source: JobSource, packing: Packing, history: Sequence[EndedTrial]
) -> None:
    """Run jobs until the source has none left, on the Ray cluster that the driver has joined.

    `history` holds the trials of earlier driver sessions, for the scheduler.
    """
    directory = SweepDirectory(sweep.out)
    directory.clear_scratch()
    directory.scratch.mkdir(parents=True, exist_ok=True)
    waits = sweep.scheduler.name == "asha"
    trainable = tune.with_resources(
        tune.with_parameters(_Actor, sweep=sweep, waits=waits, groups=packing.group_on_gpus),
        {"CPU": packing.cpus, "GPU": packing.gpus},
    )
    feeder = _Feeder(sweep, source)
    with _quiet_tune():
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=feeder, num_samples=-1, reuse_actors=True,
                max_concurrent_trials=packing.concurrent,
                scheduler=_scheduler(sweep, history),
            ),
            run_config=tune.RunConfig(
                name=directory.scratch.name, storage_path=str(placed(sweep.out)), verbose=0,
                failure_config=tune.FailureConfig(max_failures=sweep.retries),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )  # fmt: skip
        try:
            tuner.fit()
        finally:
            with contextlib.suppress(EnvironmentProblem):
                directory.clear_scratch()


@contextlib.contextmanager
def _quiet_tune() -> Iterator[None]:
    """Set what Tune reads only from environment variables, for the duration of one run."""
    wanted = {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # runs write their own logs
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has no score
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the sweep at once: nothing is lost
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # its state is deleted
        "RAY_AIR_NEW_OUTPUT": "0",  # the newer output prints tables even with verbose=0
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    log = logging.getLogger("ray.tune")
    level = log.level
    log.setLevel(logging.CRITICAL)  # errors of trials are in their outcomes
    try:
        yield
    finally:
        log.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _scheduler(sweep: SweepConfig, history: Sequence[EndedTrial]) -> TrialScheduler | None:
    if sweep.scheduler.name != "asha":
        return None
    return Halving(sweep.grids, sweep.scheduler.grace, sweep.scheduler.reduction, history)


class _Feeder(Searcher):
    """The job source as a Tune search algorithm."""

    def __init__(self, sweep: SweepConfig, source: JobSource) -> None:
        super().__init__(metric=SCORE, mode="max")
        self._sweep, self._source = sweep, source
        self._jobs: dict[str, Job] = {}
        self._best: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes down what it is given, and the state is in the sweep directory."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """The next job, as a trial configuration of Tune."""
        job = self._source.next()
        if job is None:
            return Searcher.FINISHED if self._source.is_over else None
        self._jobs[trial_id] = job
        return {JOB: json.dumps(asdict(job))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record the best epoch, in case the trial is stopped."""
        if SCORE in result:
            best = self._best.get(trial_id, result[SCORE])
            self._best[trial_id] = max(best, result[SCORE])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass the outcome to the source."""
        self.on_trial_result(trial_id, result or {})  # which Tune does not call where a trial stops
        job = self._jobs.pop(trial_id)
        best = self._best.pop(trial_id, None)
        if result and _OUTCOME in result:
            outcome = Outcome.from_plain(json.loads(result[_OUTCOME]))
        elif error or best is None:
            reason = "its process died, possibly out of memory"
            attempts = job.attempts + self._sweep.retries + 1
            outcome = Outcome("failed", error=reason, attempts=attempts, transient=True)
        else:
            value = -best if self._sweep.lower_is_better else best
            outcome = Outcome("stopped", value, (value,))
        with atomic.uninterrupted():
            self._source.ended(job, outcome)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the state is in the sweep directory."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the state is in the sweep directory."""


class _Actor(tune.Trainable):
    """A process that runs trials, one after another."""

    def setup(
        self, config: dict[str, Any], sweep: SweepConfig | None = None, waits: bool = False,
        groups: bool | None = None,
    ) -> None:  # fmt: skip
        """Start the first trial."""
        assert sweep is not None
        self._sweep, self._waits = sweep, waits
        self._trials = Trials(sweep, default_device(), groups)
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """Run one epoch if there is a scheduler, else the whole trial."""
        return self._job.next()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial in this process."""
        self._job.end()
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """End the current trial."""
        self._job.end()

    def _begin(self, config: dict[str, Any]) -> None:
        job = Job.from_plain(json.loads(config[JOB]))
        waits = self._waits and not job.is_final
        self._job = _JobThread(lambda report: self._trials.work(job, report), self._sweep, waits)


class _JobThread:
    """A job in its own thread, which waits after each epoch until `next` is called."""

    def __init__(self, work: Callable[[OnEpoch], Outcome], sweep: SweepConfig, waits: bool) -> None:
        self._work, self._sweep, self._waits = work, sweep, waits
        self._results: queue.Queue[dict[str, Any] | BaseException] = queue.Queue()
        self._go = threading.Semaphore(0)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="itrec-trial", daemon=True)

    def next(self) -> dict[str, Any]:
        """The result of the next epoch, or of the whole job."""
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go.release()
        result = self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def end(self) -> None:
        """Stop the job at the end of its epoch."""
        self._ended = True
        self._go.release()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            outcome = self._work(self._on_epoch)
        except Stopped:
            return
        except BaseException as error:
            self._results.put(error)
            return
        result: dict[str, Any] = {_OUTCOME: json.dumps(asdict(outcome)), tune.result.DONE: True}
        if outcome.value is not None:
            result[SCORE] = self._sweep.score(outcome.value)
        self._results.put(result)

    def _on_epoch(self, epoch: int, value: float) -> None:
        if self._waits and not self._ended:
            self._results.put({EPOCH: epoch, SCORE: self._sweep.score(value)})
            self._go.acquire()
        if self._ended:
            raise Stopped
