"""`itrec reproduce blog`: two arms for one epoch, on a small generated data set.

The runs are trained in this process: that each has one of its own is shown in `test_reproduce`.
"""

import json

import pytest

import itrec_dist as library
from itrec_dist.config import load, shipped_files
from itrec_dist.data import manifest
from itrec_dist.data.sources.synthetic import SyntheticConfig, generate
from itrec_dist.errors import ConfigError
from itrec_dist.reports.published import rating_study
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.studies.rating_prediction import STUDY
from itrec_dist.studies.runner import StudyConfig, planned
from itrec_dist.tasks.ratings.data import DATA
from itrec_dist.training.config import RunConfig
from tests.integration.test_reproduce import trained_here, written_at

ARMS = ("dot-product", "bst")


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "ratings"
    generate(SyntheticConfig(users=60, movies=120, ratings_per_user=30.0), folder)
    return folder


@pytest.fixture(scope="module")
def study(ratings, tmp_path_factory, itrec):
    out = tmp_path_factory.mktemp("study") / "out"
    code, shown, err = reproduced(itrec, ratings, out)
    assert code == 0, err
    return out, shown


def reproduced(itrec, ratings, out, *more):
    with trained_here():
        return itrec(
            "reproduce", "blog", "--input", ratings, "--out", out, "--epochs", 1,
            "--arms", f"[{', '.join(ARMS)}]", "--jobs", 1, *more,
        )  # fmt: skip


@pytest.mark.slow
def test_all_arms_of_a_protocol_are_judged_on_the_same_ratings(study):
    out, shown = study
    assert "5 runs, 0 complete" in shown
    for protocol in STUDY.protocols:
        data = manifest.read(out / "shards" / protocol)
        judged = {}
        for arm in STUDY.arms:
            run = RunDirectory(out / "runs" / protocol / arm.name / "seed-0")
            if arm.name in ARMS and protocol in STUDY.protocols_of(arm):
                judged[arm.name] = run.read_json(run.evaluation)
            else:
                assert not run.path.exists()
        for name in DATA.baselines.default(data):
            run = RunDirectory(out / "runs" / protocol / "baselines" / name)
            judged[name] = run.read_json(run.evaluation)
        assert {j["fingerprint"] for j in judged.values()} == {data.fingerprint}
        for split in ("validation", "test"):
            counts = {j["splits"][split]["num_windows"] for j in judged.values()}
            assert counts == {data.num_windows(split)}


@pytest.mark.slow
def test_the_results_are_one_table_beside_the_printed_figures(study):
    out, _ = study
    results = (out / "results.md").read_text(encoding="utf-8")
    assert rating_study.REMARK in results
    first = results.split("\n\n## ")[0]
    assert "| Dot product |  | 0.877 epoch 30 |" in first
    assert "| BST baseline |  | 0.961 epoch 4 |" in first
    missing = "Not run because not installed: surprise_svd" in results
    assert missing == ("surprise_svd" in DATA.baselines.missing())
    assert "RMSE per epoch" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_is_complete_is_not_run_again(study, ratings, itrec):
    out, _ = study
    before = written_at(out)
    lost = out / "runs" / "last-80-10-10" / "bst" / "seed-0" / "evaluation.json"
    figures = json.loads(lost.read_text())
    lost.unlink()
    code, shown, err = reproduced(itrec, ratings, out)
    assert code == 0, err
    assert "5 runs, 4 complete" in shown
    after = written_at(out)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {str(lost.relative_to(out))}
    assert json.loads(lost.read_text()) == figures


@pytest.mark.slow
def test_the_library_goes_on_with_the_study_of_the_command(study, ratings):
    out, _ = study
    before = written_at(out)
    with trained_here():
        done = library.reproduce("blog", ratings, out=out, epochs=1, arms=ARMS, jobs=1)
    assert {name for name, at in written_at(out).items() if before[name] != at} == set()
    assert done.report == out / "report.html"
    assert "Dot product" in done.results
    assert {run.config.model.kind for run in done.runs} == {"dot_product", "bst"}
    assert len(done.runs) == 5
    with pytest.raises(ConfigError, match="study"):
        library.reproduce("no-study", ratings, out=out)


def test_every_arm_of_the_study_is_planned_from_a_recipe(tmp_path):
    shards = {name: tmp_path / name for name in STUDY.protocols}
    runs = list(planned(STUDY, tmp_path, shards, StudyConfig(seeds=2)))
    places = {run.out.relative_to(tmp_path / "runs").parts for run in runs}
    assert len(places) == len(runs) == 2 * sum(len(STUDY.protocols_of(a)) for a in STUDY.arms)
    systems = {rating_study.printed({"model": vars(run.model)}) for run in runs} - {None}
    assert len(systems) == 5, "the source has five systems"
    for run in runs:
        assert run.training.monitor in ("ratings/rmse", "loss")


def test_the_tuned_transformer_is_as_the_source_describes_it():
    overrides = ["shards=s", "out=o"]
    tuned = load(RunConfig, shipped_files.recipe("rating_bst_tuned"), overrides)
    model = tuned.model
    shape = (model.num_blocks, model.num_heads, model.hidden_widths, model.dropout)
    assert shape == (2, 8, (128,), 0.5)
    assert (tuned.optimizer.name, tuned.training.monitor) == ("adagrad", "loss")
    assert tuned.training.patience
    first = load(RunConfig, shipped_files.recipe("rating_model_1"), overrides).model
    assert (first.dropout, first.hidden_width) == (0.1, 100)
