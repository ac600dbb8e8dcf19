"""Grouping, figures and sentences of reports, without HTML."""

import json
import math
import statistics

import pytest

from itrec_dist.metrics.metric import FigureName
from itrec_dist.reports import arms, markdown, measures, runs, tables
from itrec_dist.reports.published import ite as published_ite
from itrec_dist.reports.published.ite import ACCURACY_1
from itrec_dist.reports.sections import next_items as next_items_section
from tests import reported_runs as made


def _sections(folder):
    return arms.sections([runs.read(path) for path in runs.find([folder])])


def _rewrite(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _set_figure(run, split, value, metric=ACCURACY_1.key):
    _rewrite(
        run / "evaluation.json",
        lambda content: content["splits"][split]["unmasked"].update({metric: value}),
    )


def test_an_arm_is_the_mean_and_sample_deviation_over_its_seeds(tmp_path):
    values = (0.12, 0.13, 0.155)
    for seed, value in enumerate(values):
        run = made.trained(tmp_path / str(seed), config=made.config(seed=seed), epochs=2)
        _set_figure(run, "test", value)
    (section,) = _sections(tmp_path)
    (arm,) = section.arms
    figure = arm.figure("test", ACCURACY_1)
    assert (figure.n, arm.seeds) == (3, [0, 1, 2])
    assert figure.mean == pytest.approx(0.135)
    assert figure.sd == pytest.approx(math.sqrt((0.015**2 + 0.005**2 + 0.02**2) / 2))
    cell = next_items_section.accuracies(section).rows[0].cells[0]
    assert (cell.text, cell.spread) == ("0.1350", f"± {statistics.stdev(values):.4f}")


def test_one_seed_has_no_spread_and_nothing_is_no_number():
    assert measures.figure([0.5]).text == "0.5000"
    assert measures.figure([]).text == measures.MISSING
    assert measures.figure([None, math.nan, 0.25]).text == "0.2500"
    assert measures.digits(math.inf) == measures.MISSING


def test_a_setting_other_than_the_seed_makes_another_arm(tmp_path):
    made.trained(tmp_path / "a", epochs=1)
    made.trained(tmp_path / "b", epochs=1, config=made.config(seed=1, out="elsewhere"))
    wide = made.config()
    wide["model"] = {**wide["model"], "width": 256}
    made.trained(tmp_path / "c", epochs=1, config=wide)
    (section,) = _sections(tmp_path)
    labels = {arm.label: len(arm.runs) for arm in section.arms}
    assert labels == {"ITE bce both · width 128": 2, "ITE bce both · width 256": 1}


def test_a_setting_that_an_older_run_lacks_is_named_only_where_nothing_else_differs(tmp_path):
    newer = made.config()
    newer["feed"] = {**newer.get("feed", {}), "readers": "auto"}
    wide = made.config()
    wide["model"] = {**wide["model"], "width": 256}
    made.trained(tmp_path / "newer", epochs=1, config=newer)
    made.trained(tmp_path / "wide", epochs=1, config=wide)
    (section,) = _sections(tmp_path)
    assert {arm.label for arm in section.arms} == {
        "ITE bce both · width 128", "ITE bce both · width 256",
    }  # fmt: skip
    made.trained(tmp_path / "older", epochs=1)
    (section,) = _sections(tmp_path)
    assert {arm.label for arm in section.arms} == {
        "ITE bce both · width 128", "ITE bce both · width 128 · readers auto",
        "ITE bce both · width 256",
    }  # fmt: skip


def test_other_windows_are_another_section_and_never_one_table(tmp_path):
    made.trained(tmp_path / "a", epochs=1)
    other = made.manifest(fingerprint="ff" * 32, rows={"train": 62125, "validation": 6903})
    made.trained(tmp_path / "b", epochs=1, manifest=other)
    last = made.manifest(protocol="leave_last")  # even with an equal fingerprint
    made.trained(tmp_path / "c", epochs=1, manifest=last)
    found = _sections(tmp_path)
    assert tables.names(found) == [
        "random_windows 90/10", "random_windows 80/10/10", "leave_last",
    ]  # fmt: skip
    assert [len(next_items_section.accuracies(s).rows) for s in found] == [1, 1, 1]
    across = next_items_section.across(found)
    assert len(across.rows) == 1
    assert [group for group, _ in across.groups] == [
        "Printed in the paper", "random_windows 90/10: validation",
        "random_windows 80/10/10: test", "leave_last: test",
    ]  # fmt: skip


def test_validation_and_test_stand_in_separate_columns(tmp_path):
    run = made.trained(tmp_path / "a", epochs=3)
    _set_figure(run, "validation", 0.2)
    _set_figure(run, "test", 0.1)
    (section,) = _sections(tmp_path)
    table = next_items_section.accuracies(section)
    by_group = {}
    for column, cell in zip(table.columns, table.rows[0].cells, strict=True):
        by_group.setdefault(column.group, cell.text)
    assert by_group == {
        "Test: epoch selected on validation, evaluated on test": "0.1000",
        "Validation: best epoch selected on this split (as in the paper)": "0.2000",
        "Printed in the paper": "0.1185",
    }
    found = next_items_section.sentences(section)
    assert any("nothing was selected" in sentence for sentence in found)


@pytest.mark.parametrize(
    "change",
    [
        {"source": {"format": "table"}},
        {"num_users": 5000},
        {"rows": {"train": 100, "validation": 10}},
        {"protocol": "user_disjoint"},
        {"input_length": 20},
        {"settings": {"stride": 5}},
    ],
)
def test_printed_figures_stand_only_beside_the_papers_data(tmp_path, change):
    made.trained(tmp_path / "a", epochs=1)
    assert _sections(tmp_path / "a")[0].is_papers
    made.trained(tmp_path / "b", epochs=1, manifest=made.manifest(**change))
    (section,) = _sections(tmp_path / "b")
    assert not section.is_papers
    assert "Printed in the paper" not in [
        c.group for c in next_items_section.accuracies(section).columns
    ]
    assert not any("printed" in sentence for sentence in next_items_section.sentences(section))


def test_paper_arms_are_told_by_loss_and_side_information():
    assert published_ite.printed(made.config("ce", "both")) == {
        "precision@5": 0.0963,
        "hit_rate@5": 0.3623,
    }
    assert published_ite.printed(made.config("bce", "none"))["hit_rate@5"] == 0.4112
    assert published_ite.printed(made.config("softmax", "both")) == {}
    assert published_ite.printed(made.config("ce", "user")) == {}
    plain = {"loss": "bce", "model": {"side_information": "user", "repeat_bias": False}}
    assert published_ite.arm(plain) == ("bce", "user")
    beyond = {"loss": "bce", "model": {"side_information": "user", "repeat_bias": True}}
    assert published_ite.arm(beyond) is None
    assert published_ite.arm({"model": {"width": 8}}) is None
    other = {"loss": "bce", "model": {"kind": "sasrec", "side_information": "none"}}
    assert published_ite.arm(other) is None
    assert published_ite.arm({**other, "model": {**other["model"], "kind": "ite"}}) is not None


@pytest.mark.parametrize(
    ("ours", "ridge", "expected"),
    [
        (0.15, 0.134, "It beats the best baseline, ridge (0.1340) by 0.0160 (11.9%)."),
        (0.12, 0.134, "It does not beat the best baseline, ridge (0.1340): it is 0.0140"),
        (0.134, 0.134, "It does not beat the best baseline, ridge (0.1340): the two are equal."),
    ],
)
def test_the_headline_says_plainly_whether_the_best_baseline_is_beaten(
    tmp_path, ours, ridge, expected
):
    run = made.trained(tmp_path / "a", epochs=2)
    _set_figure(run, "test", ours)
    made.baseline(tmp_path / "ridge", "ridge", ridge)
    made.baseline(tmp_path / "popularity", "popularity", 0.03)
    (section,) = _sections(tmp_path)
    first = next_items_section.sentences(section)[0]
    assert first.startswith("On test, unmasked, the best trained model is ITE bce both:")
    assert expected in first


def test_a_difference_within_the_spread_over_seeds_settles_nothing(tmp_path):
    for seed, value in enumerate((0.12, 0.14, 0.16)):
        run = made.trained(tmp_path / str(seed), epochs=1, config=made.config(seed=seed))
        _set_figure(run, "test", value)
    made.baseline(tmp_path / "ridge", "ridge", 0.135)
    (section,) = _sections(tmp_path)
    assert "the difference is not conclusive" in next_items_section.sentences(section)[0]


def test_best_values_are_marked_but_not_where_more_is_not_better(tmp_path):
    made.study(tmp_path, seeds=1)
    (section,) = _sections(tmp_path)
    table = next_items_section.details(section, "test", "unmasked")
    marked = {
        (column.group, column.title): [r.label for r in table.rows if r.cells[at].is_best]
        for at, column in enumerate(table.columns)
    }
    assert marked["Recall", "@20"] == ["ridge"]
    assert marked["Coverage", "@5"] == []
    assert marked["Popularity bias", "@10"] == []
    assert [r.label for r in table.rows][:2] == ["ridge", "ITE softmax both"]


def test_an_incomplete_run_is_shown_and_not_counted(tmp_path):
    made.trained(tmp_path / "done", epochs=3)
    made.trained(tmp_path / "open", epochs=2, config=made.config(seed=1), complete=False)
    other = made.trained(tmp_path / "other", epochs=2, config=made.config("ce"), complete=False)
    lines = [json.loads(line) for line in (other / "log.jsonl").read_text().splitlines()]
    lines[-1]["validation"]["unmasked"]["coverage@5"] = 0.1
    (other / "log.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    (section,) = _sections(tmp_path)
    by_label = {row.label: row for row in next_items_section.accuracies(section).rows}
    assert by_label["ITE bce both"].tag == "seed 0, 1 of 2 runs incomplete, left out"
    other = by_label["ITE ce both"]
    assert other.tag == "incomplete: 2 of 20 epochs"
    provisional = [cell for cell in other.cells if cell.is_provisional]
    assert len(provisional) == 2
    arm = next(arm for arm in section.arms if not arm.complete)
    second = arm.runs[0].epochs[1].validation  # the better one, less of its coverage
    coverage = FigureName("unmasked", "coverage", 5)
    assert arm.so_far(coverage, ACCURACY_1).mean == second.value(coverage) == 0.1
    assert not any(cell.is_best for cell in other.cells)
    assert "ITE ce both is not complete and not counted here." in next_items_section.sentences(
        section
    )


def test_markdown_holds_every_arm_with_its_spread_and_cannot_be_broken_out_of(tmp_path):
    for seed in (0, 1):
        config = made.config(seed=seed, name="a|b <i>")
        made.trained(tmp_path / str(seed), epochs=2, config=config)
    made.baseline(tmp_path / "ridge", "ridge", 0.2)
    text = markdown.markdown([tmp_path])
    assert "## random_windows 80/10/10" in text
    line = next(line for line in text.splitlines() if line.startswith("| a"))
    assert line.startswith("| a\\|b &lt;i> · bce both | 2 seeds | 0.")
    assert " ± 0.000" in line
    rows = [line for line in text.splitlines() if line.startswith("| ridge")]
    assert "**0.2000**" in rows[0]
    widths = {line.replace("\\|", "").count("|") for line in text.split("###")[1].splitlines()[2:]}
    assert widths - {0} == {2 + 2 + 10 - 1}


def test_sections_that_differ_in_the_split_seed_alone_are_told_apart(tmp_path):
    for seed in (0, 1):
        manifest = made.manifest(fingerprint=f"{seed}abc" * 16, settings={"seed": seed})
        made.trained(tmp_path / str(seed), epochs=1, manifest=manifest)
    assert tables.names(_sections(tmp_path)) == [
        "random_windows 80/10/10 (split seed 0, data 0abc0a)",
        "random_windows 80/10/10 (split seed 1, data 1abc1a)",
    ]


def test_models_behind_the_best_baseline_are_named_and_what_masking_gives_back(tmp_path):
    made.trained(tmp_path / "good", best=0.15, config=made.config("softmax", "both"))
    weak = made.trained(tmp_path / "weak", best=0.12, config=made.config("bce", "none"))
    made.baseline(tmp_path / "ridge", "ridge", 0.134)
    evaluation = json.loads((weak / "evaluation.json").read_text())
    for judged in evaluation["splits"].values():
        judged["masked"] = judged["masked"] | {"precision@5": 0.149}
    (weak / "evaluation.json").write_text(json.dumps(evaluation))
    (section,) = _sections(tmp_path)
    said = [s for s in next_items_section.sentences(section) if "below" in s]
    label = next(arm.label for arm in section.arms if "bce" in arm.label)
    best_label = next(arm.label for arm in section.arms if "softmax" in arm.label)
    assert said[0].startswith("On test, unmasked, these are below the best baseline, ridge (0.134")
    assert label in said[0]
    assert best_label not in said[0]
    assert said[1].startswith(f"With the seen items masked, {label} are not below it")
