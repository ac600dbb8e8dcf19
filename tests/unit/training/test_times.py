"""Times reach the models that ask for them, and shards written before there were any serve on."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist.data import manifest as manifests
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.evaluation import per_window
from itrec_dist.models.ite import ITEConfig
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.tasks.next_items.task import NextItems
from tests.fixtures import DEBUG_RECIPE


@pytest.fixture(scope="module")
def old_shards(shards, tmp_path_factory):
    """The session's shards as a version without times wrote them, with its fingerprint."""
    folder = tmp_path_factory.mktemp("old") / "shards"
    shutil.copytree(shards, folder)
    place = folder / "manifest.json"
    content = json.loads(place.read_text())
    del content["has_times"]
    content["fingerprint"] = "0" * 64
    files = [file for split in content["splits"].values() for file in split]
    for name in (*(file["name"] for file in files), "histories.parquet"):
        table = pq.read_table(folder / name)
        pq.write_table(table.drop_columns(["times"]), folder / name)
    for file in files:
        file["bytes"] = (folder / file["name"]).stat().st_size
    place.write_text(json.dumps(content))
    return folder


def train(itrec, shards, out, *more):
    code, _, err = itrec(
        "train", "--local", "--config", DEBUG_RECIPE, "--shards", shards, "--out", out,
        "--training.epochs", 1, "--evaluation.judge_test", "true", *more,
    )  # fmt: skip
    assert code == 0, err
    return RunDirectory(out)


@pytest.fixture
def seen(monkeypatch):
    """Every batch that the task was given, whose model asks for times."""
    batches = []

    def spied(method):
        def call(task, batch, *rest):
            batches.append(batch)
            return method(task, batch, *rest)

        return call

    for name in ("forward", "catalogue_scores"):
        monkeypatch.setattr(NextItems, name, spied(getattr(NextItems, name)))
    monkeypatch.setattr(ITEConfig, "uses_times", True)
    return batches


def assert_times(batches, shards):
    """Every real window has the times of the shards; returns the ids that were seen."""
    made = manifests.read(shards)
    splits = [read_split(shards, made, split, times=True) for split in made.splits]
    times = np.concatenate([s.times for s in splits])
    firsts = np.concatenate([s.target_time for s in splits])
    order = np.argsort(np.concatenate([s.window_ids for s in splits]))
    for batch in batches:
        rows = torch.from_numpy(order)[batch.window_ids_B]
        assert torch.equal(batch.times_BL, torch.from_numpy(times)[rows])
        assert torch.equal(batch.target_time_B, torch.from_numpy(firsts)[rows])
    return {int(i) for batch in batches for i in batch.window_ids_B}


@pytest.mark.parametrize("cache", ["host", "none"])
def test_a_model_that_asks_for_times_gets_those_of_every_window(
    seen, cache, shards, tmp_path, itrec
):
    run = train(itrec, shards, tmp_path / "run", "--feed.cache", cache)
    made = manifests.read(shards)
    everything = sum(made.num_windows(split) for split in made.splits)
    assert assert_times(seen, shards) == set(range(everything))
    seen.clear()
    assert itrec("evaluate", run.path)[0] == 0
    assert assert_times(seen, shards)
    seen.clear()
    per_window.write(run.path)
    assert len(assert_times(seen, shards)) == made.num_windows("test")


def test_recommendations_know_when_the_latest_events_were(seen, shards, tmp_path, itrec):
    run = train(itrec, shards, tmp_path / "run")
    seen.clear()
    assert itrec("recommend", run.path, "--out", tmp_path / "top.parquet")[0] == 0
    histories = reader.read_histories(shards, manifests.read(shards))
    found = torch.cat([batch.times_BL for batch in seen])
    assert torch.equal(found, torch.from_numpy(histories.times.copy()))
    is_item = histories.item_ids > 0
    assert (histories.times[is_item] > 0).all()
    assert (histories.times[~is_item] == 0).all()
    assert (np.diff(histories.times, axis=1)[is_item[:, :-1]] >= 0).all()


def test_other_models_are_not_given_times(seen, monkeypatch, shards, tmp_path, itrec):
    monkeypatch.setattr(ITEConfig, "uses_times", False)
    train(itrec, shards, tmp_path / "run")
    assert seen
    assert all(batch.times_BL is None and batch.target_time_B is None for batch in seen)


def test_old_shards_train_and_are_judged_as_before(shards, old_shards, tmp_path, itrec):
    new, old = (train(itrec, s, tmp_path / s.parent.name) for s in (shards, old_shards))
    first, second = (run.read_json(run.evaluation) for run in (new, old))
    assert first["splits"] == second["splits"]
    assert first["fingerprint"] != second["fingerprint"]
    tables = []
    for number, (run, place) in enumerate([(new, shards), (new, old_shards), (old, shards)]):
        out = tmp_path / f"top{number}.parquet"
        code, _, err = itrec("recommend", run.path, "--shards", place, "--out", out)
        assert code == 0, err
        tables.append(pq.read_table(out))
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    judged = tmp_path / "judged.json"
    assert itrec("evaluate", new.path, "--shards", old_shards, "--out", judged)[0] == 0
    assert json.loads(judged.read_text())["splits"] == first["splits"]


def test_a_model_that_asks_for_times_gets_zeros_from_old_shards(seen, old_shards, tmp_path, itrec):
    train(itrec, old_shards, tmp_path / "run")
    assert seen
    assert not any(batch.times_BL.any() for batch in seen)
    assert all((batch.target_time_B > 0).all() for batch in seen)
