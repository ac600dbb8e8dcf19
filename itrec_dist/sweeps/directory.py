"""The sweep directory, consistent at every moment: a sweep can be killed anywhere and resumed.

    SWEEP/
      sweep.yaml         the resolved sweep, as `itrec sweep --config` reads it
      base.yaml          the resolved base that its `base` names
      manifest.json      the data manifest that all runs share
      environment.json   versions, hardware, commit, command of the sweep; `resumed` adds later ones
      log.jsonl          one JSON object per line, see below
      trials/0007/seed-0/      a run directory, as `itrec train` writes it, without the test split
      trials/0007/error.txt    the traceback of a trial that failed
      finals/0007/seed-1000/   the same with the test split evaluated, for the finalists
      finals/0007/seed-1000/test_windows.parquet   what was found for each test window
      results.csv, results.md, report.html     written at the end, and by `itrec report` again
      wandb/             files of Weights & Biases, if it is used
      .tune/             Ray Tune's files while it runs; `searched` in it marks the end of trials

A sweep at a URI has the same files there. The driver writes its own in a folder of this machine and
sends them with every line of the log (`remote.py`); runs are written as `itrec train` writes those
at a URI, and copied to that folder without their checkpoints where they are read.

Lines of `log.jsonl` have `event` and `time` (see `runs/directory.py`), and

    proposed  trial (its number), assignment (dotted setting -> value)
    ended     trial, status (complete | stopped | failed | refused), value (mean over seeds; of a
              stopped trial its best yet; null if there is none), values (one per seed), cost
              (seconds, windows_per_second, num_parameters; means over seeds), attempts, error,
              transient (of a failed one: whether the machine failed it, and not its settings)
    reached   trial, epoch, value: a member of a population has reached an exchange
    exchange  epoch, taken: after this epoch each trial listed continues from the checkpoint of
              another, its source, with its new assignment
    final     trial, seed, status (complete | failed), error
    session   workers (concurrent trials), seconds: written when a session of the driver ends

A trial that was proposed and has not ended was cut off: it is run again, except for those of its
runs that are complete. So is one that the machine failed, whose cause may have passed, and one that
failed otherwise in no more attempts than `retries` now allow.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from itrec_dist import config
from itrec_dist.config import as_text
from itrec_dist.data import manifest
from itrec_dist.data.manifest import Manifest
from itrec_dist.errors import CheckpointError, ConfigError
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage import atomic, cache, outputs
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from itrec_dist.sweeps import RECIPE
from itrec_dist.sweeps.config import Runs, SweepConfig
from itrec_dist.sweeps.space import Assignment, Space

SEARCHED = "searched"

Status = Literal["open", "complete", "stopped", "failed", "refused"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trial, or of a final run."""

    status: Status
    value: float | None = None
    values: tuple[float, ...] = ()
    cost: dict[str, float] = field(default_factory=dict)
    attempts: int = 1
    error: str | None = None
    transient: bool = False
    """Whether it failed for a reason that may pass: a lost worker, memory, an outage."""

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> "Outcome":
        """From the fields of a log line or a result; unknown ones are ignored."""
        known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        return cls(**{**known, "values": tuple(known.get("values", ()))})


@dataclass(frozen=True)
class Stage:
    """A part of a trial's training, up to an exchange."""

    until: int
    """Its last epoch."""
    assignment: Assignment
    trial: int
    """The trial that ran it; the weights were copied from there."""


@dataclass(frozen=True)
class Trial:
    """A trial as recorded in the log."""

    number: int
    assignment: Assignment
    """For a member of a population, the latest one."""
    outcome: Outcome = Outcome("open")
    stages: tuple[Stage, ...] = ()
    """The earlier stages of its weights, in order of epochs; empty without an exchange."""

    @property
    def before(self) -> tuple[tuple[int, Assignment], ...]:
        """(last epoch, settings) of its earlier stages, to retrain it."""
        return tuple((stage.until, stage.assignment) for stage in self.stages)

    @property
    def label(self) -> str:
        """Its number as folder names have it."""
        return f"{self.number:04d}"


class SweepDirectory:
    """Paths and files of one sweep; see the module's docstring for what each holds."""

    def __init__(
        self, place: Uri | Path, path: Path | None = None,
        send: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Name the files; nothing is read or written.

        Args:
            place: path or URI of the sweep.
            path: the folder of this machine with the files of a sweep at a URI.
            send: sends what the driver has written; called after each line of the log.
        """
        if path is None:
            path = cache.cache("sweeps", place) if isinstance(place, Uri) else place
        self.place, self.path, self.send = place, path, send
        self.recipe = path / RECIPE
        self.base = path / "base.yaml"
        self._run = RunDirectory(path)  # a sweep's log and JSON files have the same names
        self.manifest = self._run.manifest
        self.environment = self._run.environment
        self.results_csv = path / "results.csv"
        self.results_md = path / "results.md"
        self.report = path / "report.html"
        self.scratch = path / ".tune"

    @property
    def exists(self) -> bool:
        """Whether there is a sweep."""
        return self.recipe.is_file()

    def trial(self, number: int) -> Path:
        """The folder of a trial."""
        return self.path / "trials" / f"{number:04d}"

    def run(self, number: int, seed: int, *, is_final: bool = False) -> Path:
        """The run directory of a trial or finalist with one seed, on this machine."""
        return self.path / _run_name(number, seed, is_final=is_final)

    def run_place(self, number: int, seed: int, *, is_final: bool = False) -> Uri | Path:
        """The path or URI that this run is written to."""
        return outputs.below(self.place, _run_name(number, seed, is_final=is_final))

    def evaluation_of(self, number: int, seed: int) -> dict[str, Any]:
        """The final evaluation of a finalist's run, wherever it was written.

        Raises:
            CheckpointError: the run has none, or a damaged one.
            EnvironmentProblem: the URI cannot be reached.
        """
        run = RunDirectory(self.run(number, seed, is_final=True))
        place = outputs.below(self.run_place(number, seed, is_final=True), run.evaluation.name)
        if isinstance(place, Uri) and Store(place).size("") is not None:
            Store(place).download("", run.evaluation)
        content: dict[str, Any] = run.read_json(run.evaluation)
        return content

    def log_of(self, number: int) -> RunDirectory:
        """A trial's run with its first seed, whose log has the epochs."""
        return RunDirectory(self.run(number, 0))

    def finals(self, number: int) -> list[RunDirectory]:
        """The complete final runs of a trial, by seed."""
        places = (self.path / "finals" / f"{number:04d}").glob("seed-*")
        found = sorted(places, key=lambda place: int(place.name.partition("-")[2]))
        return [run for run in map(RunDirectory, found) if run.is_complete]

    def append(self, event: str, **fields: Any) -> None:
        """Add one line to the log."""
        self._run.append(event, **fields)
        self.send()

    def keep_error(self, number: int, text: str) -> None:
        """Write the traceback of a trial that failed.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        place = outputs.below(self.place, f"trials/{number:04d}/error.txt")
        if isinstance(place, Uri):
            Store(place).write("", text.encode())
        else:
            atomic.write_text(place, text)

    def mark(self, name: str) -> None:
        """Tell the processes that wait for a file in the scratch folder, while Tune runs.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        if self.scratch.is_dir():
            (self.scratch / name).touch()
            if isinstance(self.place, Uri):
                Store(self.place).write(f"{self.scratch.name}/{name}", b"")

    def is_marked(self, *names: str) -> bool:
        """Whether one of these files is in the scratch folder.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        if isinstance(self.place, Uri):
            present = Store(self.place).files(self.scratch.name)
            return any(f"{self.scratch.name}/{name}" in present for name in names)
        return any((self.scratch / name).exists() for name in names)

    def clear_scratch(self) -> None:
        """Remove the scratch folder.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        if isinstance(self.place, Uri):
            Store(self.place).remove(self.scratch.name)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def events(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of one event."""
        return self._run.events(event)

    def trials(self) -> list[Trial]:
        """All trials, by number.

        Raises:
            CheckpointError: a line of the log lacks a required field.
        """
        trials: dict[int, Trial] = {}
        try:
            for line in self.events("proposed"):
                trials[line["trial"]] = Trial(line["trial"], line["assignment"])
            for line in self.events("exchange"):
                for taken in line["taken"]:
                    source = trials[taken["source"]]
                    stage = Stage(line["epoch"], source.assignment, source.number)
                    trials[taken["trial"]] = replace(
                        trials[taken["trial"]], assignment=taken["assignment"],
                        stages=(*source.stages, stage),
                    )  # fmt: skip
            for line in self.events("ended"):
                ended = Outcome.from_plain(line)
                trials[line["trial"]] = replace(trials[line["trial"]], outcome=ended)
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self._run.log} is damaged (a line lacks {error}): start the sweep again"
            ) from error
        return [trials[number] for number in sorted(trials)]

    def read_recipe(self) -> SweepConfig:
        """The resolved sweep configuration.

        Raises:
            CheckpointError: there is none, or it is of another version.
        """
        if not self.exists:
            raise CheckpointError(f"{self.place} is not a sweep directory (it has no {RECIPE})")
        try:
            sweep = config.load(SweepConfig, self.recipe, prog="itrec sweep")
        except ConfigError as error:
            raise CheckpointError(
                f"{self.recipe} is of another version or damaged: {error}"
            ) from error
        return replace(sweep, base=str(self.base))  # the folder may have moved

    def read_space(self, sweep: SweepConfig | None = None) -> Space:
        """The search space; `sweep` is the result of `read_recipe`, if it was read before.

        Raises:
            CheckpointError: the base or the space is damaged or of another version.
        """
        try:
            sweep = sweep or self.read_recipe()
            return Runs(sweep).space()
        except ConfigError as error:
            raise CheckpointError(f"{self.place} is of another version: {error}") from error

    def read_base(self) -> dict[str, Any]:
        """The resolved base as plain values."""
        content: dict[str, Any] = yaml.safe_load(self.base.read_text(encoding="utf-8"))
        return content

    def read_manifest(self) -> Manifest:
        """The data's manifest.

        Raises:
            ShardsError: there is none, it is damaged, or of another version.
        """
        return manifest.read(self.path)

    def read_environment(self) -> dict[str, Any]:
        """Versions, hardware, commit and command of the sweep.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        content: dict[str, Any] = self._run.read_json(self.environment)
        return content


def _run_name(number: int, seed: int, *, is_final: bool) -> str:
    return f"{'finals' if is_final else 'trials'}/{number:04d}/seed-{seed}"


def attempts_left(sweep: SweepConfig, trial: Trial) -> int:
    """How often a trial may be attempted in this session; 0 if it has ended."""
    outcome, allowed = trial.outcome, sweep.retries + 1
    if outcome.status == "open":
        return allowed
    if outcome.status != "failed":
        return 0
    return allowed if outcome.transient else max(allowed - outcome.attempts, 0)


def is_left(sweep: SweepConfig, trial: Trial) -> bool:
    """Whether a trial has to be run: it was cut off, or it failed and may be retried."""
    return attempts_left(sweep, trial) > 0


def describe_failures(trials: Sequence[Trial]) -> str | None:
    """A clause about the failed trials and how to retry them; None if there are none."""
    failed = [trial for trial in trials if trial.outcome.status == "failed"]
    if not failed:
        return None
    return (
        f"{len(failed)} of {len(trials)} trials failed and {'were' if len(failed) > 1 else 'was'} "
        f"not compared, the first (trial {failed[0].label}) with: {failed[0].outcome.error}; the "
        f"same command with {describe_retry(failed)}"
    )


def describe_retry(failed: Sequence[Trial]) -> str:
    """Which options try failed trials again."""
    transient = [trial for trial in failed if trial.outcome.transient]
    retries = max(trial.outcome.attempts for trial in failed)
    again = f"--resume --retries {retries} tries again"
    if not transient:
        return again
    which = "" if len(transient) == len(failed) else f" {len(transient)} of them"
    whose = "its" if len(transient) == 1 else "their"
    passing = f"--resume tries{which} again, as {whose} cause may have passed"
    return f"{passing}; --resume --retries {retries} tries all again" if which else passing


def ranked(sweep: SweepConfig, trials: list[Trial]) -> list[Trial]:
    """The complete trials from best to worst."""
    done = [t for t in trials if t.outcome.status == "complete"]
    return sorted(done, key=lambda t: (-sweep.score(t.outcome.value or 0.0), t.number))


def format_assignment(assignment: Assignment) -> str:
    """An assignment in one line."""
    return " ".join(f"{name}={as_number(value)}" for name, value in assignment.items())


def as_number(value: object) -> str:
    """A value in a short form."""
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)
