"""What each model gains: against numpy and scipy, and what is compared with what."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from itrec_dist import reports
from itrec_dist.errors import ConfigError
from itrec_dist.evaluation import per_window
from itrec_dist.metrics.metric import FigureName
from itrec_dist.metrics.outcomes import Outcomes
from itrec_dist.reports import gains, reference
from itrec_dist.reports.arms import sections
from itrec_dist.reports.markdown import markdown
from itrec_dist.reports.runs import find, read
from itrec_dist.runs.directory import RunDirectory
from tests import reported_runs

USERS = 300
HISTORIES = reported_runs.manifest(
    samples="histories", protocol="leave_one_out",
    rows={"train": USERS, "validation": USERS, "test": USERS},
)  # fmt: skip
RANKS = {
    "linear": [0.0], "SASRec": [0.5, 0.4], "SASRec item": [0.7], "HSTU": [-0.15],
    "HSTU, time of query": [1.5], "copy": [0.0], "worse": [-0.6],
}  # fmt: skip
"""Model -> for each seed, how much its scores are told of the target."""


def outcomes(ranks):
    """One target per user, at these ranks."""
    places = np.arange(1, 21)
    hits = ranks[:, None] == places
    ids = np.arange(len(ranks))
    return Outcomes(
        ids, ids + 7, np.zeros((len(ranks), 0), dtype=np.int64), np.ones_like(ids),
        {"masked": hits, "unmasked": np.zeros_like(hits)},
    )  # fmt: skip


def drawn(shift, seed):
    """Ranks of 300 users' targets: hard for some and easy for others."""
    ease = np.random.default_rng(0).normal(0, 1, USERS)
    noise = np.random.default_rng(seed).normal(0, 1, USERS) if shift else 0.0
    return np.maximum(1, np.exp(2.5 - ease - shift - 0.4 * noise)).astype(np.int64)


def config(name, seed, model):
    settings = {"side_information": "none", "event_context": [], "time_of_query": False} | model
    return reported_runs.config("softmax", "none", seed, name=name, model=settings)


MODELS = {
    "SASRec": {"kind": "sasrec"},
    "SASRec item": {"kind": "sasrec", "side_information": "item"},
    "HSTU": {"kind": "hstu"},
    "HSTU, time of query": {"kind": "hstu", "time_of_query": True},
    "copy": {"kind": "gru4rec", "event_context": ["gap"]},
    "worse": {"kind": "bert4rec"},
}


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """Six models and the linear baseline, with the ranks of 300 users. Not to be changed."""
    folder = tmp_path_factory.mktemp("board")
    place = reported_runs.baseline(folder / "linear", "linear_history", 0.1, HISTORIES)
    per_window.save(RunDirectory(place), outcomes(drawn(0.0, 0)))
    for name, model in MODELS.items():
        for seed, shift in enumerate(RANKS[name]):
            place = reported_runs.trained(
                folder / f"{name}-{seed}", config=config(name, seed, model), manifest=HISTORIES,
                epochs=3,
            )  # fmt: skip
            ranks = drawn(shift, len(name) + seed)
            per_window.save(RunDirectory(place), outcomes(ranks))
    return folder


def section_of(folder):
    (section,) = sections([read(path) for path in find([folder])])
    return section


def ndcg(ranks):
    return np.where(ranks <= 10, 1 / np.log2(ranks + 1.0), 0.0)


@pytest.fixture(scope="module")
def found(board):
    return {(g.arm.runs[0].name, g.against.runs[0].name): g
            for g in gains.gains(section_of(board))}  # fmt: skip


def test_every_model_meets_the_linear_one_and_those_told_more_meet_themselves(found):
    over_linear = [name for name, other in found if other == "linear_history"]
    assert sorted(over_linear) == sorted(MODELS)
    rest = {pair for pair in found if pair[1] != "linear_history"}
    # "copy" has the gap between events, but no run of the same model is without it.
    assert rest == {("SASRec item", "SASRec"), ("HSTU, time of query", "HSTU")}


@pytest.mark.parametrize(
    ("name", "other"), [("SASRec item", "linear"), ("HSTU", "linear"), ("worse", "linear")]
)
def test_a_single_seed_is_the_paired_t_test(found, name, other):
    gain = found[name, "linear_history"]
    first, second = drawn(RANKS[name][0], len(name)), drawn(RANKS[other][0], 0)
    for test, figure in zip(gain.tests, (ndcg, lambda ranks: 1.0 * (ranks <= 10)), strict=True):
        again = stats.ttest_rel(figure(first), figure(second))
        low, high = again.confidence_interval()
        assert test.difference == pytest.approx(np.mean(figure(first) - figure(second)))
        assert (test.low, test.high) == pytest.approx((low, high), rel=1e-9)
        assert test.p == pytest.approx(again.pvalue, rel=1e-9)
        assert test.num_users == USERS
    change = ndcg(first) - ndcg(second)
    counts = (gain.tests[0].num_better, gain.tests[0].num_worse, gain.tests[0].num_equal)
    assert counts == ((change > 0).sum(), (change < 0).sum(), (change == 0).sum())


def test_seeds_are_averaged_by_user_and_widen_the_interval(found):
    gain = found["SASRec", "linear_history"]
    seeds = [ndcg(drawn(s, 6 + at)) for at, s in enumerate(RANKS["SASRec"])]
    change = np.mean(seeds, axis=0) - ndcg(drawn(0.0, 0))
    test = gain.tests[0]
    assert test.difference == pytest.approx(change.mean())
    assert test.num_better == (change > 1e-12).sum()
    over_users = stats.t.ppf(0.975, USERS - 1) * change.std(ddof=1) / USERS**0.5
    assert test.high - test.difference > over_users


def test_a_model_against_itself_gains_nothing(found):
    gain = found["copy", "linear_history"]
    for test in gain.tests:
        assert (test.difference, test.low, test.high, test.p) == (0, 0, 0, 1)
        assert (test.num_better, test.num_worse, test.num_equal) == (0, 0, USERS)
    assert gain.corrected == (1, 1)
    assert gain.verdict == gains.NO_DIFFERENCE


def test_p_values_are_corrected_for_all_comparisons(found):
    plain = [gain.tests[0].p for gain in found.values()]
    smallest = min(found.values(), key=lambda gain: gain.tests[0].p)
    assert smallest.corrected[0] == pytest.approx(len(plain) * min(plain))
    assert all(gain.corrected[0] >= gain.tests[0].p for gain in found.values())
    assert found["worse", "linear_history"].verdict == "worse"
    assert found["SASRec item", "linear_history"].verdict == "better"
    assert found["HSTU", "linear_history"].verdict == gains.NO_DIFFERENCE
    doubtful = replace(found["worse", "linear_history"], corrected=(0.06, 0.06))
    assert doubtful.verdict == f"{gains.NO_DIFFERENCE} among so many"


def test_the_table_is_sorted_by_gain_and_marks_who_knows_the_time_of_the_query(board):
    table = gains.table(section_of(board))
    values = {row.cells[0].text: [] for row in table.rows}
    for row in table.rows:
        values[row.cells[0].text].append(row.cells[2].value)
    assert next(iter(values)) == "linear_history"
    assert len(values["linear_history"]) == len(MODELS)
    over_plain = [row.cells[2].value for row in table.rows[len(MODELS) :]]
    assert values["linear_history"] == sorted(values["linear_history"], reverse=True)
    assert over_plain == sorted(over_plain, reverse=True)
    told = {row.label for row in table.rows if row.cells[-1].text == "yes"}
    assert [label.startswith("HSTU, time of query") for label in told] == [True]


def test_both_reports_say_it(board, tmp_path):
    text = markdown([board])
    page = reports.write([board], tmp_path / "page.html").read_text(encoding="utf-8")
    for shown in (text, page):
        assert shown.count("What each model gains") == 1
        assert gains.NO_DIFFERENCE in shown
        assert "over the baseline linear_history" in shown
        assert "over the same model without side information" in shown
    (sentence,) = [line for line in text.splitlines() if "over the baseline" in line]
    assert "the test shows no difference" in sentence
    assert "worse" in sentence.partition(" loses")[0]


def test_without_outcomes_or_on_other_windows_nothing_is_compared(board, tmp_path):
    copy = tmp_path / "board"
    shutil.copytree(board, copy)
    RunDirectory(copy / "SASRec-1").test_windows.unlink()
    shifted = outcomes(drawn(0.0, 0))
    per_window.save(
        RunDirectory(copy / "worse-0"), replace(shifted, window_ids=shifted.window_ids + 1)
    )  # fmt: skip
    names = {g.arm.runs[0].name for g in gains.gains(section_of(copy))}
    assert names == {"SASRec item", "HSTU", "HSTU, time of query", "copy"}
    RunDirectory(copy / "linear").test_windows.unlink()
    RunDirectory(copy / "HSTU-0").test_windows.unlink()
    assert gains.table(section_of(copy)) is None
    assert "What each model gains" not in markdown([copy])


def test_a_run_that_is_named_meets_all_others(board, tmp_path):
    place = tmp_path / "page.html"
    page = reports.write([board], place, against=board / "HSTU-0").read_text(encoding="utf-8")
    assert "on the same 300 users of test, over HSTU" in page
    runs = reference.compared([read(path) for path in find([board])], board / "HSTU-0")
    (section,) = sections(runs)
    met = {(g.arm.runs[0].name, g.against.runs[0].name): g for g in gains.gains(section)}
    over_named = {name for name, other in met if other == "HSTU"}
    assert over_named == {*MODELS, "linear_history"} - {"HSTU"}
    gain, back = met["linear_history", "HSTU"].tests[0], met["HSTU", "linear_history"].tests[0]
    assert gain.difference == pytest.approx(-back.difference)
    assert (gain.p, gain.num_better) == (pytest.approx(back.p), back.num_worse)
    again = stats.ttest_rel(ndcg(drawn(RANKS["worse"][0], 5)), ndcg(drawn(RANKS["HSTU"][0], 4)))
    assert met["worse", "HSTU"].tests[0].p == pytest.approx(again.pvalue, rel=1e-9)


def test_a_run_that_nothing_can_be_compared_with_is_refused(board, tmp_path):
    out = tmp_path / "page.html"
    other = reported_runs.manifest(
        samples="histories", protocol="leave_one_out", fingerprint="of other data",
        rows={"train": USERS, "validation": USERS, "test": USERS},
    )  # fmt: skip
    alone = reported_runs.baseline(tmp_path / "alone", "linear_history", 0.1, other)
    for against, words in ((alone, "none of the runs was judged"), (board, "holds 8 runs")):
        with pytest.raises(ConfigError, match=words):
            reports.write([board], out, against=against)
    assert not out.exists()


def test_a_run_that_was_only_trained_is_evaluated_once(itrec, trained, shards, tmp_path):
    first = shutil.copytree(trained, tmp_path / "first")
    code, _, err = itrec(
        "baselines", "--shards", shards, "--out", tmp_path / "base", "--only", "popularity"
    )
    assert code == 0, err
    page = tmp_path / "page.html"
    code, out, err = itrec("report", first, "--against", tmp_path / "base", "--out", page)
    assert (code, out.strip()) == (0, str(page)), err
    text = page.read_text(encoding="utf-8")
    assert "Paired tests on the same" in text
    assert "This model has one seed" in text
    assert "Holm" not in text, "a single comparison is not corrected"
    found = per_window.read(first)
    evaluation = read(first).judgements["test"]
    for name in (FigureName("masked", "hit_rate", 5), FigureName("unmasked", "precision", 5)):
        assert found.values(name).mean() == pytest.approx(evaluation.value(name))
