"""A sweep from its checks to its finals: what is run, in which order, and what is written when."""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from itrec_dist import config, environment, launch, outputs
from itrec_dist.errors import CheckpointError, ConfigError, OutputError, TrainingError
from itrec_dist.manifest import Manifest
from itrec_dist.run import check
from itrec_dist.run_directory import RunDirectory
from itrec_dist.schema import TEST, VALIDATION
from itrec_dist.sweep import RECIPE, plan, proposals
from itrec_dist.sweep.directory import Outcome, SweepDirectory, Trial
from itrec_dist.sweep.proposals import Planned, Proposer
from itrec_dist.sweep.settings import FIRST_FRESH_SEED, Runs, SweepConfig, placed
from itrec_dist.sweep.space import Assignment, Space, as_text
from itrec_dist.sweep.tpe import TPE, load_optuna
from itrec_dist.sweep.trial import WAIT, Job

if TYPE_CHECKING:
    from itrec_dist.sweep.halving import Past

Say = Callable[[str], None]

FREE = frozenset({"shards", "out", "base", "trials", "retries", "final", "resources"})
"""Settings that may differ on resuming; the base is compared by what it says."""


@dataclass(frozen=True)
class Checked:
    """A sweep that can be started."""

    sweep: SweepConfig
    runs: Runs
    space: Space
    data: Manifest
    count: int
    """Trials in all."""
    assignments: list[Assignment] | None
    """Those of a grid or of random draws; None where outcomes decide."""


def checked(sweep: SweepConfig) -> Checked:
    """Refuse what cannot work before anything is started or written.

    Raises:
        ConfigError: the space, the metric or the base do not fit each other or the data.
        EnvironmentProblem: a package that the search needs is missing.
        ShardsError: the shards cannot be read.
    """
    sweep = replace(sweep, shards=placed(sweep.shards), out=sweep.out.absolute())
    runs = Runs(sweep)
    space = runs.space()
    data = check(runs.base, runs.base.cluster.num_workers)
    if not data.num_windows(VALIDATION):
        raise ConfigError(
            f"{sweep.shards} has no validation windows to compare trials on: window the data with "
            "validation_fraction"
        )
    if sweep.final.candidates and not data.num_windows(TEST):
        raise ConfigError(
            f"{sweep.shards} has no test windows to judge the finalists on: window the data with "
            "test_fraction, or set final.candidates=0"
        )
    if runs.is_grouped and sweep.scheduler.name != "none":
        raise ConfigError(
            f"scheduler.name={sweep.scheduler.name} stops trials that train in their own process, "
            f"the base has cluster.num_workers={runs.base.cluster.num_workers}: set "
            "scheduler.name=none, or fixed: {cluster.num_workers: 1}"
        )
    if sweep.scheduler.name == "asha" and len(sweep.grids) == len(space.dimensions):
        raise ConfigError(
            "scheduler.name=asha compares trials that share their grid values, and the space has "
            "nothing but grids: write choice for what is searched, or set scheduler.name=none"
        )
    if sweep.search.algorithm == "tpe":
        load_optuna()
    assignments = proposals.planned(sweep, space)
    return Checked(sweep, runs, space, data, proposals.num_trials(sweep, space), assignments)


def run(checked: Checked, *, resume: bool, address: str | None, say: Say) -> SweepDirectory:
    """Run what is missing of a sweep: its trials, then its finals.

    Raises:
        ConfigError: the cluster lacks what a trial takes; or a resumed sweep was another one.
        CheckpointError: there is nothing to resume.
        TrainingError: no trial was completed.
    """
    sweep = checked.sweep
    directory = SweepDirectory(sweep.out)
    if resume:
        _refuse_other(checked, directory)
    use_gpu = launch.connect(checked.runs.base, address)
    from itrec_dist.sweep import tuner  # imports Ray, whose first import `connect` prepares

    share = _share(checked, address, use_gpu=use_gpu)
    _prepare(checked, directory, resume=resume)
    began = time.monotonic()
    trials = directory.trials()
    say(_told_plan(checked, share, trials))
    course = _Course(checked, directory, trials, say)
    try:
        if not course.is_over:
            tuner.run(sweep, course, share, _history(checked, directory, trials))
    except KeyboardInterrupt:
        say("stopped: the same command with --resume goes on from here")
        raise
    finally:
        seconds = round(time.monotonic() - began, 1)
        directory.append("session", workers=share.concurrent, seconds=seconds)
    _refuse_nothing(sweep, directory.trials())
    return directory


def ranked(sweep: SweepConfig, trials: list[Trial]) -> list[Trial]:
    """The complete trials from best to worst."""
    done = [t for t in trials if t.outcome.status == "complete"]
    return sorted(done, key=lambda t: (-sweep.score(t.outcome.value or 0.0), t.number))


def told(assignment: Assignment) -> str:
    """An assignment in one line."""
    return " ".join(f"{name}={as_number(value)}" for name, value in assignment.items())


def as_number(value: object) -> str:
    """A value as short as it can be read."""
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)  # type: ignore[arg-type]


class _Course:
    """The search, and when its last trial has ended, the finals: one queue for the same actors."""

    def __init__(
        self, checked: Checked, directory: SweepDirectory, trials: list[Trial], say: Say
    ) -> None:
        self._checked, self._directory, self._say = checked, directory, say
        self._search = _Search(checked, directory, trials, say)
        self._finals: _Finals | None = None
        self._num_open = 0
        self._begin_finals()

    @property
    def is_over(self) -> bool:
        """Whether no job is left, now or later."""
        return self._finals is not None and not self._finals.left

    def next(self) -> Job | None:
        """The next job, None when there is none."""
        job = self._search.next() if self._finals is None else self._finals.next()
        if job is None and self._finals is None:
            self._begin_finals()  # the last trials were refused
            job = self._finals.next() if self._finals else None
        if job is not None:
            self._num_open += 1
            return job
        return WAIT if self._finals is None else None

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
            metric = self._checked.sweep.metric
            self._finals = _Finals(self._directory, jobs, self._say, metric)
            if self._directory.scratch.is_dir():
                self._directory.searched.touch()


class _Search:
    """The trials as jobs: those that were cut off first, then what the proposer says."""

    def __init__(
        self, checked: Checked, directory: SweepDirectory, trials: list[Trial], say: Say
    ) -> None:
        self._checked, self._directory, self._say = checked, directory, say
        self._waiting = [t for t in trials if t.outcome.status == "open"]
        self._number = len(trials)
        self._ended = sum(1 for t in trials if t.outcome.status != "open")
        self._trials = {t.number: t for t in trials}
        self._proposer = self._make_proposer()
        for trial in trials:
            if trial.outcome.status != "open":
                self._proposer.tell(trial.assignment, self._values(trial.outcome))

    @property
    def is_open(self) -> bool:
        """Whether a trial is left."""
        return bool(self._waiting) or self._number < self._checked.count

    def next(self) -> Job | None:
        """The next trial that can be run; those that are refused are noted on the way."""
        seeds = tuple(range(self._checked.sweep.seeds))
        if self._waiting:
            trial = self._waiting.pop(0)
            return Job(trial.number, trial.assignment, seeds)
        while (assignment := self._proposer.ask()) is not None:
            number, self._number = self._number, self._number + 1
            self._trials[number] = Trial(number, assignment)
            self._directory.append("proposed", trial=number, assignment=assignment)
            job = Job(number, assignment, seeds)
            try:
                place = self._directory.run(number, 0)
                run = self._checked.runs.build(assignment, place, 0)
                check(run, run.cluster.num_workers)
            except ConfigError as error:
                self.ended(job, Outcome("refused", error=str(error)))
                continue
            return job
        return None

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Note what became of a trial, for the log, the proposer and whoever watches."""
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
        parts.append(told(job.assignment))
        best = ranked(self._checked.sweep, list(self._trials.values()))
        if best and best[0].number != job.number:
            parts.append(f"(best {best[0].outcome.value:.4f}, trial {best[0].label})")
        return "  ".join(parts) + (f": {outcome.error}" if outcome.error else "")


class _Finals:
    """The finalists' runs as jobs."""

    def __init__(self, directory: SweepDirectory, jobs: list[Job], say: Say, metric: str) -> None:
        self._directory, self._jobs, self._say, self._metric = directory, jobs, say, metric
        self.left = list(jobs)
        self._ended = 0

    def next(self) -> Job | None:
        """The next final run."""
        return self.left.pop(0) if self.left else None

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Note what became of it."""
        seed = job.seeds[0]
        self._directory.append(
            "final", trial=job.number, seed=seed, status=outcome.status, error=outcome.error
        )
        self._ended += 1
        told = outcome.error or outcome.status
        run = RunDirectory(self._directory.run(job.number, seed, is_final=True))
        if outcome.value is not None:
            ranking, _, name = self._metric.partition("/")
            judged = run.read_json(run.evaluation)["splits"][TEST]
            told = f"test {judged[ranking][name] if name else judged[ranking]:.4f}"
        self._say(
            f"[final {self._ended}/{len(self._jobs)}] trial {job.number:04d} seed {seed}: {told}"
        )


def _final_jobs(sweep: SweepConfig, directory: SweepDirectory) -> list[Job]:
    """The finalists' runs that are not complete yet, seed by seed."""
    best = ranked(sweep, directory.trials())[: sweep.final.candidates]
    seeds = range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + sweep.final.seeds)
    done = {(e["trial"], e["seed"]) for e in directory.events("final") if e["status"] == "complete"}
    return [
        Job(trial.number, trial.assignment, (seed,), is_final=True)
        for seed in seeds
        for trial in best
        if (trial.number, seed) not in done
    ]


def _refuse_nothing(sweep: SweepConfig, trials: list[Trial]) -> None:
    if ranked(sweep, trials):
        return
    first = next((t.outcome.error for t in trials if t.outcome.error), "all were cut off")
    raise TrainingError(
        f"none of the {len(trials)} trials of {sweep.out} was completed; the first ended with: "
        f"{first}"
    )


def _history(checked: Checked, directory: SweepDirectory, trials: list[Trial]) -> "list[Past]":
    """The trials that have ended, with their scores after each epoch."""
    if checked.sweep.scheduler.name == "none":
        return []
    found = []
    for trial in trials:
        if trial.outcome.status in ("complete", "stopped"):
            run = directory.log_of(trial.number)
            judged = [e["validation"] for e in run.events("epoch") if e["validation"]]
            values = (checked.runs.base.training.value(one) for one in judged)
            scores = [checked.sweep.score(value) for value in values]
            found.append((trial.assignment, scores))
    return found


def _share(checked: Checked, address: str | None, *, use_gpu: bool) -> plan.Share:
    import ray

    cores = plan.local_cores() if address is None else float("inf")
    found = ray.cluster_resources()
    if checked.runs.is_grouped:
        return plan.share_of_groups(checked.sweep, checked.runs.base, found, use_gpu=use_gpu)
    return plan.share(checked.sweep, checked.runs.base, found, cores)


def _told_plan(checked: Checked, share: plan.Share, trials: list[Trial]) -> str:
    ended = sum(1 for t in trials if t.outcome.status != "open")
    sweep = checked.sweep
    taken = plan.told_share(checked.runs.base, share)
    seeds = f" of {sweep.seeds} seeds" if sweep.seeds > 1 else ""
    told = f"{checked.count} trials{seeds}, {share.concurrent} at a time, each with {taken}"
    if sweep.final.candidates:
        told += f"; then {sweep.final.candidates} finalists with {sweep.final.seeds} fresh seeds"
    return told + (f"; {ended} trials are done" if trials else "")


def _prepare(checked: Checked, directory: SweepDirectory, *, resume: bool) -> None:
    sweep = replace(checked.sweep, base=str(directory.base))
    recorded = environment.record(sweep.search.seed)
    if resume:
        began = RunDirectory(directory.path).read_json(directory.environment)
        recorded = {**began, "resumed": [*began.get("resumed", []), recorded]}
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {directory.path}: {error.strerror}") from error
    outputs.write_text(directory.base, config.to_yaml(checked.runs.base))
    outputs.write_json(directory.manifest, checked.data.to_json())
    outputs.write_json(directory.environment, recorded)
    outputs.write_text(directory.path / RECIPE, config.to_yaml(sweep))  # last: it is the mark


def _refuse_other(checked: Checked, directory: SweepDirectory) -> None:
    if not directory.exists:
        raise CheckpointError(
            f"{directory.path} holds no sweep to resume: leave --resume out to start one there"
        )
    before, now = directory.read_recipe(), checked.sweep
    fingerprint = directory.read_manifest().fingerprint
    if fingerprint != checked.data.fingerprint:
        raise ConfigError(
            f"{now.shards} holds other data (fingerprint {checked.data.fingerprint[:12]}) than the "
            f"sweep in {directory.path} began on ({fingerprint[:12]}): give those shards"
        )
    differing = [
        f.name for f in fields(SweepConfig)
        if f.name not in FREE and getattr(before, f.name) != getattr(now, f.name)
    ]  # fmt: skip
    base = Runs(replace(before, shards=now.shards, resources=now.resources)).base
    if replace(base, out=checked.runs.base.out) != checked.runs.base:
        differing.append("base")
    if differing:
        raise ConfigError(
            f"the sweep in {directory.path} cannot go on with another {', '.join(differing)}: "
            f"resume it with --config {directory.recipe}, or start another"
        )
    if checked.count < len(directory.trials()):
        raise ConfigError(
            f"trials={checked.count}, the sweep in {directory.path} has {len(directory.trials())} "
            "already: give at least as many"
        )
