"""Shards, runs, recipes and a sweep that version 0.1.0 wrote are read as they are.

`tests/assets/v0.tar.xz` holds what it wrote under /data/v0, before the package was divided into
folders: generated ratings of 60 users windowed for both tasks (`shards`, `rated`), a finished run
of each, a run that was stopped at step 6 of 12, a baseline, a sweep without its checkpoints, the
recipes, and in `answers` what `evaluate` and `recommend` said.
"""

import itertools
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from itrec_dist.runs.directory import RunDirectory

ARCHIVE = Path(__file__).parent / "assets" / "v0.tar.xz"
RUNS = {"ite": "shards", "dot_product": "rated"}
EPOCH = ("epoch", "step", "loss", "train", "validation", "is_best")


ADDED = {"targets", "slices"}
"""What judgements hold besides since then."""


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """What was written, in another place than it was written to. Not to be changed."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        # Python before 3.11.4 has no filters.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder, **safely)
    return folder / "v0"


def epochs(run: Path) -> dict[int, dict]:
    """What the log tells about each epoch, as it was trained last."""
    return {
        event["epoch"]: {name: event[name] for name in EPOCH}
        for event in RunDirectory(run).events("epoch")
    }


def splits(path: Path) -> dict:
    """The figures of a judgement."""
    return json.loads(path.read_text())["splits"]


def assert_same_epochs(run: Path, old: Path) -> None:
    found, wanted = epochs(run), epochs(old)
    assert found.keys() == wanted.keys()
    for number, epoch in wanted.items():
        assert_same(found[number], epoch)


def assert_same(found, wanted) -> None:
    """The same figures, but for rounding where another processor adds in another order."""
    if isinstance(wanted, dict):
        assert found.keys() - ADDED == wanted.keys()
        for name, value in wanted.items():
            assert_same(found[name], value)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-7)
    else:
        assert found == wanted


@pytest.mark.parametrize("run", RUNS)
def test_a_checkpoint_has_the_figures_that_it_had(old, run, tmp_path, itrec):
    out = tmp_path / "judged.json"
    code, _, err = itrec("evaluate", old / "runs" / run, "--shards", old / RUNS[run], "--out", out)
    assert code == 0, err
    assert_same(splits(out), splits(old / "answers" / f"{run}.json"))


def test_a_checkpoint_recommends_what_it_recommended(old, tmp_path, itrec):
    out = tmp_path / "items.parquet"
    code, _, err = itrec(
        "recommend", old / "runs" / "ite", "--shards", old / "shards", "--out", out, "-k", 3
    )
    assert code == 0, err
    found, wanted = pq.read_table(out), pq.read_table(old / "answers" / "recommended.parquet")
    assert found.schema == wanted.schema
    for name in ("user", "rank", "item", "title"):
        assert found[name].to_pylist() == wanted[name].to_pylist()
    assert found["score"].to_pylist() == pytest.approx(wanted["score"].to_pylist(), rel=1e-5)


@pytest.mark.parametrize("run", RUNS)
def test_an_old_recipe_trains_on_old_shards_to_the_same_figures(old, run, tmp_path, itrec):
    code, _, err = itrec(
        "train", "--local", "--config", old / "recipes" / f"{run}.yaml", "--shards",
        old / RUNS[run], "--out", tmp_path / "run", "--engine.precision", "fp32",
    )  # fmt: skip
    assert code == 0, err
    assert_same_epochs(tmp_path / "run", old / "runs" / run)
    assert_same(splits(tmp_path / "run" / "evaluation.json"),
                splits(old / "runs" / run / "evaluation.json"))  # fmt: skip


def test_a_stopped_run_goes_on_to_the_figures_of_the_one_that_was_not_stopped(old, tmp_path, itrec):
    run = tmp_path / "stopped"
    shutil.copytree(old / "runs" / "stopped", run)
    assert not (run / "evaluation.json").exists()
    code, _, err = itrec(
        "train", "--local", "--config", run / "config.yaml", "--shards", old / "shards",
        "--out", run, "--resume",
    )  # fmt: skip
    assert code == 0, err
    assert_same_epochs(run, old / "runs" / "ite")
    assert_same(splits(run / "evaluation.json"), splits(old / "runs/ite/evaluation.json"))


def test_a_baseline_is_fitted_on_old_shards_to_the_same_ranking(old, tmp_path, itrec):
    """Items of one count may have changed places: equal scores are in a drawn order since then."""
    code, _, err = itrec(
        "baselines", "--shards", old / "shards", "--out", tmp_path / "b", "--only", "popularity"
    )
    assert code == 0, err
    place = Path("popularity", "evaluation.json")
    found, wanted = splits(tmp_path / "b" / place), splits(old / "runs" / "baselines" / place)
    assert found.keys() == wanted.keys()
    for split, group, k in itertools.product(wanted, ("unmasked", "masked"), (5, 10, 20)):
        assert found[split]["num_windows"] == wanted[split]["num_windows"]
        name = f"popularity@{k}"  # the mean count of the first k items: that of ties is one
        assert found[split][group][name] == pytest.approx(wanted[split][group][name])


def test_old_runs_are_reported(old, tmp_path, itrec):
    code, _, err = itrec("report", old / "runs", "--out", tmp_path / "report.html")
    assert code == 0, err
    page = (tmp_path / "report.html").read_text()
    for words in ("ITE bce both", "Dot product", "Popularity", "random_ratings"):
        assert words.lower() in page.lower()


def test_an_old_sweep_is_reported_and_its_recipe_searches_the_same(
    old, tmp_path, itrec, monkeypatch
):
    code, _, err = itrec("report", old / "sweep", "--out", tmp_path / "report.html")
    assert code == 0, err
    page = (tmp_path / "report.html").read_text()
    assert "optimizer.learning_rate" in page
    monkeypatch.chdir(old)
    code, out, err = itrec(
        "sweep", "--config", "recipes/sweep.yaml", "--shards", "shards", "--out",
        tmp_path / "sweep", "--dry_run",
    )  # fmt: skip
    assert code == 0, err
    assert "trials: 2, each of 1 seed" in out
    assert "would be refused: 0 of 2" in out
    assert not (tmp_path / "sweep").exists()
