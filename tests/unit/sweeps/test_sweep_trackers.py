"""Trackers: what the services are told, that nothing of a sweep depends on them, what is refused.

The tests of a service need its client (the extras `mlflow` and `wandb`); the rest runs anywhere.
"""

import builtins
import json
import time

import pytest

from itrec_dist.errors import EnvironmentProblem
from itrec_dist.runs import trackers
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.sweeps import checks
from tests.swept import run_here, sweep_of


def tracked_sweep(shards, out, **asked_for):
    return sweep_of(shards, out, trials=2, final={"candidates": 1, "seeds": 1}, trackers=asked_for)


def prepared(sweep):
    trackers.prepare(sweep.trackers, sweep.out.name, sweep.out)


def epochs_of(run):
    return {e["epoch"]: e["validation"]["unmasked"]["precision@5"] for e in run.events("epoch")}


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_client_that_is_not_installed_is_refused_in_one_sentence(
    name, shards, tmp_path, monkeypatch, itrec
):
    plain = builtins.__import__

    def without(module, *rest, **more):
        if module == name:
            raise ImportError(module)
        return plain(module, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    tracked_sweep(shards, tmp_path / "sweep", **{name: "somewhere"})
    code, _, err = itrec("sweep", "--config", tmp_path / "sweep.yaml")
    assert (code, err.count("\n")) == (2, 1)
    assert f"pip install 'itrec-dist[{name}]', or leave trackers.{name} out" in err
    assert not (tmp_path / "sweep").exists()


def test_figures_have_names_that_every_service_takes():
    event = {
        "event": "epoch", "epoch": 3, "loss": 2.5, "windows_per_second": 10.0, "train": None,
        "validation": {"loss": None, "num_windows": 7, "unmasked": {"precision@5": 0.25}},
    }  # fmt: skip
    assert trackers.figures_of(event) == {
        "loss": 2.5, "windows_per_second": 10.0, "validation/unmasked/precision_at_5": 0.25,
    }  # fmt: skip


def test_a_tracker_that_fails_is_noted_and_left_out_while_the_others_go_on(
    shards, tmp_path, monkeypatch
):
    """One dies at its beginning, one after its first epoch, and one hears everything."""
    heard = []

    class Listening:
        def __init__(self, dies):
            self.dies = dies

        def log(self, figures, epoch):
            if self.dies:
                raise ConnectionError("the server is gone\nand more")
            heard.append((epoch, sorted(figures)[0].partition("/")[0]))

        def end(self, *, is_complete):
            heard.append(("end", is_complete, self.dies))

    class Service:
        __name__ = "service"

        def __init__(self, **how):
            self.how = how

        def begin(self, place, tracked, known):
            if not self.how:
                raise OSError("no such server")
            return Listening(**self.how)

    services = [(Service(), "a"), (Service(dies=True), "b"), (Service(dies=False), "c")]
    monkeypatch.setattr(trackers, "_asked_for", lambda config: iter(services))
    sweep = sweep_of(shards, tmp_path / "sweep", trials=1, final={"candidates": 0})
    run = RunDirectory(tmp_path / "sweep" / "trials" / "0000" / "seed-0")
    tracked = trackers.Tracked("sweep", "trial 0000", {}, run, tmp_path)
    run.path.mkdir(parents=True)
    with trackers.following(sweep.trackers, tracked) as watch:
        watch({"event": "start"})
        for epoch in (1, 2):
            watch({"event": "epoch", "epoch": epoch, "loss": 1.0, "windows_per_second": 1.0})
    assert heard == [(1, "loss"), (2, "loss"), ("end", True, False)]
    notes = [e["message"] for e in run.events("note")]
    assert notes == [
        "a tracker failed, the run continues without it: no such server",
        "a tracker failed, the run continues without it: the server is gone",
    ]
    with (
        pytest.raises(KeyboardInterrupt),
        trackers.following(sweep.trackers, tracked) as watch,
    ):
        raise KeyboardInterrupt
    assert heard[-1] == ("end", False, False)


@pytest.mark.slow
def test_mlflow_holds_each_run_with_its_settings_and_figures(shards, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    place = f"sqlite:///{tmp_path}/mlflow.db"
    sweep = tracked_sweep(shards, tmp_path / "sweep", mlflow=place)
    prepared(checks.checked(sweep).sweep)
    directory, _ = run_here(sweep)
    client = mlflow.MlflowClient(place)
    experiment = client.get_experiment_by_name("sweep")
    found = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    (final,) = (p for p in directory.path.glob("finals/*/*"))
    assert set(found) == {
        "trial 0000 seed 0", "trial 0001 seed 0", f"final {final.parent.name} seed 1000"
    }  # fmt: skip
    for trial in directory.trials():
        told = found[f"trial {trial.label} seed 0"]
        assert told.info.status == "FINISHED"
        assert told.data.params == {n: str(v) for n, v in trial.assignment.items()}
        name = "validation/unmasked/precision_at_5"
        history = client.get_metric_history(told.info.run_id, name)
        expected = epochs_of(directory.log_of(trial.number))
        assert {m.step: m.value for m in history} == expected
        assert told.data.metrics[f"best/{name}"] == pytest.approx(trial.outcome.value)
        assert not any(metric.startswith("best/test") for metric in told.data.metrics)
    judged = json.loads((final / "evaluation.json").read_text())["splits"]["test"]
    told = found[f"final {final.parent.name} seed 1000"].data.metrics
    assert told["best/test/masked/hit_rate_at_5"] == judged["masked"]["hit_rate@5"]


def test_an_mlflow_that_cannot_be_reached_is_refused_before_anything_starts(
    shards, tmp_path, monkeypatch
):
    pytest.importorskip("mlflow", reason="needs the extra mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for place in ("http://127.0.0.1:9", "nonsense://there"):
        sweep = tracked_sweep(shards, tmp_path / "sweep", mlflow=place)
        with pytest.raises(EnvironmentProblem) as refusal:
            prepared(checks.checked(sweep).sweep)
        assert f"trackers.mlflow={place} cannot be used: " in str(refusal.value)
        assert "\n" not in str(refusal.value)


LAST = b"best/test/masked/hit_rate_at_5"
"""What is told last, of the finalist alone."""


def records(path):
    """What a file of Weights & Biases holds, in one piece.

    It is a log in blocks of 32 KiB; a header of 7 bytes stands in front of each piece in a block.
    """
    content, whole = path.read_bytes(), b""
    for start in range(0, len(content), 2**15):
        block, at = content[start : start + 2**15], 0 if start else 7  # the file's own header
        while at + 7 < len(block):
            size = int.from_bytes(block[at + 4 : at + 6], "little")
            whole += block[at + 7 : at + 7 + size]
            at += 7 + size
    return whole


@pytest.mark.slow
def test_weights_and_biases_works_offline_and_else_wants_a_login(shards, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs the extra wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    sweep = tracked_sweep(shards, tmp_path / "sweep", wandb="films")
    with pytest.raises(EnvironmentProblem, match="run `wandb login`, set WANDB_API_KEY, or set"):
        prepared(sweep)
    monkeypatch.setenv("WANDB_MODE", "offline")
    prepared(sweep)
    directory, _ = run_here(sweep)
    kept = sorted((directory.path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(kept) == 3
    contents, deadline = [], time.monotonic() + 60
    while not any(LAST in c for c in contents):  # its service still writes when a run has ended
        assert time.monotonic() < deadline
        contents = [records(path) for path in kept]
    for trial in directory.trials():
        (mine,) = (c for c in contents if f"trial {trial.label} seed 0".encode() in c)
        assert b"films" in mine
        assert b"validation/unmasked/precision_at_5" in mine
        assert str(trial.assignment["optimizer.learning_rate"]).encode() in mine
        assert not directory.log_of(trial.number).events("note")
    assert sum(LAST in c for c in contents) == 1
