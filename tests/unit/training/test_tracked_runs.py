"""Runs that are logged to experiment trackers: what these hear, and that no run depends on them.

The tests of a service need its client (the extras `mlflow` and `wandb`).
"""

import builtins
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import itrec_dist
from itrec_dist import config
from itrec_dist.data.shards import reader
from itrec_dist.errors import ShardsError
from itrec_dist.runs import trackers
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from itrec_dist.training import tracking
from itrec_dist.training.config import RunConfig
from tests import object_store
from tests.fixtures import DEBUG_RECIPE


def train(itrec, shards, out, *more):
    return itrec(
        "train", "--local", "--config", DEBUG_RECIPE, "--shards", shards, "--out", out,
        "--training.epochs", 2, *more,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_client_that_is_not_installed_is_refused_before_anything_is_written(
    name, shards, tmp_path, monkeypatch, itrec
):
    plain = builtins.__import__

    def without(module, *rest, **more):
        if module == name:
            raise ImportError(module)
        return plain(module, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    code, _, err = train(itrec, shards, tmp_path / "run", f"--trackers.{name}", "somewhere")
    assert (code, err.count("\n")) == (2, 1)
    assert f"pip install 'itrec-dist[{name}]', or leave trackers.{name} out" in err
    assert not list(tmp_path.iterdir())


class Heard:
    """A service that takes everything down, and fails from an epoch on."""

    __name__ = "services.heard"

    def __init__(self, fails_from=None):
        self.fails_from, self.told, self.known = fails_from, [], []
        self.id = "number 7"

    def check_installed(self):
        self.told.append("installed?")

    def prepare(self, place, group, files):
        self.told.append(("prepare", place, group, files.name))

    def begin(self, place, tracked, known):
        self.known.append(known)
        self.told.append(("begin", tracked.group, tracked.name, dict(tracked.settings)))
        return self

    def log(self, figures, epoch):
        if self.fails_from is not None and epoch >= self.fails_from:
            raise ConnectionError("the server is gone")
        self.told.append((epoch, figures))

    def keep(self, run):
        self.told.append(("keep", sorted(p.name for p in (run.checkpoints / "best").iterdir())))

    def end(self, *, is_complete):
        self.told.append(("end", is_complete))


def test_a_tracker_hears_settings_epochs_test_figures_and_gets_the_checkpoint(
    shards, tmp_path, monkeypatch, itrec
):
    service = Heard()
    monkeypatch.setattr(
        trackers, "_asked_for", lambda config: [(service, config.mlflow)] if config.mlflow else []
    )
    out = tmp_path / "films" / "first"
    code, _, err = train(itrec, shards, out, "--trackers.mlflow", "http://there")
    assert code == 0, err
    installed, prepared, begun, *epochs, judged, kept, ended = service.told
    assert (installed, prepared) == ("installed?", ("prepare", "http://there", "films", "films"))
    assert begun[:3] == ("begin", "films", "first")
    assert begun[3]["model.kind"] == "ite"
    assert begun[3]["training.epochs"] == 2
    run = RunDirectory(out)
    logged = {e["epoch"]: e["validation"]["masked"]["ndcg@10"] for e in run.events("epoch")}
    assert {e: f["validation/masked/ndcg_at_10"] for e, f in epochs} == logged
    content = json.loads(run.evaluation.read_text())
    test = content["splits"]["test"]["unmasked"]["precision@5"]
    assert judged[0] == content["epoch"]
    assert judged[1]["best/test/unmasked/precision_at_5"] == test
    assert kept[0] == "keep"
    assert "model.safetensors" in kept[1]
    assert ended == ("end", True)
    assert not [n for n in run.events("note") if "tracker" in n["message"]]
    assert json.loads(run.trackers.read_text()) == {"heard": "number 7"}
    # A run that was interrupted goes on as the same run of the service.
    run.evaluation.unlink()
    code, _, err = itrec(
        "train", "--local", "--config", run.config, "--resume", "--training.epochs", 2
    )
    assert code == 0, err
    assert service.known == [None, "number 7"]


def test_a_tracker_of_a_run_at_a_uri_hears_its_end_and_gets_the_checkpoint(
    shards, tmp_path, monkeypatch, itrec
):
    """The folder of this machine, which is removed at the end, is there until then."""
    service = Heard()
    monkeypatch.setattr(
        trackers, "_asked_for", lambda config: [(service, config.mlflow)] if config.mlflow else []
    )
    place = Uri(f"file://{tmp_path}/store/films/first")
    code, _, err = train(itrec, shards, place, "--trackers.mlflow", "http://there")
    assert code == 0, err
    *_, judged, kept, ended = service.told
    content = json.loads(Store(place).read("evaluation.json"))
    test = content["splits"]["test"]["unmasked"]["precision@5"]
    assert judged[1]["best/test/unmasked/precision_at_5"] == test
    assert "model.safetensors" in kept[1]
    assert ended == ("end", True)
    assert json.loads(Store(place).read("trackers.json")) == {"heard": "number 7"}


def test_a_tracker_that_fails_costs_a_warning_and_nothing_else(
    shards, tmp_path, monkeypatch, itrec
):
    service = Heard(fails_from=2)
    monkeypatch.setattr(
        trackers, "_asked_for", lambda config: [(service, config.mlflow)] if config.mlflow else []
    )
    code, out, err = train(itrec, shards, tmp_path / "run", "--trackers.mlflow", "http://there")
    assert code == 0, err
    assert [told[0] for told in service.told[3:]] == [1]
    warning = "a tracker failed, the run continues without it: the server is gone"
    run = RunDirectory(tmp_path / "run")
    assert [n["message"] for n in run.events("note")].count(warning) == 1
    assert run.is_complete
    assert warning in out + err


def test_only_worker_0_tells(tmp_path):
    run = config.load(RunConfig, DEBUG_RECIPE, ["shards=s", f"out={tmp_path / 'run'}"])
    run = replace(run, trackers=trackers.TrackersConfig(mlflow="nonsense://there"))
    with tracking.followed(run, None, is_first=False) as watch:
        assert watch is None


@pytest.mark.slow
def test_mlflow_holds_a_run_with_its_checkpoint(shards, tmp_path, itrec):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    place = f"sqlite:///{tmp_path}/mlflow.db"
    out = tmp_path / "films" / "first"
    code, _, err = train(itrec, shards, out, "--trackers.mlflow", place)
    assert code == 0, err
    client = mlflow.MlflowClient(place)
    experiment = client.get_experiment_by_name("films")
    (told,) = client.search_runs([experiment.experiment_id])
    assert (told.info.run_name, told.info.status) == ("first", "FINISHED")
    settings = yaml.safe_load((out / "config.yaml").read_text())
    assert told.data.params["model.width"] == str(settings["model"]["width"])
    history = client.get_metric_history(told.info.run_id, "validation/masked/ndcg_at_10")
    assert [metric.step for metric in history][:2] == [1, 2]
    judged = json.loads((out / "evaluation.json").read_text())["splits"]["test"]
    found = told.data.metrics["best/test/masked/hit_rate_at_5"]
    assert found == judged["masked"]["hit_rate@5"]
    kept = out.parent / "mlruns" / told.info.run_id / "artifacts" / "model" / "data" / "run"
    best = Path("checkpoints", "best", "model.safetensors")
    assert (kept / best).read_bytes() == (out / best).read_bytes()


@pytest.mark.slow
def test_mlflow_holds_a_model_that_it_loads_and_that_recommends(
    shards, tmp_path, itrec, monkeypatch
):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    place, own = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "shards"
    shutil.copytree(shards, own)
    out = tmp_path / "films" / "first"
    code, _, err = train(itrec, own, out, "--trackers.mlflow", place)
    assert code == 0, err
    identity = RunDirectory(out).read_json(out / "trackers.json")["mlflow"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    model = mlflow.pyfunc.load_model(f"runs:/{identity}/model")
    run = itrec_dist.load(out)
    items = [int(item) for item in run.restored.items.source_ids[:6]]
    users = [int(user) for user in reader.read_users(own, run.restored.manifest).source_ids[:2]]
    histories = pd.DataFrame(
        {"user": np.repeat(users, 3), "item": items, "rating": 4, "timestamp": range(6)}
    )
    expected = run.recommend(histories, k=7)
    pd.testing.assert_frame_equal(model.predict(histories, params={"k": 7}), expected)
    # The features of users are looked up in the shards, which may be elsewhere by now.
    elsewhere = own.rename(tmp_path / "elsewhere")
    with pytest.raises(ShardsError, match="shards"):
        model.predict(histories)
    given = {"k": 7, "shards": str(elsewhere)}
    pd.testing.assert_frame_equal(model.predict(histories, params=given), expected)
    # It can be registered, and loaded by that name.
    mlflow.register_model(f"runs:/{identity}/model", "films")
    registered = mlflow.pyfunc.load_model("models:/films/1")
    pd.testing.assert_frame_equal(registered.predict(histories, params=given), expected)
    # What is downloaded is a run for every verb.
    kept = Path(mlflow.artifacts.download_artifacts(f"runs:/{identity}/model"), "data", "run")
    code, _, err = itrec("export", kept, "--out", tmp_path / "exported")
    assert code == 0, err


@pytest.mark.slow
def test_mlflow_holds_the_model_of_a_run_at_a_uri(shards, tmp_path, itrec, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    machine = object_store.machine(monkeypatch, tmp_path / "machine")
    place, out = f"sqlite:///{tmp_path}/mlflow.db", Uri(f"file://{tmp_path}/store/films/first")
    code, _, err = train(itrec, shards, out, "--trackers.mlflow", place)
    assert code == 0, err
    identity = json.loads(Store(out).read("trackers.json"))["mlflow"]
    (told,) = mlflow.MlflowClient(place).search_runs(["1"])
    assert (told.info.run_id, told.info.status) == (identity, "FINISHED")
    assert "best/test/masked/hit_rate_at_5" in told.data.metrics
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    model = mlflow.pyfunc.load_model(f"runs:/{identity}/model")
    assert (tmp_path / "mlruns" / identity / "artifacts" / "model" / "MLmodel").is_file()
    run = itrec_dist.load(str(out))
    items = [int(item) for item in run.restored.items.source_ids[:3]]
    histories = pd.DataFrame({"user": 1, "item": items, "rating": 4, "timestamp": range(3)})
    pd.testing.assert_frame_equal(model.predict(histories), run.recommend(histories, k=5))
    assert not [path for path in (machine / "runs").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_weights_and_biases_holds_a_run_offline(shards, tmp_path, itrec, monkeypatch):
    pytest.importorskip("wandb", reason="needs the extra wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    out = tmp_path / "films" / "first"
    code, _, err = train(itrec, shards, out, "--trackers.wandb", "project x")
    assert code == 0, err
    (kept,) = (out.parent / "wandb").glob("offline-run-*/run-*.wandb")
    content = kept.read_bytes()
    for told in ("first", "films", "project x", "validation/masked/ndcg_at_10", "best/test/"):
        assert told.encode() in content
    notes = [n["message"] for n in RunDirectory(out).events("note")]
    assert not [message for message in notes if "tracker" in message]
