"""Two figures at once: the front, the search for it, and what the report makes of it."""

import math
import random

import pytest

from itrec_dist.reports.sweep import answer
from itrec_dist.reports.sweep import runs as sweep_runs
from itrec_dist.sweeps.directory import Outcome, Trial, ranked
from itrec_dist.sweeps.jobs import finalists
from itrec_dist.sweeps.pareto import front
from itrec_dist.sweeps.space import parse
from itrec_dist.sweeps.tpe import TPE
from itrec_dist.training.config import RunConfig
from tests.swept import FIXED, run_here, sweep_of

PLANTED = {
    "optimizer.learning_rate": {"loguniform": [1e-5, 1e-1]},
    "loss": {"choice": ["ce", "bce"]},
    "training.epochs": {"integer": [1, 30]},
}


def sweep_for(shards, out, **changes):
    given = {
        "space": PLANTED, "fixed": {}, "trials": 90, "metric": "unmasked/precision@5",
        "search": {"algorithm": "tpe", "against": "seconds", "startup": 20}, **changes,
    }  # fmt: skip
    return sweep_of(shards, out, **given)


def away_from_planted(assignment):
    return abs(math.log10(assignment["optimizer.learning_rate"] / 0.003))


def outcome(assignment):
    """On the front lie bce at a rate of 0.003 with any number of epochs, and nothing else."""
    epochs = assignment["training.epochs"]
    seconds = epochs + 8.0 * (assignment["loss"] == "ce")
    return Outcome(
        "complete",
        math.log(1 + epochs) - 2 * away_from_planted(assignment),
        (),
        {"seconds": seconds},
    )


def trial(number, value, cost, status="complete"):
    costs = {} if cost is None else {"seconds": cost, "windows_per_second": cost}
    return Trial(number, {}, Outcome(status, value, (), costs))


def volume(sweep, trials):
    """What the front dominates, seen from 40 seconds and a figure of -4."""
    area, before = 0.0, -4.0
    for one in reversed(front(sweep, "seconds", trials)):
        area += max(40 - one.outcome.cost["seconds"], 0) * (one.outcome.value - before)
        before = one.outcome.value
    return area


@pytest.mark.parametrize("cost", ["seconds", "windows_per_second"])
def test_the_front_is_what_no_other_beats(cost, shards, tmp_path):
    sweep = sweep_for(shards, tmp_path / "s")
    points = [(0.5, 3.0), (0.4, 2.0), (0.4, 5.0), (0.3, 2.0), (0.1, 9.0), (0.5, 3.0), (0.2, None)]
    trials = [trial(n, value, at) for n, (value, at) in enumerate(points)]
    found = [t.number for t in front(sweep, cost, trials)]
    assert found == ([0, 5, 1] if cost == "seconds" else [0, 5, 2, 4])
    lower = sweep_for(shards, tmp_path / "l", metric="loss", search={"algorithm": "random"})
    falls = [t.number for t in front(lower, cost, trials)]
    assert falls == ([4, 3] if cost == "seconds" else [4])
    assert front(sweep, cost, []) == []


def test_the_search_finds_the_planted_front_and_more_of_it_than_chance(shards, tmp_path):
    sweep = sweep_for(shards, tmp_path / "s")
    space = parse(PLANTED, RunConfig(shards=shards, out=tmp_path))
    proposer, searched = TPE(sweep, space, 0), []
    for number in range(90):
        assignment = proposer.ask()
        done = outcome(assignment)
        proposer.tell(assignment, (done.value, done.cost["seconds"]))
        searched.append(Trial(number, assignment, done))
    drawn = [
        Trial(n, a, outcome(a)) for n, a in zip(range(90), space.draws(0), strict=False)
    ]  # fmt: skip
    best = front(sweep, "seconds", searched)
    assert {t.assignment["loss"] for t in best} == {"bce"}
    assert all(3e-4 < t.assignment["optimizer.learning_rate"] < 3e-2 for t in best)
    epochs = [t.assignment["training.epochs"] for t in best]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] >= 20
    assert epochs[-1] <= 5
    assert len(epochs) >= 8
    assert volume(sweep, searched) > volume(sweep, drawn)
    late = [t.assignment for t in searched[45:]]
    assert sum(a["loss"] == "bce" for a in late) > 0.75 * len(late)
    by_chance = sum(away_from_planted(t.assignment) for t in drawn) / len(drawn)
    assert sum(map(away_from_planted, late)) / len(late) < 0.5 * by_chance


def test_the_finalists_are_the_best_of_the_front(shards, tmp_path):
    trials = [trial(0, 0.50, 9.0), trial(1, 0.49, 12.0), trial(2, 0.48, 5.0), trial(3, 0.3, 1.0)]
    random.Random(0).shuffle(trials)
    weighed = sweep_for(shards, tmp_path / "s", final={"candidates": 2, "seeds": 1})
    plain = sweep_for(shards, tmp_path / "p", final={"candidates": 2, "seeds": 1},
                      search={"algorithm": "random"})  # fmt: skip
    assert [t.number for t in finalists(weighed, trials)] == [0, 2]
    assert [t.number for t in finalists(plain, trials)] == [0, 1]


@pytest.mark.slow
def test_a_search_against_size_judges_its_front_and_says_so(shards, tmp_path):
    """The loss falls with the number of layers or not: whatever does, the smallest is on it."""
    space = {"model.num_layers": {"choice": [1, 2]}, "model.feedforward_width": {"choice": [8, 64]}}
    sweep = sweep_for(
        shards, tmp_path / "sweep", space=space, fixed={**FIXED, "loss": "softmax"}, trials=6,
        metric="loss", search={"algorithm": "tpe", "against": "num_parameters", "startup": 4},
        final={"candidates": 2, "seeds": 1},
    )  # fmt: skip
    directory, _ = run_here(sweep)
    trials = directory.trials()
    sizes = {t.number: t.outcome.cost["num_parameters"] for t in trials}
    best = front(sweep, "num_parameters", trials)
    assert best[0].outcome.value == ranked(sweep, trials)[0].outcome.value
    assert sizes[best[-1].number] == min(sizes.values())
    judged = {int(p.name) for p in (directory.path / "finals").iterdir()}
    assert judged == {t.number for t in best[:2]}
    told = next(s for s in answer.sentences(sweep_runs.read(directory.path))
                if s.startswith("No other trial beats"))  # fmt: skip
    assert all(f"trial {t.label} (" in told for t in best[:6])
    assert "parameters" in told
