"""Reports print what the runs hold: other cut-offs, metrics from outside, other tasks."""

import json
import re

import pytest

from itrec_dist import reports
from itrec_dist.cli import app
from itrec_dist.errors import CheckpointError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import LOSS, FigureName
from itrec_dist.reports import arms, markdown, runs, terminal
from itrec_dist.reports.sections import next_items as next_items_section
from itrec_dist.reports.sections import of
from tests import reported_runs as made
from tests.fixtures import DEBUG_RECIPE

PRECISION_3 = FigureName("unmasked", "precision", 3)


def rewritten(run, change):
    """Apply a change to every judgement that a run holds."""
    evaluation = json.loads((run / "evaluation.json").read_text())
    for judged in evaluation["splits"].values():
        change(judged)
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    return run


def with_figure(run, key, value):
    return rewritten(run, lambda judged: judged["unmasked"].update({key: value}))


def section_of(folder):
    (section,) = arms.sections([runs.read(path) for path in runs.find([folder])])
    return section


def groups_of(table):
    return list(dict.fromkeys(column.group for column in table.columns))


def test_a_file_of_an_older_version_is_read(tmp_path):
    run = made.trained(tmp_path / "a", epochs=1)
    found = runs.read(run)
    content = json.loads((run / "evaluation.json").read_text())["splits"]
    assert {split: j.to_json() for split, j in found.judgements.items()} == content
    assert found.task == "next_items"


def test_a_group_that_no_metric_has_is_an_error(tmp_path, capsys):
    run = made.trained(tmp_path / "a", epochs=1)
    rewritten(run, lambda judged: judged.update(sessions={"precision@5": 0.5}))
    with pytest.raises(CheckpointError, match="holds metrics of the group sessions, which is"):
        reports.write([run])
    assert app.main(["report", str(run)]) == 2
    assert "there are: unmasked, masked, ratings" in capsys.readouterr().err
    assert not (run / "report.html").exists()


@pytest.mark.usefixtures("outside_metrics")
def test_a_metric_from_outside_stands_in_its_place_with_its_direction(tmp_path):
    for name, value in (("a", 0.3), ("b", 0.2)):
        run = made.trained(tmp_path / name, epochs=1, config=made.config(name=name))
        with_figure(with_figure(run, "f1@5", value), "miss_rate@5", value)
    section = section_of(tmp_path)
    table = next_items_section.details(section, "test", "unmasked")
    assert groups_of(table) == [
        "Precision", "Hit rate", "Miss rate", "Recall", "F1", "NDCG", "MRR", "Coverage",
        "Popularity bias",
    ]  # fmt: skip
    best = {
        column.group: [row.label for row in table.rows if row.cells[at].is_best]
        for at, column in enumerate(table.columns)
        if column.group in ("F1", "Miss rate")
    }
    assert [labels[0][0] for labels in best.values()] == ["b", "a"]
    page = reports.write([tmp_path]).read_text(encoding="utf-8")
    assert "F1: harmonic mean of precision and recall." in page


def test_a_metric_that_is_not_installed_here_is_shown_last_without_a_best(tmp_path):
    for name, value in (("a", 0.3), ("b", 0.2)):
        run = made.trained(tmp_path / name, epochs=1, config=made.config(name=name))
        with_figure(run, "serendipity@5", value)
    table = next_items_section.details(section_of(tmp_path), "test", "unmasked")
    assert groups_of(table)[-1] == "Serendipity"
    assert not any(row.cells[-1].is_best for row in table.rows)


@pytest.mark.usefixtures("outside_metrics")
def test_the_terminal_prints_a_metric_from_outside_in_its_place(capsys):
    figures = {"precision@5": 0.1, "recall@5": 0.2, "f1@5": 0.3, "ndcg@5": 0.4}
    judgement = Judgement(None, 9, {"unmasked": figures, "masked": figures})
    terminal.print_judgements({"test": judgement})
    rows = re.findall(r"│ (\w+) +│", capsys.readouterr().out)
    assert rows == ["precision", "recall", "f1", "ndcg"]
    print(terminal.comparison({"mine": {"test": judgement}}))
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[2:] == ["precision@5", "recall@5", "f1@5", "ndcg@5"]
    assert first.split()[:3] == ["mine", "test", "unmasked"]
    assert second.split()[3:] == ["0.1000", "0.2000", "0.3000", "0.4000"]


def test_the_terminal_prints_any_task(capsys):
    terminal.print_judgements({"test": Judgement(0.5, 7, {"ratings": {"rmse": 0.9, "mae": 0.7}})})
    shown = capsys.readouterr().out
    assert re.search(r"windows .* Loss .* RMSE .* MAE", shown)
    assert re.search(r"test .* 7 .* 0.5000 .* 0.9000 .* 0.7000", shown)
    terminal.print_judgements({"test": Judgement(1.25, 7)})
    assert re.search(r"test .* 7 .* 1.2500", capsys.readouterr().out)


def test_the_papers_names_stand_on_its_own_data_alone(tmp_path):
    made.trained(tmp_path / "a", epochs=1, manifest=made.manifest(source={"format": "table"}))
    page = reports.write([tmp_path]).read_text(encoding="utf-8")
    assert "Accuracy" not in page
    assert "Precision@5 and hit rate@5" in page


def test_runs_of_two_tasks_on_the_same_windows_are_two_sections(tmp_path):
    made.trained(tmp_path / "a", epochs=1)
    other = made.trained(tmp_path / "b", epochs=1, config=made.config(model={"kind": "bst",
                         "side_information": "none"}))  # fmt: skip
    rewritten(other, lambda judged: (judged.pop("unmasked"), judged.pop("masked"),
                                     judged.update(ratings={"rmse": 0.9, "mae": 0.7})))  # fmt: skip
    lines = (other / "log.jsonl").read_text().splitlines()
    kept = [line for line in lines if '"event": "epoch"' not in line]
    (other / "log.jsonl").write_text("\n".join(kept) + "\n")
    found = arms.sections([runs.read(path) for path in runs.find([tmp_path])])
    assert {section.task for section in found} == {"next_items", "ratings"}
    assert "RMSE and MAE" in reports.write([tmp_path]).read_text(encoding="utf-8")


def test_a_task_without_rankings_is_compared_by_its_loss(tmp_path):
    for name, loss in (("a", 3.0), ("b", 2.0)):
        config = made.config(name=name, model={"kind": "item2vec", "side_information": "none"})
        run = made.trained(tmp_path / name, epochs=1, config=config)
        rewritten(run, lambda judged, loss=loss: (judged.pop("unmasked"), judged.pop("masked"),
                                                  judged.update(loss=loss)))  # fmt: skip
        lines = (run / "log.jsonl").read_text().splitlines()
        (run / "log.jsonl").write_text("\n".join(x for x in lines if "unmasked" not in x) + "\n")
    section = section_of(tmp_path)
    assert section.headline == LOSS
    assert [arm.label[0] for arm in section.ranked] == ["b", "a"]
    assert of(section).sentences()[0].startswith("On test, the lowest loss is that of b")
    text = markdown.markdown([tmp_path])
    assert "**2.0000**" in text
    assert "Accuracy" not in text


def test_cutoffs_are_a_setting_from_training_to_report(shards, tmp_path, itrec):
    cutoffs = ("--evaluation.cutoffs", "[1,3]")
    common = ("train", "--local", "--config", DEBUG_RECIPE, "--shards", shards)
    out = tmp_path / "runs" / "ite"
    code, _, err = itrec(*common, "--out", out, *cutoffs, "--training.monitor", "masked/mrr@5")
    assert code == 2
    assert "training.monitor=masked/mrr@5 does not fit model.kind=ite; valid: loss, " in err
    assert "unmasked/precision@3" in err
    code, _, err = itrec(*common, "--out", out, *cutoffs, "--training.monitor", "masked/coverage@3")
    assert code == 2
    assert "training.monitor=masked/coverage@3 describes a model and has no best value" in err
    assert not out.exists()
    code, shown, err = itrec(*common, "--out", out, *cutoffs)
    assert code == 0, err
    assert f"monitor: {PRECISION_3}\n" in (out / "config.yaml").read_text(), "the nearest one"
    judged = json.loads((out / "evaluation.json").read_text())["splits"]["test"]
    assert [key for key in judged["unmasked"] if "precision" in key] == [
        "precision@1", "precision@3",
    ]  # fmt: skip
    assert f"{judged['masked']['hit_rate@3']:.4f}" in shown
    baselines = tmp_path / "runs" / "baselines"
    code, shown, err = itrec("baselines", "--shards", shards, "--out", baselines, "--only",
                             "popularity", "--cutoffs", "[1,3]")  # fmt: skip
    assert code == 0, err
    assert "precision@1" in shown
    assert "cutoffs:\n  - 1\n  - 3\n" in (baselines / "popularity" / "config.yaml").read_text()
    section = section_of(tmp_path / "runs")
    assert section.headline == PRECISION_3
    table = next_items_section.details(section, "test", "masked")
    assert {column.title for column in table.columns} == {"@1", "@3"}
    page = reports.write([tmp_path / "runs"]).read_text(encoding="utf-8")
    assert "Precision@3 and hit rate@3" in page
    code, shown, err = itrec("evaluate", out, "--cutoffs", "[2]", "--out", tmp_path / "again.json")
    assert code == 0, err
    again = json.loads((tmp_path / "again.json").read_text())["splits"]["test"]
    assert [key for key in again["masked"] if "mrr" in key] == ["mrr@2"]


@pytest.mark.parametrize("given", ["[0]", "[5,5]", "[]"])
def test_impossible_cutoffs_are_refused_in_a_sentence(given, shards, tmp_path, itrec):
    arguments = ("--shards", shards, "--out", tmp_path / "x")
    code, _, err = itrec("train", "--local", *arguments, "--evaluation.cutoffs", given)
    assert code == 2
    assert "evaluation.cutoffs=[" in err
    code, _, err = itrec("baselines", *arguments, "--cutoffs", given)
    assert code == 2
    assert "--cutoffs=[" in err
    assert not (tmp_path / "x").exists()


@pytest.mark.usefixtures("outside_metrics")
def test_a_metric_given_as_a_class_goes_through_training_and_report(shards, tmp_path, itrec):
    out = tmp_path / "run"
    code, shown, err = itrec(
        "train", "--local", "--config", DEBUG_RECIPE, "--shards", shards, "--out", out,
        "--evaluation.metrics", "[their_ranking_metrics:MAPMetric]",
        "--training.monitor", "unmasked/map@5",
    )  # fmt: skip
    assert code == 0, err
    assert re.search(r"│ map +│", shown)
    epochs = [epoch.validation for epoch in runs.read(out).epochs]
    values = [judged.value(FigureName("unmasked", "map", 5)) for judged in epochs]
    assert runs.read(out).best_epoch == values.index(max(values)) + 1
    assert groups_of(next_items_section.details(section_of(out), "test", "unmasked"))[6] == "MAP"
