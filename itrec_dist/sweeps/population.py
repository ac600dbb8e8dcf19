"""Population-based training: trials that exchange weights and settings while they train.

All trials train for `scheduler.interval` epochs. Then the worst of them copy weights, optimizer
state and settings of the best, and continue with those settings slightly perturbed; this repeats to
the end. Source: Jaderberg et al., Population Based Training of Neural Networks (2017), in the
synchronous form of its appendix A.1, with the factors and the resampling probability of Ray Tune's
scheduler of this name.

Tune runs the parts like any other job, but the exchange is made here: its own scheduler accepts no
trials from a search algorithm (`on_trial_add` in ray/tune/schedulers/pbt.py raises), keeps its
state only in the driver's memory, and can leave the range of a setting. Here the exchange is a
function of the log and the search's seed, so that a killed sweep resumes to the same result.
"""

import json
import random
import shutil
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from itrec_dist.errors import ConfigError, ItrecError
from itrec_dist.storage import atomic
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from itrec_dist.sweeps import remote
from itrec_dist.sweeps.checks import Checked
from itrec_dist.sweeps.directory import (
    SEARCHED,
    Outcome,
    SweepDirectory,
    Trial,
    attempts_left,
    format_assignment,
    is_left,
)
from itrec_dist.sweeps.space import Assignment, Dimension, Space, Value
from itrec_dist.sweeps.trial import Job
from itrec_dist.training.config import check

_FACTORS = (0.8, 1.2)
_REDRAWN = 0.25  # probability that a setting is redrawn instead of perturbed
_MARK = "taken.json"
"""In the run of a trial that copied another: the epoch and the source trial."""


@dataclass(frozen=True)
class Exchange:
    """One trial copies another."""

    trial: int
    source: int
    assignment: Assignment


class Population:
    """The trials of a population as jobs, one for each part between two exchanges."""

    def __init__(
        self, checked: Checked, directory: SweepDirectory, trials: list[Trial],
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Continue from the state of the log."""
        self._checked, self._directory, self._say = checked, directory, say
        self._epochs = checked.runs.base.training.epochs
        known = {trial.number: trial for trial in trials}
        self._members: dict[int, Assignment] = {}
        assert checked.assignments is not None
        left = {n for n, t in known.items() if is_left(checked.sweep, t)}
        for number, assignment in enumerate(checked.assignments):
            if number not in known:
                directory.append("proposed", trial=number, assignment=assignment)
                self._admit(number, assignment)
            elif known[number].outcome.status == "complete" or is_left(
                checked.sweep, known[number]
            ):
                self._members[number] = known[number].assignment
        self._ended = known.keys() - left
        self._failed = {n: t for n, t in known.items() if t.outcome.status == "failed"}
        self._until = self._interval
        self._figures = self._reached()
        self._waiting = self._missing()
        self._running: set[int] = set()
        self._go_on()

    @property
    def is_open(self) -> bool:
        """Whether a part is left to train."""
        return bool(self._waiting or self._running)

    @property
    def marker(self) -> str:
        """The file that appears when there is more to do."""
        is_last = self._until >= self._epochs
        return SEARCHED if is_last else f"exchanged-{self._until}"

    def next(self) -> Job | None:
        """The next part of a trial, None while other trials have yet to reach the exchange."""
        if not self._waiting:
            return None
        number = self._waiting.pop(0)
        self._running.add(number)
        job = Job(number, self._members[number], (0,), until=self._until)
        if (failed := self._failed.pop(number, None)) is None:
            return job
        tries = attempts_left(self._checked.sweep, failed)
        return replace(job, attempts=failed.outcome.attempts, tries=tries)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Record how far a trial has trained; after the last one of a round, exchange."""
        number = job.number
        self._running.discard(number)
        figure = "" if outcome.value is None else f"{outcome.value:.4f}"
        if outcome.status == "open":
            assert outcome.value is not None
            self._figures[number] = outcome.value
            self._directory.append("reached", trial=number, epoch=self._until, value=outcome.value)
        else:
            self._directory.append("ended", trial=number, **vars(outcome))
            self._ended.add(number)
            if outcome.status != "complete":
                self._members.pop(number)
                figure = f"{outcome.status}: {outcome.error}"
        done = f"[epoch {min(self._until, self._epochs)}/{self._epochs}]"
        self._say(f"{done} trial {number:04d}: {figure}  {format_assignment(job.assignment)}")
        self._go_on()

    @property
    def _interval(self) -> int:
        return self._checked.sweep.scheduler.interval

    def _admit(self, number: int, assignment: Assignment) -> None:
        try:
            place = self._directory.run_place(number, 0)
            run = self._checked.runs.build(assignment, place, 0)
            check(run, run.cluster.num_workers)
        except ConfigError as error:
            refused = Outcome("refused", error=str(error))
            self._directory.append("ended", trial=number, **vars(refused))
            return
        except ItrecError:
            pass  # it may have passed when the trial begins, which is tried again
        self._members[number] = assignment

    def _reached(self) -> dict[int, float]:
        events = self._directory.events("reached")
        return {e["trial"]: e["value"] for e in events if e["epoch"] == self._until}

    def _missing(self) -> list[int]:
        done = self._ended if self._until >= self._epochs else self._figures
        return [number for number in sorted(self._members) if number not in done]

    def _go_on(self) -> None:
        """Exchange once all trials have ended a round, and start the next round."""
        while not self.is_open and self._members and self._until < self._epochs:
            marker = self.marker
            for exchange in self._exchanges():
                self._take_over(exchange)
            self._until = min(self._until + self._interval, self._epochs)
            self._figures = self._reached()
            self._waiting = self._missing()
            self._directory.mark(marker)

    def _exchanges(self) -> list[Exchange]:
        """The exchanges of this round: from the log, or else computed from the metrics."""
        for line in self._directory.events("exchange"):
            if line["epoch"] == self._until:
                return [Exchange(**taken) for taken in line["taken"]]
        planned = exchanges(self._checked, self._members, self._figures, self._until)
        self._directory.append("exchange", epoch=self._until, taken=[vars(e) for e in planned])
        for one in planned:
            self._say(
                f"after epoch {self._until} trial {one.trial:04d} continues from {one.source:04d} "
                f"with {format_assignment(one.assignment)}"
            )
        return planned

    def _take_over(self, exchange: Exchange) -> None:
        """Replace the trial's run by a copy of the source's, unless this was done before."""
        self._members[exchange.trial] = exchange.assignment
        place = self._directory.run_place(exchange.trial, 0)
        source = self._directory.run_place(exchange.source, 0)
        mark = {"epoch": self._until, "source": exchange.source}
        if isinstance(place, Path):
            atomic.finish_interrupted(place)
        epochs = [e["epoch"] for e in self._directory.events("exchange")]
        if self._until < epochs[-1] or _mark_of(place) == mark:
            return
        if isinstance(place, Uri) or isinstance(source, Uri):
            base = self._checked.runs.base
            remote.copy_run(replace(base, out=source), replace(base, out=place), _MARK, mark)
            return
        with atomic.new_directory(place, marker="config.yaml", overwrite=True) as building:
            shutil.copytree(source, building, dirs_exist_ok=True)
            atomic.write_json(building / _MARK, mark)


def _mark_of(place: Uri | Path) -> Any:
    if isinstance(place, Uri):
        content = Store(place).read(_MARK)
    else:
        content = (place / _MARK).read_bytes() if (place / _MARK).is_file() else None
    return None if content is None else json.loads(content)


def exchanges(
    checked: Checked, members: dict[int, Assignment], figures: dict[int, float], epoch: int
) -> list[Exchange]:
    """Which trials copy which after an epoch, and with which settings."""
    sweep = checked.sweep
    order = sorted(members, key=lambda n: (-sweep.score(figures[n]), n))
    count = len(order) // sweep.scheduler.reduction
    planned = []
    for number in sorted(order[len(order) - count :]) if count else []:
        rng = random.Random(f"{sweep.search.seed}/{epoch}/{number}")
        source = rng.choice(order[:count])
        changed = explored(checked.space, members[source], checked.runs.changeable, rng)
        planned.append(Exchange(number, source, changed))
    return planned


def explored(
    space: Space, assignment: Assignment, changeable: Set[str], rng: random.Random
) -> Assignment:
    """Perturbed settings: each changeable setting is moved one step, or redrawn."""
    chosen: Assignment = {}
    for dimension in space.dimensions:
        name = dimension.name
        if not dimension.exists(chosen):
            continue
        if name in assignment and name not in changeable:
            chosen[name] = assignment[name]
        elif name not in assignment or rng.random() < _REDRAWN:
            chosen[name] = dimension.draw(rng)
        else:
            chosen[name] = _moved(dimension, assignment[name], rng)
    return chosen


def _moved(dimension: Dimension, value: Value, rng: random.Random) -> Value:
    """The previous or next value of a list, or 20 % less or more within a range."""
    step = rng.choice((-1, 1))
    if dimension.values:
        at = dimension.values.index(value) + step
        return dimension.values[min(max(at, 0), len(dimension.values) - 1)]
    assert isinstance(value, (int, float))
    factor = _FACTORS[0] if step < 0 else _FACTORS[1]
    return min(max(value * factor, dimension.low), dimension.high)
