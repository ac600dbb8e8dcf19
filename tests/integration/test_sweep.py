"""Sweeps through Ray: a trial that kills its process, schedulers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from itrec_dist.api import sweeping as api
from itrec_dist.options import sweep as sweep_options
from itrec_dist.runs.checkpoints import training_state
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from itrec_dist.sweeps import checks, remote
from itrec_dist.sweeps import driver as sweep_driver
from itrec_dist.sweeps.trial import Job, Stopped
from tests import object_store
from tests.fixtures import DEBUG_RECIPE
from tests.swept import Cut, outcomes, run_here, sweep_of

ROOT = Path(__file__).parents[2]
ALIKE = {"evaluation.train_sample": 0, "loss": "softmax", "training.log_seconds": 0.0}
"""Settings of runs that any number of workers trains to the same losses."""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_trial_whose_process_dies_is_retried_and_ends_alone(shards, tmp_path, monkeypatch):
    """The actors import this checkout, so what kills one of them is planted in its settings."""
    from itrec_dist.sweeps import ray_tune

    class Deadly(ray_tune._Actor):
        def step(self):
            if '"ce"' in self.config["job"]:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().step()

    monkeypatch.setattr(ray_tune, "_Actor", Deadly)
    sweep = sweep_of(shards, tmp_path / "sweep", trials=2, final={"candidates": 0})
    said = []
    directory = sweep_driver.run(
        checks.checked(sweep), resume=False, place=sweep_driver.Place(), say=said.append
    )
    assert [t.outcome.status for t in directory.trials()] == ["failed", "complete"]
    assert "its process died" in directory.trials()[0].outcome.error
    assert "1 CPU" in said[0]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_asha_stops_what_lags_and_spends_its_epochs_on_the_rest(shards, tmp_path, monkeypatch):
    """Rates that learn nothing lose to those that do, by the loss, at the first rung.

    The base is a path relative to this process, which the actors' working directory is not.
    """
    shutil.copy(DEBUG_RECIPE, tmp_path / "own.yaml")
    monkeypatch.chdir(tmp_path)
    space = {"optimizer.learning_rate": {"choice": [0.02, 1e-9]},
             "model.dropout": {"choice": [0.0, 0.05, 0.1]}}  # fmt: skip
    fixed = {"training.epochs": 4, "evaluation.train_sample": 0, "loss": "softmax"}
    sweep = sweep_of(
        shards, tmp_path / "sweep", base="own.yaml", space=space, fixed=fixed, trials=None,
        metric="loss", search={"algorithm": "grid"},
        scheduler={"name": "asha", "grace": 1, "reduction": 2},
        final={"candidates": 1, "seeds": 1}, resources={"concurrent": 1},
    )  # fmt: skip
    directory = sweep_driver.run(
        checks.checked(sweep), resume=False, place=sweep_driver.Place(), say=lambda line: None
    )
    by_rate = {
        rate: [t for t in directory.trials() if t.assignment["optimizer.learning_rate"] == rate]
        for rate in (0.02, 1e-9)
    }
    assert [t.outcome.status for t in by_rate[1e-9]] == ["stopped"] * 3
    epochs = [len(directory.log_of(t.number).events("epoch")) for t in by_rate[1e-9]]
    assert max(epochs) < 4
    assert any(t.outcome.status == "complete" for t in by_rate[0.02])
    (final,) = directory.path.glob("finals/*/seed-1000/evaluation.json")
    assert set(json.loads(final.read_text())["splits"]) == {"validation", "test"}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_population_larger_than_the_machine_meets_at_its_exchanges(shards, tmp_path):
    """Three trials on two actors: one of them waits at each exchange and goes on after it."""
    space = {"optimizer.learning_rate": {"choice": [1e-9, 0.003, 0.02]}}
    fixed = {"training.epochs": 3, "evaluation.train_sample": 0, "loss": "softmax"}
    given = {
        "space": space, "fixed": fixed, "trials": 3, "metric": "loss",
        "scheduler": {"name": "pbt", "interval": 1, "reduction": 3},
        "final": {"candidates": 1, "seeds": 2}, "resources": {"concurrent": 2},
    }  # fmt: skip
    sweep = sweep_of(shards, tmp_path / "sweep", **given)
    directory = sweep_driver.run(
        checks.checked(sweep), resume=False, place=sweep_driver.Place(), say=lambda line: None
    )
    here, _ = run_here(sweep_of(shards, tmp_path / "here", **given))
    assert outcomes(directory) == outcomes(here)
    assert [t.stages for t in directory.trials()] == [t.stages for t in here.trials()]
    assert [e["epoch"] for e in directory.events("exchange")] == [1, 2]
    assert sum(len(directory.finals(n)) for n in range(3)) == 2


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_trial_of_several_workers_launches_its_own_group(shards, tmp_path):
    fixed = {"training.epochs": 1, "evaluation.train_sample": 0, "cluster.num_workers": 2}
    sweep = sweep_of(
        shards, tmp_path / "sweep", fixed=fixed, trials=1, final={"candidates": 1, "seeds": 1}
    )
    said = []
    directory = sweep_driver.run(
        checks.checked(sweep), resume=False, place=sweep_driver.Place(), say=said.append
    )
    (trial,) = directory.trials()
    assert trial.outcome.status == "complete", trial.outcome.error
    assert "a group of 2 workers of 1 CPU each" in said[0]
    assert directory.log_of(0).events("start")[0]["workers"] == 2
    (final,) = directory.finals(0)
    assert final.events("start")[0]["workers"] == 2
    one, _ = run_here(sweep_of(shards, tmp_path / "one", trials=1, final={"candidates": 0}))
    assert trial.outcome.value == pytest.approx(one.trials()[0].outcome.value, rel=0.05)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_asha_ends_a_trial_of_several_workers_in_order(shards, tmp_path):
    """The second trial learns nothing: its two workers end early, with a checkpoint."""
    import ray

    sweep = sweep_of(
        shards, tmp_path / "sweep", search={"algorithm": "grid"}, trials=None, metric="loss",
        space={"optimizer.learning_rate": {"choice": [0.02, 1e-9]}},
        fixed={**ALIKE, "training.epochs": 3, "cluster.num_workers": 2},
        scheduler={"name": "asha", "grace": 1, "reduction": 2}, final={"candidates": 0},
    )  # fmt: skip
    directory = sweep_driver.run(
        checks.checked(sweep), resume=False, place=sweep_driver.Place(), say=lambda line: None
    )
    kept, stopped = directory.trials()
    assert (kept.outcome.status, stopped.outcome.status) == ("complete", "stopped")
    run = directory.log_of(stopped.number)
    losses = [e["validation"]["loss"] for e in run.events("epoch")]
    assert 1 <= len(losses) < 3
    assert stopped.outcome.value == min(losses)
    assert [e["reason"] for e in run.events("end")] == ["interrupted"]
    assert training_state.load(run.checkpoints / "last").state.position.epoch == len(losses)
    assert run.events("start")[0]["workers"] == 2
    whole, deadline = ray.cluster_resources()["CPU"], time.monotonic() + 30
    while (free := ray.available_resources().get("CPU")) != whole:  # told after an actor's end
        assert time.monotonic() < deadline, f"{free} of {whole} CPUs are free"
        time.sleep(0.2)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_population_of_groups_that_is_cut_off_exchanges_as_one_in_this_process(shards, tmp_path):
    """Both trials reach the exchange, the driver dies, and it is made and trained on later."""
    given = {
        "space": {"optimizer.learning_rate": {"choice": [1e-9, 0.003, 0.02]}},
        "trials": 2, "metric": "loss", "search": {"seed": 1}, "final": {"candidates": 0},
        "scheduler": {"name": "pbt", "interval": 1, "reduction": 2},
    }  # fmt: skip
    fixed = {**ALIKE, "training.epochs": 2}
    one, _ = run_here(sweep_of(shards, tmp_path / "one", fixed=fixed, **given))
    fixed["cluster.num_workers"] = 2
    sweep = sweep_of(shards, tmp_path / "groups", fixed=fixed, **given)
    with pytest.raises(Cut):
        run_here(sweep, groups=True, most=3)
    groups, _ = run_here(sweep, groups=True, resume=True)
    assert [e["epoch"] for e in groups.events("exchange")] == [1]
    assert [t.stages for t in groups.trials()] == [t.stages for t in one.trials()]
    assert any(t.stages for t in groups.trials())
    for two, alone in zip(groups.trials(), one.trials(), strict=True):
        assert two.assignment == alone.assignment
        assert two.outcome.status == "complete", two.outcome.error
        assert two.outcome.value == pytest.approx(alone.outcome.value, rel=1e-5)
        run = groups.log_of(two.number)
        assert [e["workers"] for e in run.events("start")] == [2, 2]
        assert [e["epoch"] for e in run.events("epoch")] == [1, 2]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_an_epoch_is_told_once_and_after_the_end_no_other_goes_on():
    """Workers that took the place of lost ones train an epoch again, and ask about it again."""
    from itrec_dist.launch.epochs import EpochAnswers

    told = []

    def on_epoch(epoch, value):
        told.append((epoch, value))
        if epoch == 2:
            raise Stopped

    answers = EpochAnswers(on_epoch)
    answers.start()
    asked = [answers.questions.ask(epoch, epoch / 2) for epoch in (1, 1, 2, 2, 3)]
    assert asked == [True, True, False, False, False]
    assert told == [(1, 0.5), (2, 1.0)]
    assert isinstance(answers.error, Stopped)
    answers.finish()
    assert answers.questions.answer() == {}


def tune_trial(name, **assignment):
    return SimpleNamespace(trial_id=name, config={"job": json.dumps({"assignment": assignment})})


def test_the_rungs_of_an_earlier_life_still_stop_what_lags(shards, tmp_path):
    from itrec_dist.sweeps import ray_tune

    sweep = sweep_of(
        shards, tmp_path / "s", scheduler={"name": "asha", "grace": 1, "reduction": 2},
        space={"model.dropout": {"uniform": [0, 0.5]}},
    )  # fmt: skip
    new = tune_trial("new")
    verdicts = []
    for history in ([], [({}, [0.2, 0.3]), ({}, [0.4]), ({}, [0.5, 0.6])]):
        scheduler = ray_tune._scheduler(sweep, history)
        scheduler.on_trial_add(None, new)
        verdicts.append(scheduler.on_trial_result(None, new, {"epoch": 1, "score": 0.3}))
    assert verdicts == ["CONTINUE", "STOP"]


def test_trials_are_stopped_by_those_of_their_own_combination_alone(shards, tmp_path):
    """A loss that is poor in all its trials keeps its best: the table over losses needs it."""
    from itrec_dist.sweeps import ray_tune

    sweep = sweep_of(shards, tmp_path / "s", scheduler={"name": "asha", "reduction": 2})
    scheduler = ray_tune._scheduler(sweep, [({"loss": "bce", "model.dropout": 0.1}, [0.8])])
    verdicts = {}
    for loss, score in (("ce", 0.3), ("ce", 0.2), ("ce", 0.4), ("bce", 0.7), ("bce", 0.9)):
        trial = tune_trial(f"{loss} {score}", loss=loss)
        scheduler.on_trial_add(None, trial)
        told = scheduler.on_trial_result(None, trial, {"epoch": 1, "score": score})
        verdicts[loss, score] = told
    assert verdicts == {
        ("ce", 0.3): "CONTINUE", ("ce", 0.2): "STOP", ("ce", 0.4): "CONTINUE",
        ("bce", 0.7): "STOP", ("bce", 0.9): "CONTINUE",
    }  # fmt: skip


class Source:
    """Hands out one job and keeps its outcome."""

    is_over = False

    def __init__(self):
        self.outcomes = []

    def next(self):
        return Job(0, {}, (0,))

    def ended(self, job, outcome):
        self.outcomes.append((outcome.status, outcome.value))


@pytest.mark.parametrize(
    ("scores", "error", "expected"),
    [
        ([-4.1], False, ("stopped", 4.1)),
        ([-4.1, -4.0, -4.2], False, ("stopped", 4.0)),
        ([], False, ("failed", None)),
        ([-4.1], True, ("failed", None)),
    ],
)
def test_a_trial_that_is_stopped_has_its_best_epoch(scores, error, expected, shards, tmp_path):
    """As Tune tells it: of the epoch at which a trial stops, with the end alone."""
    from itrec_dist.sweeps import ray_tune

    source = Source()
    feeder = ray_tune._Feeder(sweep_of(shards, tmp_path / "sweep", metric="loss"), source)
    feeder.suggest("one")
    *before, last = scores or [None]
    for score in before:
        feeder.on_trial_result("one", {ray_tune.SCORE: score})
    result = None if last is None or error else {ray_tune.SCORE: last}
    feeder.on_trial_complete("one", result=result, error=error)
    assert source.outcomes == [expected]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_groups_of_workers_write_a_sweep_to_a_uri(shards, tmp_path, monkeypatch):
    """No process needs another's folders: driver and workers have caches of their own here."""
    here = object_store.machine(monkeypatch, tmp_path / "driver")
    given = {
        "space": {"optimizer.learning_rate": {"choice": [0.02]}}, "trials": 1,
        "final": {"candidates": 0},
    }  # fmt: skip
    fixed = {"training.epochs": 1, **ALIKE}
    alone, _ = run_here(sweep_of(shards, tmp_path / "alone", fixed=fixed, **given))
    place = Uri(f"file://{tmp_path}/store/sweep")
    fixed = {**fixed, "cluster.num_workers": 2}
    sweep = sweep_of(shards, place, recipes=tmp_path, fixed=fixed, **given)
    found = api.swept(
        sweep_options.parser().parse(["--config", str(tmp_path / "sweep.yaml")]), print
    )
    (trial,), (other,) = found.trials, alone.trials()
    assert trial.outcome.status == "complete", trial.outcome.error
    assert trial.outcome.value == pytest.approx(other.outcome.value, rel=1e-3)
    assert found.best.run.events("start")[0]["workers"] == 2
    assert str(found.best.run.path) == f"{sweep.out}/trials/0000/seed-0"
    names = Store(place).files()
    assert not [n for n in names if "lease" in n or "/ray/" in n or n.startswith(".tune")]
    assert not [path for path in here.glob("runs/**/*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.skipif(object_store.command() is None, reason="needs moto's server, of the dev extras")
def test_trials_in_actors_write_a_sweep_to_an_object_store(shards, tmp_path, monkeypatch, itrec):
    """In a process of its own: workers of the shared Ray know no bucket."""
    machine = object_store.machine(monkeypatch, tmp_path / "machine")
    space = {"optimizer.learning_rate": {"choice": [0.02, 1e-9]}}
    with object_store.serving() as bucket:
        place = Uri(f"{bucket}/sweep")
        sweep_of(
            shards, place, recipes=tmp_path, space=space, trials=3, metric="loss",
            fixed={"training.epochs": 3, "evaluation.train_sample": 0, "loss": "softmax"},
            scheduler={"name": "asha", "grace": 1, "reduction": 2},
            final={"candidates": 1, "seeds": 1},
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "itrec_dist", "sweep", "--config", tmp_path / "sweep.yaml"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"report: {place}/report.html" in done.stdout
        assert not [p for kind in ("runs", "sweeps") for p in machine.glob(f"{kind}/**/*")
                    if p.is_file()]  # fmt: skip
        object_store.machine(monkeypatch, tmp_path / "another")
        directory = remote.readable(place)
        trials = directory.trials()
        assert [t.outcome.error for t in trials] == [None] * 3
        whole = next(t.number for t in trials if t.outcome.status == "complete")
        assert len(directory.log_of(whole).events("epoch")) == 3
        (final,) = [run for t in trials for run in directory.finals(t.number)]
        assert set(final.read_json(final.evaluation)["splits"]) == {"validation", "test"}
        names = Store(place).files()
        assert not [n for n in names if "lease" in n or n.startswith(".tune")]
        code, _, err = itrec("recommend", directory.run_place(int(final.path.parent.name), 1000,
                             is_final=True), "--out", tmp_path / "top.parquet")  # fmt: skip
        assert code == 0, err
        secret = object_store.ENVIRONMENT["AWS_SECRET_ACCESS_KEY"].encode()
        assert not [n for n in names if n.endswith((".json", ".yaml", ".jsonl", ".html"))
                    and secret in Store(place).read(n)]  # fmt: skip
