"""Shards that are out of reach for a while in a sweep: waited for, tried again, never forgotten."""

import shutil
import time

import pytest

from itrec_dist.data import manifest, schema
from itrec_dist.data.shards import reader
from itrec_dist.errors import EnvironmentProblem, MachineError, ShardsError, TrainingError
from itrec_dist.inference.load import restore
from itrec_dist.reports.sweep import answer, tables
from itrec_dist.reports.sweep import runs as sweep_runs
from itrec_dist.sweeps import checks, driver, jobs
from itrec_dist.sweeps import trial as trials
from itrec_dist.sweeps.directory import Outcome, Trial, describe_failures
from itrec_dist.sweeps.resources import Packing
from tests.cases import slow_after
from tests.fixtures import DEBUG_RECIPE
from tests.swept import outcomes, run_here, sweep_of

NO_FINALS = {"candidates": 0}


class Planted:
    """Raises an error in the attempts of a trial, one after another."""

    def __init__(self, error, monkeypatch, trial=0, attempts=1):
        self.left = attempts
        plain = trials.Trials._run

        def run(trials_, job, seed, on_epoch):
            if job.number == trial and self.left and not job.is_final:
                self.left -= 1
                raise error
            return plain(trials_, job, seed, on_epoch)

        monkeypatch.setattr(trials.Trials, "_run", run)
        monkeypatch.setattr(trials, "_WAIT_SECONDS", 0.0)


class Outage:
    """Hides a part of the shards from the attempts of a trial, one after another."""

    def __init__(self, shards, monkeypatch, part="", trial=0, attempts=1):
        self.place, self.trial, self.left = shards / part, trial, attempts
        self.away = shards.parent / "away"
        self.waits = []
        plain = trials.Trials._run

        def run(trials_, job, seed, on_epoch):
            hides = job.number == self.trial and self.left and not job.is_final
            if hides:
                self.left -= 1
                self.place.rename(self.away)
            try:
                return plain(trials_, job, seed, on_epoch)
            finally:
                if hides:
                    self.away.rename(self.place)

        monkeypatch.setattr(trials.Trials, "_run", run)
        sleep = time.sleep

        def passed(seconds):
            """Waits of seconds are noted; torch's and ours of milliseconds are waited."""
            return self.waits.append(seconds) if seconds >= 1 else sleep(seconds)

        monkeypatch.setattr(time, "sleep", passed)


@pytest.fixture
def place(shards, tmp_path):
    """Shards that can be hidden."""
    return shutil.copytree(shards, tmp_path / "place")


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "sweep"
    return outcomes(run_here(sweep_of(shards, out, final=NO_FINALS))[0])


@pytest.mark.parametrize("part", slow_after(1, ["train", "", "items.parquet", "manifest.json"]))
def test_what_comes_back_is_waited_for(part, place, undisturbed, tmp_path, monkeypatch):
    outage = Outage(place, monkeypatch, part, attempts=3)
    sweep = sweep_of(place, tmp_path / "sweep", retries=3, final=NO_FINALS)
    directory, _ = run_here(sweep)
    assert outcomes(directory) == undisturbed
    assert [t.outcome.attempts for t in directory.trials()] == [4, 1, 1, 1]
    assert outage.waits == [5.0, 10.0, 20.0]


def test_what_failed_for_an_outage_is_tried_again_on_resuming(
    place, undisturbed, tmp_path, monkeypatch
):
    best = max(range(4), key=lambda number: undisturbed[number][3])
    Outage(place, monkeypatch, trial=best, attempts=2)
    final = {"candidates": 1, "seeds": 1}
    sweep = sweep_of(place, tmp_path / "sweep", retries=1, final=final)
    directory, said = run_here(sweep)
    lost = directory.trials()[best]
    assert (lost.outcome.status, lost.outcome.attempts) == ("failed", 2)
    assert lost.outcome.transient
    assert f"{place} holds no manifest.json" in lost.outcome.error
    assert f"{place} holds no manifest.json" in said[best]
    finals = {p.name for p in (directory.path / "finals").iterdir()}
    assert lost.label not in finals
    failures = answer.sentences(sweep_runs.read(directory.path))[1]
    assert failures.startswith("The best of the others only: 1 of 4 trials failed and was not comp")
    assert f"the first (trial {lost.label}) with: {lost.outcome.error}" in failures
    assert failures.endswith("--resume tries again, as its cause may have passed.")
    assert tables.failures(sweep_runs.read(directory.path))[0][1] == "failed (transient)"
    plan = driver._describe_plan(checks.checked(sweep), Packing(1, 0, 1), directory.trials())
    assert plan.endswith("; 3 trials are done, 1 that failed is tried again")

    directory, said = run_here(sweep, resume=True)
    assert outcomes(directory) == undisturbed
    assert directory.trials()[best].outcome.attempts == 3
    assert said[0].startswith(f"[4/4] trial {lost.label}: ")
    assert lost.label in {p.name for p in (directory.path / "finals").iterdir()}
    assert describe_failures(directory.trials()) is None
    again = sweep_runs.read(directory.path)
    assert again.finalists[0].trial.number in {best, int(next(iter(finals)))}
    assert "failed" not in " ".join(answer.sentences(again))


@pytest.mark.parametrize(
    "error",
    [
        MachineError("worker 1 was lost (its node ran out of memory)"),
        MemoryError("cannot allocate 7 GB"),
        EnvironmentProblem("s3://bucket/shards cannot be reached"),
        OSError(5, "Input/output error"),
    ],
)
def test_what_the_machine_failed_has_all_its_attempts_again_on_resuming(
    error, undisturbed, shards, tmp_path, monkeypatch
):
    """Two fail in the first session and one in the second, which has two as well."""
    Planted(error, monkeypatch, trial=1, attempts=3)
    sweep = sweep_of(shards, tmp_path / "sweep", retries=1, trials=2, final=NO_FINALS)
    directory, _ = run_here(sweep)
    lost = directory.trials()[1].outcome
    assert (lost.status, lost.attempts, lost.transient) == ("failed", 2, True)
    directory, _ = run_here(sweep, resume=True)
    assert outcomes(directory) == undisturbed[:2]
    assert directory.trials()[1].outcome.attempts == 4


@pytest.mark.parametrize(
    "error",
    [
        TrainingError("the loss is not finite at step 3 of epoch 1"),
        RuntimeError("shape mismatch"),
    ],
)
def test_what_failed_by_itself_is_tried_again_when_more_attempts_are_allowed(
    error, undisturbed, shards, tmp_path, monkeypatch
):
    planted = Planted(error, monkeypatch, attempts=2)

    def sweep(retries):
        name = tmp_path / "sweep"
        return sweep_of(shards, name, retries=retries, trials=2, final=NO_FINALS)

    directory, _ = run_here(sweep(1))
    first = directory.trials()[0].outcome
    assert (first.status, first.attempts, first.transient) == ("failed", 2, False)
    assert "--resume --retries 2 tries again" in describe_failures(directory.trials())
    begun = directory.events("ended")
    run_here(sweep(1), resume=True)
    assert directory.events("ended") == begun
    assert planted.left == 0
    run_here(sweep(2), resume=True)
    assert outcomes(directory) == undisturbed[:2]
    assert directory.trials()[0].outcome.attempts == 3


def test_a_mixture_of_failures_says_what_is_tried_again():
    def failed(number, attempts, *, transient):
        outcome = Outcome("failed", attempts=attempts, error="lost", transient=transient)
        return Trial(number, {}, outcome)

    found = [failed(0, 2, transient=True), failed(1, 3, transient=False), Trial(2, {})]
    assert describe_failures(found) == (
        "2 of 3 trials failed and were not compared, the first (trial 0000) with: lost; the same "
        "command with --resume tries 1 of them again, as its cause may have passed; --resume "
        "--retries 3 tries all again"
    )


def test_shards_that_are_gone_when_a_trial_is_proposed_do_not_end_the_sweep(
    place, undisturbed, tmp_path, monkeypatch
):
    plain, asked = jobs.check, []

    def check(run, workers):
        asked.append(run)
        if len(asked) == 2:
            raise ShardsError(f"{place} holds no manifest.json")
        return plain(run, workers)

    monkeypatch.setattr(jobs, "check", check)
    directory, _ = run_here(sweep_of(place, tmp_path / "sweep", final=NO_FINALS))
    assert outcomes(directory) == undisturbed


def test_a_process_that_cannot_read_the_base_when_it_starts_tells_the_cause(place, tmp_path):
    base = tmp_path / "own.yaml"
    shutil.copy(DEBUG_RECIPE, base)
    sweep = sweep_of(place, tmp_path / "sweep", base=str(base))
    base.unlink()  # as on a machine that does not have it
    outcome = trials.Trials(sweep).work(trials.Job(0, {"loss": "bce"}, (0,)), lambda *_: None)
    assert outcome.status == "refused"
    assert str(base) in outcome.error


def test_a_sweep_without_a_complete_trial_says_how_to_go_on(place, tmp_path, monkeypatch):
    Outage(place, monkeypatch, attempts=9)
    sweep = sweep_of(place, tmp_path / "sweep", retries=0, trials=1, final=NO_FINALS)
    directory, _ = run_here(sweep)
    with pytest.raises(TrainingError, match=r"holds no manifest\.json.*--resume tries again, as"):
        driver._check_any_complete(sweep, directory.trials())


def test_a_run_keeps_the_item_table_that_it_began_with(place, tmp_path, monkeypatch):
    """Checkpoints hold it, and shards may be windowed anew in the meantime."""
    plain = trials.run_worker
    before = (place / schema.ITEMS_FILE).read_bytes()

    def spoiling(run, context, watch):
        def watching(event):
            if event["event"] == "start":
                (place / schema.ITEMS_FILE).unlink()
            watch(event)

        plain(run, context, watching)
        (place / schema.ITEMS_FILE).write_bytes(before)

    monkeypatch.setattr(trials, "run_worker", spoiling)
    sweep = sweep_of(place, tmp_path / "sweep", trials=1, retries=0, final=NO_FINALS)
    directory, _ = run_here(sweep)
    assert directory.trials()[0].outcome.error is None
    restored = restore(directory.run(0, 0))
    items = reader.read_items(place, manifest.read(place))
    assert restored.items.source_ids == items.source_ids
