"""The sweep's report: figures that the run directories hold, the answer that follows from them."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from itrec_dist import reports
from itrec_dist.errors import CheckpointError, OutputError
from itrec_dist.metrics.metric import FigureName
from itrec_dist.reports.sweep import (
    answer,
    schedule,
)
from itrec_dist.reports.sweep import (
    charts as sweep_charts,
)
from itrec_dist.reports.sweep import (
    runs as sweep_runs,
)
from itrec_dist.reports.sweep import (
    tables as sweep_tables,
)
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.sweeps.directory import Outcome, Trial
from tests.swept import FIXED, run_here, sweep_of

PRECISION = FigureName("unmasked", "precision", 5)
SIX = {
    "loss": {"grid": ["ce", "bce"]},
    "model.side_information": {"grid": ["none", "both"]},
    "optimizer.learning_rate": {"loguniform": [0.003, 0.03]},
    "model.num_heads": {"choice": [2, 3], "when": {"model.side_information": "both"}},
}


@pytest.fixture(scope="module")
def swept(shards, tmp_path_factory):
    """Six trials, some of them refused, and two finalists. Not to be changed."""
    out = tmp_path_factory.mktemp("reported") / "sweep"
    fixed = {**FIXED, "training.epochs": 2}
    directory, _ = run_here(sweep_of(shards, out, space=SIX, trials=6, fixed=fixed))
    return directory


@pytest.fixture(scope="module")
def found(swept):
    return sweep_runs.read(swept.path)


@pytest.mark.slow
def test_window_figures_average_to_the_runs_own_judgement(swept, found):
    for finalist in found.finalists:
        for run, figures in zip(finalist.runs, finalist.windows, strict=True):
            judged = run.read_json(run.evaluation)["splits"]["test"]
            assert len(figures) == judged["num_windows"]
            for masking in ("unmasked", "masked"):
                for key in ("precision@5", "hit_rate@5", "ndcg@10"):
                    mean = figures.values(FigureName.within(masking, key)).mean()
                    assert mean == pytest.approx(judged[masking][key], abs=1e-12)


def test_window_figures_are_kept_in_one_order(found):
    first, second = (f.windows[0] for f in found.finalists)
    assert np.array_equal(first.window_ids, second.window_ids)
    assert np.array_equal(first.user_ids, second.user_ids)
    assert np.array_equal(first.user_features, second.user_features)
    assert len(set(first.user_ids.tolist())) > 10


def test_the_recommended_one_is_chosen_on_validation_alone(swept, tmp_path):
    copy = tmp_path / "sweep"
    shutil.copytree(swept.path, copy)
    before = [f.trial.number for f in sweep_runs.read(copy).finalists]
    for place in (copy / "finals" / f"{before[1]:04d}").glob("seed-*/evaluation.json"):
        content = json.loads(place.read_text())
        content["splits"]["test"]["unmasked"]["precision@5"] = 0.99
        place.write_text(json.dumps(content))
    assert [f.trial.number for f in sweep_runs.read(copy).finalists] == before
    for place in (copy / "finals" / f"{before[1]:04d}").glob("seed-*/evaluation.json"):
        content = json.loads(place.read_text())
        content["splits"]["validation"]["unmasked"]["precision@5"] = 0.99
        place.write_text(json.dumps(content))
    assert [f.trial.number for f in sweep_runs.read(copy).finalists] == before[::-1]


def test_the_answer_comes_first_with_the_mean_on_test(found):
    told = answer.sentences(found)
    best = found.finalists[0]
    values = best.values("test", PRECISION)
    assert len(values) == 2
    assert told[0].startswith(f"Recommended: trial {best.trial.label} (loss=")
    assert f"{np.mean(values):.4f}" in told[0]
    assert "over 2 fresh seeds" in told[0]
    assert f"the runner-up, trial {found.finalists[1].trial.label}" in told[1]
    assert ("is distinguishable" in told[1]) == found.verdict.is_distinguishable
    assert f"{found.verdict.difference:+.4f}" in told[1]
    means = [np.mean(f.values("test", PRECISION)) for f in found.finalists[:2]]
    assert found.verdict.difference == pytest.approx(means[0] - means[1])
    refused = len(found.having("refused"))
    assert refused
    assert f"{refused} refused" in " ".join(told)


def test_without_finals_the_answer_says_that_its_figure_flatters(swept, tmp_path):
    copy = tmp_path / "sweep"
    shutil.copytree(swept.path, copy)
    shutil.rmtree(copy / "finals")
    told = answer.sentences(sweep_runs.read(copy))
    assert told[0].startswith("Best so far: trial")
    assert "flatters" in told[0]


def test_the_ablation_counts_each_trial_in_its_cell(found):
    table = sweep_tables.ablation(found)
    assert [row.label for row in table.rows] == ["ce", "bce"]
    assert [c.title for c in table.columns] == ["none", "both"] * 2
    for row in table.rows:
        for at, side in enumerate(("none", "both")):
            values = [
                t.outcome.value for t in found.ranked
                if (t.assignment["loss"], t.assignment["model.side_information"])
                == (row.label, side)
            ]  # fmt: skip
            assert row.cells[at].value == (pytest.approx(np.mean(values)) if values else None)
            assert row.cells[at + 2].value == (max(values) if values else None)


def test_effects_set_cells_against_each_other_that_differ_in_one_thing(found):
    """Planted: bce is better by 0.1 and 0.3, both sides alike within ce; one cell is empty."""
    planted = {("ce", "none"): [0.2, 0.1], ("ce", "user"): [0.2], ("bce", "none"): [0.3, 0.1],
               ("bce", "user"): [0.1, 0.5], ("bce", "both"): [0.9]}  # fmt: skip
    trials = [
        Trial(n, {"loss": loss, "model.side_information": side}, Outcome("complete", value))
        for n, (loss, side, value) in enumerate(
            (loss, side, v) for (loss, side), values in planted.items() for v in values
        )
    ]
    sweep = replace(found, trials=tuple(trials))
    rows = {row.label: row for row in sweep_tables.effects(sweep).rows}
    assert list(rows)[:2] == ["loss ce", "loss bce"]
    assert rows["loss ce"].tag == "2 cells"
    assert rows["loss bce"].cells[0].value == pytest.approx(0.4)
    assert rows["loss bce"].cells[1].value is None
    lost = rows["loss ce"].cells[1]
    assert lost.value == pytest.approx(-0.2)
    # Two pairs, -0.1 and -0.3: the error of their mean is 0.1, Student's quantile 12.7062.
    assert lost.spread == "± 1.2706"
    sides = [row for label, row in rows.items() if label.startswith("side")]
    assert [row.tag for row in sides] == ["1 cell"] * 3
    assert sides[-1].cells[1].value is None
    assert sides[0].cells[1].spread == ""


def test_the_csv_holds_every_trial_and_every_final_run(found):
    rows = list(csv.DictReader(io.StringIO(sweep_tables.as_csv(found))))
    trials = [r for r in rows if r["kind"] == "trial"]
    assert [r["status"] for r in trials] == [t.outcome.status for t in found.trials]
    assert all(r["test"] == "" for r in trials)
    finals = [r for r in rows if r["kind"] == "final"]
    assert sorted(float(r["test"]) for r in finals) == sorted(
        v for f in found.finalists for v in f.values("test", found.metric)
    )
    refused = [r for r in trials if r["status"] == "refused"]
    assert all("does not divide" in r["error"] for r in refused)


def test_the_page_stands_alone_and_is_replaced_only_when_asked(swept, tmp_path, itrec):
    place = tmp_path / "page.html"
    code, shown, err = itrec("report", swept.path, "--out", place)
    assert (code, err) == (0, "")
    assert shown.strip() == str(place)
    text = place.read_text(encoding="utf-8")
    assert len(text) < 300_000
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", text)
    for words in ("Recommended: trial", "Loss x side information", "Every trial", "winner.yaml",
                  "does not divide", "data-line", "Slices of test"):  # fmt: skip
        assert words in text
    told = (swept.path / "results.md").read_text(encoding="utf-8")
    assert told.startswith("# Sweep: sweep\n\n- Recommended")
    titles = re.findall(r"^### (.*)$", told, re.MULTILINE)
    assert titles == ["Finalists", "Loss x side information", "Effect of each setting",
                      "Every trial", "Slices of test", "Without a result"]  # fmt: skip
    with pytest.raises(OutputError, match="already exists"):
        reports.write_sweep(swept.path, place)
    reports.write_sweep(swept.path, place, overwrite=True)


def test_the_winners_recipe_trains_the_same_weights_again(swept, found, tmp_path, itrec, shards):
    retraining = schedule.retraining(found)
    recipe = tmp_path / "winner.yaml"
    recipe.write_text(retraining["recipe"])
    out = tmp_path / "winner"
    words = retraining["command"].split()
    words[words.index("winner.yaml")] = recipe
    words[words.index("runs/winner")] = out
    code, _, err = itrec(*words[1:])
    assert code == 0, err
    first = found.finalists[0].runs[0]
    again = RunDirectory(out)
    assert (
        again.read_json(again.evaluation)["splits"] == first.read_json(first.evaluation)["splits"]
    )


def test_a_folder_that_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="not a sweep directory"):
        sweep_runs.read(tmp_path)


def test_damaged_window_figures_are_named(swept, tmp_path):
    copy = tmp_path / "sweep"
    shutil.copytree(swept.path, copy)
    place = next((copy / "finals").rglob("test_windows.parquet"))
    place.write_bytes(b"PK nonsense")
    with pytest.raises(CheckpointError, match="is damaged"):
        _ = [f.windows for f in sweep_runs.read(copy).finalists]


def test_parallel_coordinates_draw_every_trial_and_absent_settings():
    axes = [
        sweep_charts.Axis("loss", ("ce", "bce", "ce")),
        sweep_charts.Axis("width", ("—", 64, 128)),
        sweep_charts.Axis("rate", (0.001, 0.01, 0.1), is_log=True, is_listed=False),
    ]
    marks = [sweep_charts.Mark(f"trial {i}", i / 2, "a=<b>", i == 1) for i in range(3)]
    svg = sweep_charts.parallel(axes, marks)
    assert svg.count("data-line=") == 3
    assert svg.count("stroke-dasharray") == 1
    assert "<b>" not in svg
    ys = [json.loads(m.replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">"))["y"]
          for m in re.findall(r'data-line="(.*?)"', svg)]  # fmt: skip
    rates = sorted(y[2] for y in ys)
    assert rates[1] - rates[0] == pytest.approx(rates[2] - rates[1], abs=0.2)  # a decade each
    assert sweep_charts.parallel(axes, []) == ""
