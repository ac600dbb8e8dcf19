"""Workers on Ray whose run directory and shards stand at URIs."""

import json
import math

import pytest

from itrec_dist.data import manifest
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.remote import Mirror
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from tests import object_store
from tests.fixtures import DEBUG_RECIPE

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.mark.slow
def test_two_workers_stream_from_a_uri_to_a_uri(shards, trained, tmp_path, monkeypatch, itrec):
    here = object_store.machine(monkeypatch, tmp_path / "driver")
    given, out = Uri(f"file://{shards}"), Uri(f"file://{tmp_path}/store/run")
    code, shown, err = itrec(
        "train", "--config", DEBUG_RECIPE, "--shards", given, "--out", out,
        "--training.epochs", 2, "--cluster.num_workers", 2, "--feed.cache", "none",
        "--feed.shuffle_buffer", 100,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "epoch   2/2" in shown, "the log at the URI is followed"
    assert shown.endswith(f"run: {out}\n")
    files = set(Store(out).files())
    assert not [name for name in files if name.startswith(("ray/", "lease"))]
    assert not [path for path in here.rglob("*") if path.is_file() and "runs" in path.parts]
    mirror = Mirror(out, tmp_path / "fetched")
    mirror.fetch()
    run = RunDirectory(mirror.folder)
    assert run.is_complete
    assert [event["epoch"] for event in run.events("epoch")] == [1, 2]
    assert str(given) in run.config.read_text()
    losses = [event["loss"] for event in run.events("epoch")]
    assert math.isfinite(losses[0])
    assert losses[1] < losses[0]
    judged = json.loads(run.evaluation.read_text())
    for split, found in judged["splits"].items():
        assert found["num_windows"] == manifest.read(shards).num_windows(split)
    assert judged["splits"].keys() == json.loads(
        (trained / "evaluation.json").read_text()
    )["splits"].keys()  # fmt: skip
