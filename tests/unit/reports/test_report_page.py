"""The page: self-contained, escaped, honest about what is missing; and its refusals."""

import itertools
import json
import math
import re
from html.parser import HTMLParser

import pytest

from itrec_dist import reports
from itrec_dist.cli import app
from itrec_dist.data.manifest import Manifest
from itrec_dist.errors import CheckpointError, OutputError, ShardsError
from itrec_dist.reports import arms, charts, provenance, runs, samples
from tests import reported_runs as made


class _Page(HTMLParser):
    """Collects tags, links to elsewhere, and the text outside scripts and styles."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.words, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href") and not v.startswith("#")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def _page(place):
    return _Page(place.read_text(encoding="utf-8"))


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(tmp_path):
    place = reports.write([made.study(tmp_path / "study", seeds=2)])
    assert place == (tmp_path / "study" / "report.html").resolve()
    page = _page(place)
    assert page.open == []
    assert page.links == ["data:,"]
    source = place.read_text(encoding="utf-8")
    assert "@import" not in source
    assert "url(" not in source
    assert page.tags.count("svg") == 2 + 2 + 6 * 3
    assert len(source) < 1_000_000


def test_everything_is_escaped(tmp_path):
    nasty = "<script>alert('x')</script> & \"é\""
    manifest = made.manifest(source={"format": nasty, "path": nasty})
    config = made.config(name=nasty, note=nasty)
    run = made.trained(tmp_path / "a", epochs=2, config=config, manifest=manifest)
    sampled = made.samples()
    sampled["users"][0]["predicted"][0]["title"] = nasty
    (run / "samples.json").write_text(json.dumps(sampled), encoding="utf-8")
    place = reports.write([run], title=nasty)
    page = _page(place)
    assert page.tags.count("script") == 1
    assert page.open == []
    assert page.text.count("<script>alert") >= 6
    assert "Amélie & <Friends>" in page.text
    (readout, *_) = re.findall(r'data-readout="([^"]*)"', place.read_text(encoding="utf-8"))
    assert "<" not in readout


def test_a_partial_run_is_shown_as_such_and_its_curves_are_drawn(tmp_path):
    run = made.trained(tmp_path / "a", epochs=4, complete=False)
    (run / "log.jsonl").open("a").write('{"event": "epoch", "epo')  # torn by a kill
    page = _page(reports.write([run]))
    assert "The run has no final evaluation yet" in page.text
    assert "incomplete: 4 of 20 epochs" in page.text
    assert page.tags.count("polyline") >= 6


def test_a_run_that_has_only_begun_gives_a_page(tmp_path):
    run = made.trained(tmp_path / "a", epochs=0, complete=False)
    (run / "manifest.json").unlink()
    (run / "environment.json").unlink()
    page = _page(reports.write([run]))
    assert "incomplete: no epoch finished" in page.text
    assert "These runs have no data manifest" in page.text


def test_no_figure_that_is_not_finite_is_printed(tmp_path):
    run = made.trained(tmp_path / "a", epochs=3)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in lines:
        if line["event"] == "epoch" and line["epoch"] > 1:
            line["loss"] = math.nan
            line["validation"]["unmasked"]["precision@5"] = math.inf
    (run / "log.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["splits"]["test"]["unmasked"] = dict.fromkeys(
        evaluation["splits"]["test"]["unmasked"], math.nan
    )
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    place = reports.write([run])
    words = _page(place).text
    assert not re.search(r"\b(nan|inf|infinity)\b", words, re.IGNORECASE)
    assert not re.search(r"[\"\[, ](NaN|Infinity|nan|inf)[\"\], ]", place.read_text("utf-8"))
    assert "The loss was not finite from epoch 2 on" in words.replace("; the", ". The")


def test_samples_mark_hits_and_items_already_watched(tmp_path):
    run = made.trained(tmp_path / "a", epochs=1)
    place = reports.write([run])
    page = _page(place)
    assert page.text.count("1 of 3 predicted items are among the next 2") == 2
    assert place.read_text(encoding="utf-8").count('"badge">hit<') == 2
    assert page.text.count("already seen") == 2
    assert "(1997)" not in page.text  # the year stands beside the title
    (sample,) = samples.of(arms.sections([runs.read(run)])[0])
    user = sample.users[0]
    assert [item.is_hit for item in user.predicted] == [False, True, False]
    assert [item.is_hit for item in user.actual] == [True, False]


def test_the_audit_is_printed_with_shares_and_a_broken_promise_is_named(tmp_path):
    test = {
        "targets": 1000, "targets_in_training_inputs": 830, "targets_in_training_inputs_share": 0.5,
        "training_events": 40000, "training_events_after_own": 3, "shared_users": 0,
        "num_users": 0, "something_new": 7,
        "promised_zero": ["training_events_after_own", "shared_users"],
    }  # fmt: skip
    manifest = made.manifest(audit={"test": test, "remarks": "no split"}, protocol="leave_last")
    ((split, leaks),) = provenance.leaks(Manifest.from_json(manifest, "here"))
    by_key = {leak.key: leak for leak in leaks}
    assert split == "test"
    assert list(by_key) == [
        "targets_in_training_inputs", "training_events_after_own", "shared_users", "something_new",
    ]  # fmt: skip
    assert by_key["targets_in_training_inputs"].percent == "50.0%"  # the audit's own share
    assert by_key["training_events_after_own"].percent == "<0.1%"
    assert by_key["training_events_after_own"].is_broken
    assert not by_key["shared_users"].is_broken
    run = made.trained(tmp_path / "a", epochs=1, manifest=manifest)
    page = _page(reports.write([run]))
    assert "leave_last breaks its promise on test: training events after own." in page.text
    assert "promise broken" in page.text
    assert "zero, as promised" in page.text


@pytest.mark.parametrize(
    ("leaked", "expected"),
    [
        (830, "On test, 83.0% of the targets were shown to the model as inputs"),
        (0, "On test, nothing leaks that leave_last promises to keep separate."),
    ],
)
def test_what_leaks_is_said_among_the_findings(tmp_path, leaked, expected):
    test = {"targets": 1000, "targets_in_training_inputs": leaked, "shared_events": 0}
    test["promised_zero"] = ["shared_events"]
    manifest = made.manifest(audit={"test": test}, protocol="leave_last")
    run = made.trained(tmp_path / "a", epochs=1, manifest=manifest)
    assert expected in _page(reports.write([run])).text


def test_settings_are_split_into_shared_and_differing(tmp_path):
    paths = [
        made.trained(tmp_path / f"{side}-{seed}", epochs=1, config=made.config("bce", side, seed))
        for side in ("user", "none")
        for seed in (0, 1)
    ]
    (settings,) = provenance.settings([runs.read(path) for path in paths])
    assert settings.differing == ("out", "seed", "model.side_information")
    assert "width: 128" in settings.shared
    assert "side_information" not in settings.shared
    assert [values[1:] for _, values in settings.rows] == [
        ("0", "user"), ("1", "user"), ("0", "none"), ("1", "none"),
    ]  # fmt: skip


def test_runs_are_found_in_folders_at_any_depth_and_once(tmp_path):
    made.trained(tmp_path / "deep" / "er" / "a", epochs=1)
    checkpoint = tmp_path / "deep" / "er" / "a" / "checkpoints" / "best"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.yaml").write_text("model: {}\n")
    made.trained(tmp_path / ".hidden" / "b", epochs=1)
    found = runs.find([tmp_path, tmp_path / "deep" / "er" / "a"])
    assert found == [(tmp_path / "deep" / "er" / "a").resolve()]


def test_a_page_over_several_places_stands_in_their_common_folder(tmp_path):
    made.trained(tmp_path / "x" / "a", epochs=1)
    made.trained(tmp_path / "y" / "b", epochs=1, config=made.config(seed=1))
    place = reports.write([tmp_path / "x" / "a", tmp_path / "y" / "b"])
    assert place == tmp_path.resolve() / "report.html"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("evaluation.json", "{"),
        ("evaluation.json", "[1]"),
        ("evaluation.json", '{"splits": {"test": 3}}'),
        ("manifest.json", "{]"),
        ("environment.json", "7"),
        ("samples.json", '{"users": [{"watched": []}]}'),
        ("config.yaml", "a: [1"),
        ("config.yaml", "- 1"),
        ("log.jsonl", '{"event": "epoch", "loss": 1}\n'),
        ("log.jsonl", "17\n"),
    ],
)
def test_a_damaged_file_is_one_sentence_and_code_2(tmp_path, capsys, name, text):
    run = made.trained(tmp_path / "a", epochs=1)
    (run / name).write_text(text)
    with pytest.raises((CheckpointError, ShardsError)):
        reports.write([run])
    assert app.main(["report", str(run)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("itrec: error: ")
    assert error.count("\n") == 1
    assert name in error
    assert not (run / "report.html").exists()


def test_what_is_no_run_is_refused(tmp_path, capsys):
    with pytest.raises(CheckpointError, match="there is no folder"):
        reports.write([tmp_path / "nowhere"])
    with pytest.raises(CheckpointError, match="holds no run directory"):
        reports.write([tmp_path])
    assert app.main(["report"]) == 2
    assert "RUN" in capsys.readouterr().err


def test_only_an_earlier_report_is_replaced_and_only_when_asked(tmp_path, capsys):
    run = made.trained(tmp_path / "a", epochs=1)
    out = tmp_path / "page.html"
    assert app.main(["report", str(run), "--out", str(out), "--title", "First"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    with pytest.raises(OutputError, match="--overwrite"):
        reports.write([run], out)
    assert app.main(["report", str(run), "--out", str(out), "--title", "Next", "--overwrite"]) == 0
    assert "<title>Next</title>" in out.read_text(encoding="utf-8")
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<h1>mine</h1>")
    with pytest.raises(OutputError, match="is not a report"):
        reports.write([run], thesis, overwrite=True)
    with pytest.raises(OutputError, match="is a folder"):
        reports.write([run], tmp_path)
    with pytest.raises(OutputError, match="cannot write"):
        reports.write([run], thesis / "below.html")
    assert thesis.read_text() == "<h1>mine</h1>"


def test_chart_coordinates_follow_their_values():
    line = charts.Line("a", ((1.0, 0.0), (2.0, 0.5), (3.0, 1.0)), "#000")
    svg = charts.line_chart(charts.LineChart("t", (line,)))
    points = re.search(r'polyline points="([^"]+)"', svg).group(1).split()
    (x1, y1), (x2, y2), (x3, y3) = (map(float, point.split(",")) for point in points)
    assert x3 - x2 == pytest.approx(x2 - x1, abs=0.02)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.02)
    assert y1 > y3
    assert charts.line_chart(charts.LineChart("t", ())) == ""


def test_a_loss_that_falls_far_is_drawn_on_a_log_scale():
    line = charts.Line("a", ((1.0, 1000.0), (2.0, 31.6227766), (3.0, 1.0)), "#000")
    svg = charts.line_chart(charts.LineChart("t", (line,)))
    ys = [float(p.split(",")[1]) for p in re.search(r'points="([^"]+)"', svg).group(1).split()]
    assert "log scale" in svg
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.02)


def texts_of(svg, kind):
    """The lines of each text of a class: (height, words)."""
    drawn = re.findall(rf'<text class="{kind}"[^>]*>(.*?)</text>', svg)
    return [re.findall(r'<tspan x="[^"]+" y="([^"]+)">([^<]+)</tspan>', text) for text in drawn]


@pytest.mark.parametrize(("count", "words"), [(9, ""), (5, " + linear 512 gap time_of_query")])
def test_labels_at_the_edge_never_overlap_nor_leave_the_chart(count, words):
    lines = tuple(
        charts.Line(f"l{i} sampled_softmax{words}", ((1.0, 0.0), (2.0, 0.5 + i / 1e4)), "#000")
        for i in range(count)
    )
    svg = charts.line_chart(charts.LineChart("t", lines, label_width=190))
    labels = texts_of(svg, "label")
    assert {" ".join(text for _, text in label) for label in labels} == {x.label for x in lines}
    ys = sorted(float(y) for label in labels for y, _ in label)
    assert len(ys) == count * (2 if words else 1)
    assert min(b - a for a, b in itertools.pairwise(ys)) >= 12.9
    assert (ys[0] > 0, ys[-1] < 300) == (True, True)


def test_labels_without_room_are_cut_and_read_in_full_under_the_pointer():
    names = [f"l{i} sampled_softmax + linear 512 gap time_of_query" for i in range(20)]
    lines = tuple(charts.Line(name, ((1.0, 0.0), (2.0, 0.5)), "#000") for name in names)
    svg = charts.line_chart(charts.LineChart("t", lines, label_width=190))
    assert all(len(label) == 1 and label[0][1].endswith("…") for label in texts_of(svg, "label"))
    assert set(re.findall("<title>(.*?)</title>", svg)) == set(names)


def test_names_beside_dots_are_whole_and_stand_at_their_dots():
    names = ["popularity", "eSASRec sampled_softmax + linear 512 both gap time_of_query · epochs 6"]
    rows = [charts.DotRow(name, (0.1,), "#000") for name in names]
    svg = charts.dot_chart(rows, "t", "")
    found = texts_of(svg, "name")
    assert [" ".join(text for _, text in lines) for lines in found] == names
    middles = [float(y) for y in re.findall(r'<circle cx="[^"]+" cy="([^"]+)"', svg)]
    for lines, middle in zip(found, middles, strict=True):
        assert sum(float(y) for y, _ in lines) / len(lines) == pytest.approx(middle + 4.5)
    ys = [float(y) for lines in found for y, _ in lines]
    assert min(b - a for a, b in itertools.pairwise(ys)) >= 13.9
