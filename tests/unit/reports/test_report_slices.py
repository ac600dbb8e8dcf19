"""What reports say of targets: which were found, which could not be, and what filters dropped."""

import json

import pytest

from itrec_dist.reports import arms, markdown, page, provenance, runs, slices, tables
from itrec_dist.reports import sections as report_sections
from itrec_dist.reports.charts import Line, LineChart, line_chart
from tests import reported_runs as made

LENGTHS = {"1": (40, 4), "2-4": (60, 30), "5+": (100, 20)}
AGES = {"never in training": (5, 0), "over 50%": (195, 54)}


def sliced(kind, found):
    return [
        {"kind": kind, "name": name, "num_targets": targets,
         "found": {"unmasked": {"5": hits, "10": hits}, "masked": {"5": hits, "10": hits * 2}}}
        for name, (targets, hits) in found.items()
    ]  # fmt: skip


def counted(run, left_out=12, found=LENGTHS):
    """Give a run's test split counts of targets and slices."""
    place = run / "evaluation.json"
    content = json.loads(place.read_text(encoding="utf-8"))
    content["splits"]["test"] |= {
        "targets": {"num_targets": 200, "untrained": 5, "left_out": left_out},
        "slices": [*sliced("history length", found), *sliced("item age", AGES)],
    }
    place.write_text(json.dumps(content), encoding="utf-8")
    return run


def read(folder):
    return arms.sections([runs.read(path) for path in runs.find([folder])])


HISTORIES = made.manifest(samples="histories", max_length=20, protocol="leave_one_out")


def test_a_table_and_a_chart_for_each_way_of_slicing(tmp_path):
    better = {**LENGTHS, "1": (40, 8)}
    counted(made.trained(tmp_path / "a", epochs=1, manifest=HISTORIES))
    second = made.trained(tmp_path / "b", epochs=1, manifest=HISTORIES, config=made.config(seed=1))
    counted(second, found=better)
    counted(made.baseline(tmp_path / "c", "popularity", 0.03, HISTORIES))
    (section,) = read(tmp_path)
    by_length, by_age = slices.tables(section, "masked")
    assert by_length.title == "Found in the first 10 places, by history length: test, masked"
    assert [(c.title, c.subtitle) for c in by_length.columns] == [
        ("1", "40 targets"), ("2-4", "60 targets"), ("5+", "100 targets"),
    ]  # fmt: skip
    trained, baseline = by_length.rows
    assert baseline.is_baseline
    assert [cell.value for cell in baseline.cells] == pytest.approx([8 / 40, 60 / 60, 40 / 100])
    assert trained.cells[0].value == pytest.approx((8 + 16) / 80)
    assert (trained.cells[0].spread, trained.cells[1].spread) == ("± 0.1414", "± 0.0000")
    assert trained.cells[0].is_best
    assert [column.title for column in by_age.columns] == ["never in training", "over 50%"]
    drawn = slices.charts(section, "masked")
    assert [chart.title for chart in drawn] == [
        "Found in the first 10 places, by history length",
        "Found in the first 10 places, by item age",
    ]
    shown = page.render([run for arm in section.arms for run in arm.runs], "x")
    text = markdown.markdown([tmp_path])
    for title in (by_length.title, by_age.title):
        assert title in shown
        assert title in text
    assert all(chart.svg in shown for chart in drawn)


def test_runs_without_slices_have_no_part_about_them(tmp_path):
    made.trained(tmp_path / "a", epochs=1)
    (section,) = read(tmp_path)
    assert slices.tables(section, "masked") == slices.charts(section, "masked") == []
    assert slices.targets(section) is None
    assert "Which targets are found" not in page.render(
        [run for arm in section.arms for run in arm.runs], "x"
    )


def test_targets_that_could_not_be_found_are_counted_and_many_are_said(tmp_path):
    counted(made.trained(tmp_path / "a", epochs=1, manifest=HISTORIES), left_out=170)
    (section,) = read(tmp_path)
    table = slices.targets(section)
    (row,) = table.rows
    assert (row.label, [cell.text for cell in row.cells]) == (
        "Test", ["200", "5 (2.5%)", "170 (85.0%)"],
    )  # fmt: skip
    said = report_sections.of(section).sentences()
    (sentence,) = [text for text in said if "seen by their user before" in text]
    assert sentence.startswith("85% of the targets of test (170 of 200)")
    assert sentence.endswith("choose --evaluation.seen none.")
    assert sentence in markdown.markdown([tmp_path])


def test_rankings_that_leave_out_other_things_are_never_averaged_or_compared(tmp_path):
    for seed, seen in enumerate([None, "history", "none", "input"]):
        config = made.config(seed=seed, evaluation={"seen": seen})
        made.trained(tmp_path / f"{seed}", epochs=1, manifest=HISTORIES, config=config)
    found = {section.seen: section for section in read(tmp_path)}
    assert {seen: len(s.arms[0].runs) for seen, s in found.items()} == {
        "history": 2, "none": 1, "input": 1,
    }  # fmt: skip
    names = dict(zip(found, tables.names(list(found.values())), strict=True))
    assert names == {
        "history": "leave_one_out", "none": "leave_one_out, seen: none",
        "input": "leave_one_out, seen: input",
    }  # fmt: skip
    nothing = report_sections.of(found["none"]).content()
    assert not any(column.subtitle == "masked" for column in nothing.results.columns)
    assert "No ranking excludes what the user has seen" in nothing.results_remark
    usual = report_sections.of(found["history"]).content()
    assert "excludes all items that the user has seen before" in usual.results_remark


def test_what_filters_dropped_is_said_with_its_share(tmp_path):
    made.trained(tmp_path / "a", epochs=1)
    (section,) = read(tmp_path)
    assert provenance.sentences(section)[0] == (
        "Windowing dropped 25.3% of the ratings read, 1.4% of the users read and 73.0% of the "
        "items read."
    )
    columns, rows = provenance.steps(section.manifest)
    assert columns == ["step", "ratings", "users", "items"]
    assert rows[0][1:] == ["1,000,209", "6,040", "3,706"]
    assert rows[1][1:] == ["747,869 (74.8%)", "6,038 (100.0%)", "1,000 (27.0%)"]
    step = {"name": "read", "ratings": 9, "ratings_share": 1.0}
    kept = made.manifest(steps=[step, {**step, "name": "all", "ratings_share": 1.0}])
    made.trained(tmp_path / "b" / "c", epochs=1, manifest=kept)
    (other,) = read(tmp_path / "b")
    assert provenance.steps(other.manifest)[0] == ["step", "ratings"]
    assert not any("dropped" in text for text in provenance.sentences(other))


def test_named_places_of_an_axis_stand_below_it_in_lines():
    lines = (Line("a", ((0.0, 0.01), (2.0, 0.3)), "#000"),)
    names = ("short", "a name that has several words", "<end>")
    svg = line_chart(LineChart("x", lines, width=460, x_names=names))
    assert ">short<" in svg
    assert ">&lt;end&gt;<" in svg
    assert ">a name that has several words<" not in svg  # in two lines
    assert "several" in svg
    assert svg.count('class="tick" text-anchor="middle"') == 2 + 2 + 1  # and the axis's own name
    assert "log scale" not in svg
    assert ">0.0<" in svg
