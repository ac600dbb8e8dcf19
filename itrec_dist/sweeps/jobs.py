"""The order of a sweep's jobs: the trials, then, when the last of them has ended, the finals.

A queue hands out the next job and receives its outcome; it writes the sweep's log and does not
depend on Ray. For an interrupted sweep it starts with the jobs that the log has left open.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from itrec_dist.data.schema import TEST
from itrec_dist.errors import ConfigError, EnvironmentProblem, ItrecError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import FigureName
from itrec_dist.sweeps.checks import Checked
from itrec_dist.sweeps.config import FIRST_FRESH_SEED, SweepConfig
from itrec_dist.sweeps.directory import (
    SEARCHED,
    Outcome,
    SweepDirectory,
    Trial,
    attempts_left,
    format_assignment,
    is_left,
    ranked,
)
from itrec_dist.sweeps.pareto import front
from itrec_dist.sweeps.population import Population
from itrec_dist.sweeps.sampling import Planned, Proposer
from itrec_dist.sweeps.tpe import TPE
from itrec_dist.sweeps.trial import Job, wait_for
from itrec_dist.training.config import check

Say = Callable[[str], None]


class TrialQueue(Protocol):
    """A queue of trials as jobs."""

    @property
    def is_open(self) -> bool:
        """Whether a trial, or a part of one, is left."""

    @property
    def marker(self) -> str:
        """The file in the scratch folder that appears when there is more to do."""

    def next(self) -> Job | None:
        """The next job, None if there is none now."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome of a job."""


class JobQueue:
    """All jobs of a sweep as one queue: the trials, then, after the last of them, the finals."""

    def __init__(
        self, checked: Checked, directory: SweepDirectory, trials: list[Trial], say: Say
    ) -> None:
        self._checked, self._directory, self._say = checked, directory, say
        trials_queue = Population if checked.sweep.scheduler.name == "pbt" else _Search
        self._search: TrialQueue = trials_queue(checked, directory, trials, say)
        self._finals: _Finals | None = None
        self._num_open = 0
        self._begin_finals()

    @property
    def is_over(self) -> bool:
        """Whether no job is left, now or later."""
        return self._finals is not None and not self._finals.left

    def next(self) -> Job | None:
        """The next job, None if there is none."""
        job = self._search.next() if self._finals is None else self._finals.next()
        if job is None and self._finals is None:
            self._begin_finals()  # the last trials were refused
            job = self._finals.next() if self._finals else None
        if job is not None:
            self._num_open += 1
            return job
        return wait_for(self._search.marker) if self._finals is None else None

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Pass an outcome on."""
        if job.waits:
            return
        self._num_open -= 1
        if job.is_final:
            assert self._finals is not None
            self._finals.ended(job, outcome)
        else:
            self._search.ended(job, outcome)
            self._begin_finals()

    def _begin_finals(self) -> None:
        if not self._search.is_open and not self._num_open:
            jobs = _final_jobs(self._checked.sweep, self._directory)
            metric = self._checked.sweep.figure
            self._finals = _Finals(self._directory, jobs, self._say, metric)
            self._directory.mark(SEARCHED)


class _Search:
    """The trials as jobs: first those left from earlier sessions, then those of the proposer."""

    def __init__(
        self, checked: Checked, directory: SweepDirectory, trials: list[Trial], say: Say
    ) -> None:
        self._checked, self._directory, self._say = checked, directory, say
        self._waiting = [t for t in trials if is_left(checked.sweep, t)]
        self._number = len(trials)
        self._ended = len(trials) - len(self._waiting)
        self._trials = {t.number: t for t in trials}
        self._proposer = self._make_proposer()
        for trial in trials:
            if not is_left(checked.sweep, trial):
                self._proposer.tell(trial.assignment, self._values(trial.outcome))

    @property
    def is_open(self) -> bool:
        """Whether a trial is left."""
        return bool(self._waiting) or self._number < self._checked.count

    @property
    def marker(self) -> str:
        """The marker of the end of the search: nothing else leads to more trials."""
        return SEARCHED

    def next(self) -> Job | None:
        """The next trial that can be run; invalid ones are recorded as refused."""
        seeds = tuple(range(self._checked.sweep.seeds))
        if self._waiting:
            trial = self._waiting.pop(0)
            failures = trial.outcome.attempts if trial.outcome.status == "failed" else 0
            tries = attempts_left(self._checked.sweep, trial)
            return Job(trial.number, trial.assignment, seeds, attempts=failures, tries=tries)
        while (assignment := self._proposer.ask()) is not None:
            number, self._number = self._number, self._number + 1
            self._trials[number] = Trial(number, assignment)
            self._directory.append("proposed", trial=number, assignment=assignment)
            job = Job(number, assignment, seeds)
            try:
                place = self._directory.run_place(number, 0)
                run = self._checked.runs.build(assignment, place, 0)
                check(run, run.cluster.num_workers)
            except ConfigError as error:
                self.ended(job, Outcome("refused", error=str(error)))
                continue
            except ItrecError:
                pass  # it may have passed when the trial begins, which is tried again
            return job
        return None

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome of a trial: log it, pass it to the proposer, print it."""
        self._directory.append("ended", trial=job.number, **vars(outcome))
        self._trials[job.number] = replace(self._trials[job.number], outcome=outcome)
        self._proposer.tell(job.assignment, self._values(outcome))
        self._ended += 1
        self._say(self._line(job, outcome))

    def _make_proposer(self) -> Proposer:
        if self._checked.assignments is not None:
            return Planned(self._checked.assignments, self._number)
        sweep = replace(self._checked.sweep, trials=self._checked.count)
        return TPE(sweep, self._checked.space, self._number)

    def _values(self, outcome: Outcome) -> tuple[float, ...] | None:
        against = self._checked.sweep.search.against
        if outcome.value is None or (against and against not in outcome.cost):
            return None
        return (outcome.value, outcome.cost[against]) if against else (outcome.value,)

    def _line(self, job: Job, outcome: Outcome) -> str:
        reached = outcome.status if outcome.value is None else f"{outcome.value:.4f}"
        if outcome.status == "stopped":
            reached += " stopped"
        parts = [f"[{self._ended}/{self._checked.count}] trial {job.number:04d}: {reached}"]
        if "seconds" in outcome.cost:
            parts.append(f"{outcome.cost['seconds']:.0f} s")
        parts.append(format_assignment(job.assignment))
        best = ranked(self._checked.sweep, list(self._trials.values()))
        if best and best[0].number != job.number:
            parts.append(f"(best {best[0].outcome.value:.4f}, trial {best[0].label})")
        return "  ".join(parts) + (f": {outcome.error}" if outcome.error else "")


class _Finals:
    """The finalists' runs as jobs."""

    def __init__(
        self, directory: SweepDirectory, jobs: list[Job], say: Say, metric: FigureName
    ) -> None:
        self._directory, self._jobs, self._say, self._metric = directory, jobs, say, metric
        self.left = list(jobs)
        self._ended = 0

    def next(self) -> Job | None:
        """The next final run."""
        return self.left.pop(0) if self.left else None

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome of a final run."""
        seed = job.seeds[0]
        self._directory.append(
            "final", trial=job.number, seed=seed, status=outcome.status, error=outcome.error
        )
        self._ended += 1
        result = outcome.error or outcome.status
        if outcome.value is not None:
            with contextlib.suppress(EnvironmentProblem):
                evaluation = self._directory.evaluation_of(job.number, seed)
                judged = Judgement.from_json(evaluation["splits"][TEST])
                result = f"test {judged.value(self._metric):.4f}"
        self._say(
            f"[final {self._ended}/{len(self._jobs)}] trial {job.number:04d} seed {seed}: {result}"
        )


def finalists(sweep: SweepConfig, trials: list[Trial]) -> list[Trial]:
    """The trials to retrain: the best ones; with `search.against`, the best of the Pareto front.

    On the front each next trial is cheaper, so that comparing the finalists shows what a better
    metric costs.
    """
    best, cost = ranked(sweep, trials), sweep.search.against
    candidates = front(sweep, cost, best) if cost else best
    return candidates[: sweep.final.candidates]


def _final_jobs(sweep: SweepConfig, directory: SweepDirectory) -> list[Job]:
    """The finalists' runs that are not complete yet, seed by seed."""
    best = finalists(sweep, directory.trials())
    seeds = range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + sweep.final.seeds)
    done = {(e["trial"], e["seed"]) for e in directory.events("final") if e["status"] == "complete"}
    return [
        Job(trial.number, trial.assignment, (seed,), is_final=True, before=trial.before)
        for seed in seeds
        for trial in best
        if (trial.number, seed) not in done
    ]
