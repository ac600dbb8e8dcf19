"""Reports over rating runs: what is printed follows from what the runs hold."""

import json
import re

import pytest
import yaml

from itrec_dist import reports
from itrec_dist.reports import markdown
from itrec_dist.reports.arms import sections
from itrec_dist.reports.published import rating_study
from itrec_dist.reports.runs import find, read
from itrec_dist.reports.sections import ratings as ratings_section
from itrec_dist.runs.directory import RunDirectory
from tests import reported_runs as made


def rated(path, rmse, *, model, seed=0, kind="train", name="", manifest=None):
    """A run directory of a rating model whose test RMSE is `rmse`; validation is 0.002 less."""
    path.mkdir(parents=True)
    run = RunDirectory(path)
    settings = {"seed": seed, "loss": "mse", "model": model, "training": {"epochs": 2}}
    run.config.write_text(yaml.safe_dump(settings))
    steps = [{"name": "read", "ratings": 1_000_209, "users": 6040, "items": 3706}]
    data = manifest or made.manifest(protocol="random_ratings", steps=steps, audit={})
    run.write_json(run.manifest, data)
    label = name or f"model {model['kind']}"
    run.append("start", kind=kind, name=label, epochs=2, workers=1, batch_size=8,
               num_parameters=9, steps_per_epoch=3)  # fmt: skip
    if kind == "train":
        for epoch, more in ((1, 0.05), (2, 0.0)):
            run.append("epoch", epoch=epoch, step=epoch, seconds=1.0, windows_per_second=5.0,
                       loss=0.8, is_best=True, train=judged(rmse - 0.1 + more),
                       validation=judged(rmse - 0.002 + more))  # fmt: skip
    run.append("end", reason="finished", best_epoch=2 if kind == "train" else None, seconds=30.0)
    splits = {"validation": judged(rmse - 0.002), "test": judged(rmse)}
    content = {"kind": kind, "name": label, "checkpoint": "best", "seed": seed,
               "epoch": 2 if kind == "train" else None, "fingerprint": data["fingerprint"],
               "splits": splits}  # fmt: skip
    run.evaluation.write_text(json.dumps(content))
    return path


def judged(rmse):
    return {"loss": rmse**2, "num_windows": 100, "ratings": {"rmse": rmse, "mae": rmse * 0.8}}


DOT = {"kind": "dot_product", "scaled": False}
MF = {"kind": "biased_mf"}


@pytest.fixture
def runs(tmp_path):
    rated(tmp_path / "dot-0", 0.870, model=DOT, seed=0)
    rated(tmp_path / "dot-1", 0.874, model=DOT, seed=1)
    rated(tmp_path / "scaled", 0.862, model=DOT | {"scaled": True}, name="Model 2")
    rated(tmp_path / "mf", 0.846, model=MF, name="Biased MF")
    rated(tmp_path / "mean", 1.117, model=MF, kind="baseline", name="global_mean")
    return tmp_path


@pytest.fixture
def section(runs):
    (found,) = sections([read(path) for path in find([runs])])
    return found


def test_less_is_better(section):
    assert section.task == "ratings"
    labels = [arm.label for arm in section.ranked]
    assert labels == ["Biased MF", "Model 2", "model dot_product", "global_mean"]
    table = ratings_section.results(section)
    test = next(i for i, c in enumerate(table.columns) if (c.group, c.title) == ("Test", "RMSE"))
    assert [row.cells[test].is_best for row in table.rows] == [True, False, False, False]
    dot = next(row for row in table.rows if row.label == "model dot_product")
    assert (dot.cells[test].text, dot.cells[test].spread) == ("0.8720", "± 0.0028")


def test_the_findings_are_in_order_and_honest(section):
    said = ratings_section.sentences(section)
    assert said[0] == "On test, the lowest RMSE is that of Biased MF: 0.8460 (one run)."
    assert said[1] == (
        "Worse than Biased MF: 0.8460 (one run): Model 2 (0.8620) and model dot_product (0.8720)."
    )
    assert said[2] == (
        "At or below the source's printed RMSE: model dot_product (0.8720, printed 0.877)."
    )
    assert said[3] == "Above the source's printed RMSE: Model 2 (0.8620, printed 0.858)."
    assert rating_study.REMARK in said
    assert "Biased MF has 0.8440 on validation, where its epoch was selected." in said


def test_printed_figures_stand_beside_the_sources_systems_on_its_data_alone(tmp_path):
    cases = [
        (DOT, 0.877, 30), ({"kind": "neural_mf"}, 0.873, 27), (DOT | {"scaled": True}, 0.858, 20),
        ({"kind": "bst", "num_blocks": 1, "num_heads": 2, "dropout": 0.1}, 0.961, 4),
        ({"kind": "bst", "num_blocks": 2, "num_heads": 8, "dropout": 0.5}, 0.920, 26),
    ]  # fmt: skip
    for model, rmse, epoch in cases:
        found = rating_study.printed({"model": model})
        assert found is not None
        assert (found.rmse, found.epoch) == (rmse, epoch)
    for model in (MF, {"kind": "bst", "num_blocks": 2, "num_heads": 4, "dropout": 0.5}, "ite"):
        assert rating_study.printed({"model": model}) is None
    data = made.manifest(protocol="random_ratings", steps=[{"name": "read", "ratings": 99}])
    rated(tmp_path / "other", 0.8, model=DOT, manifest=data)
    (section,) = sections([read(tmp_path / "other")])
    assert "Printed by the source" not in {
        c.group for c in ratings_section.results(section).columns
    }


def test_the_time_of_all_five_systems_is_told_where_all_were_trained(tmp_path):
    kinds = {
        "dot": DOT, "scaled": DOT | {"scaled": True}, "neural": {"kind": "neural_mf"},
        "bst": {"kind": "bst", "num_blocks": 1, "num_heads": 2, "dropout": 0.1},
    }  # fmt: skip
    for name, model in kinds.items():
        rated(tmp_path / name, 0.85, model=model, name=name)
    rated(tmp_path / "dot-1", 0.85, model=DOT, name="dot", seed=1)

    def told():
        (section,) = sections([read(path) for path in find([tmp_path])])
        return " ".join(ratings_section.sentences(section))

    assert "one after another" not in told()
    tuned = {"kind": "bst", "num_blocks": 2, "num_heads": 8, "dropout": 0.5}
    rated(tmp_path / "tuned", 0.85, model=tuned, name="tuned")
    assert "One run of each of the source's 5 systems" in told()
    assert "takes 2 min in all, one after another" in told()  # 5 times 30 s, a second seed aside


def test_the_page_and_the_markdown_hold_the_table(runs):
    page = reports.write([runs]).read_text(encoding="utf-8")
    assert "0.8720" in page
    assert rating_study.REMARK in page.replace("&#39;", "'")
    assert "Accuracy 1" not in page
    assert len(re.findall(r"<svg", page)) >= 5  # dots, all curves together, one per trained arm
    text = markdown.markdown([runs])
    assert "| Biased MF | seed 0 | — | **0.8460** |" in text
    assert "0.877 epoch 30" in text


def test_errors_are_drawn_on_an_axis_of_their_own_without_bars(section):
    (figure,) = ratings_section.dots(section)
    ticks = [float(text) for text in re.findall(r'class="tick"[^>]*>([0-9.]+)<', figure.svg)]
    assert min(ticks) > 0.8, "differences of 0.01 are to be seen"
    at = {
        name: float(x)
        for x, name in re.findall(r'<circle cx="([0-9.]+)".*?<title>([0-9.]+)', figure.svg)
    }
    assert at["0.8460"] < at["0.8620"] < at["0.8740"]
    assert "global_mean" not in figure.svg, "it would press all others together"
    assert 'stroke-width="7"' not in figure.svg, "a bar's length would say nothing"
    (curves,) = ratings_section.of_arms(section)
    assert [f.title for f in curves.charts] == ["Biased MF", "Model 2", "model dot_product"]


def test_ratings_and_next_items_stand_apart_on_one_page(runs):
    made.trained(runs / "ite", epochs=2, manifest=made.manifest(fingerprint="ab" * 32))
    page = reports.write([runs]).read_text(encoding="utf-8")
    assert "Accuracy 1" in page
    assert "RMSE and MAE" in page
