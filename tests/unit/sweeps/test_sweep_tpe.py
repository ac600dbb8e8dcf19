"""Optuna's sampler as a proposer: it learns, forgets nothing on resuming, and knows conditions."""

import builtins
import math
from collections import Counter

import pytest

from itrec_dist.errors import EnvironmentProblem
from itrec_dist.sweeps import checks
from itrec_dist.sweeps.config import Runs
from itrec_dist.sweeps.directory import Outcome, Trial
from itrec_dist.sweeps.space import parse
from itrec_dist.sweeps.tpe import TPE, importances
from itrec_dist.training.config import RunConfig
from tests.swept import Cut, run_here, sweep_of

RAW = {
    "optimizer.learning_rate": {"loguniform": [1e-5, 1e-1]},
    "model.dropout": {"uniform": [0.0, 0.5]},
    "loss": {"choice": ["ce", "bce"]},
    "training.epochs": {"integer": [1, 30]},
}


@pytest.fixture
def space(shards, tmp_path):
    return parse(RAW, RunConfig(shards=shards, out=tmp_path))


@pytest.fixture
def sweep(shards, tmp_path):
    return sweep_of(
        shards, tmp_path / "s", space=RAW, fixed={}, trials=60,
        search={"algorithm": "tpe", "startup": 15},
    )  # fmt: skip


def figure(assignment):
    """Best at a rate of 0.003, whatever the dropout."""
    return 1 - 0.1 * abs(math.log10(assignment["optimizer.learning_rate"] / 0.003))


def played(proposer, count=60):
    asked = []
    for _ in range(count):
        assignment = proposer.ask()
        proposer.tell(assignment, (figure(assignment),))
        asked.append(assignment)
    return asked


def distance(assignments):
    return sum(1 - figure(a) for a in assignments) / len(assignments)


def test_it_learns_where_the_figure_is_high(space, sweep):
    asked = played(TPE(sweep, space, 0))
    assert distance(asked[-20:]) < 0.5 * distance(asked[:15])
    assert all(1 <= a["training.epochs"] <= 30 for a in asked)


def test_it_ends_after_as_many_trials_as_were_asked_for(space, sweep):
    proposer = TPE(sweep, space, 58)
    played(proposer, 2)
    assert proposer.ask() is None


def test_what_was_told_of_an_earlier_life_is_remembered(space, sweep):
    before = played(TPE(sweep, space, 0), 40)
    proposer = TPE(sweep, space, 40)
    for assignment in before:
        proposer.tell(assignment, (figure(assignment),))
    assert distance(played(proposer, 15)) < 0.5 * distance(before[:15])


def test_failures_teach_nothing_and_hurt_nothing(space, sweep):
    proposer = TPE(sweep, space, 0)
    for _ in range(10):
        proposer.tell(proposer.ask(), None)
    assert len(played(proposer, 5)) == 5


def test_two_figures_keep_both_ends_of_the_front(shards, tmp_path, space):
    sweep = sweep_of(
        shards, tmp_path / "s2", space=RAW, fixed={}, trials=80,
        search={"algorithm": "tpe", "against": "seconds", "startup": 20},
    )  # fmt: skip
    proposer = TPE(sweep, space, 0)
    asked = []
    for _ in range(80):
        assignment = proposer.ask()
        cost = float(assignment["training.epochs"])
        proposer.tell(assignment, (figure(assignment) + 0.01 * cost, cost))
        asked.append(assignment)
    late = [a["training.epochs"] for a in asked[-30:]]
    assert min(late) <= 5
    assert max(late) >= 20


def test_conditions_and_steps_hold(shards, tmp_path):
    raw = {
        "model.num_layers": {"choice": [1, 2]},
        "model.feedforward_width": {"integer": [32, 128], "step": 32,
                                    "when": {"model.num_layers": 2}},
        "model.dropout": {"uniform": [0.0, 0.25], "step": 0.1},
        "optimizer.clip_norm": {"choice": [None, 1.0]},
    }  # fmt: skip
    space = parse(raw, RunConfig(shards=shards, out=tmp_path))
    sweep = sweep_of(
        shards, tmp_path / "s3", space=raw, fixed={}, trials=40, search={"algorithm": "tpe"}
    )
    proposer = TPE(sweep, space, 0)
    for _ in range(40):
        assignment = proposer.ask()
        assert ("model.feedforward_width" in assignment) == (assignment["model.num_layers"] == 2)
        for name, value in assignment.items():
            assert any(value == v for v in space[name].values)
        proposer.tell(assignment, (0.1,))


@pytest.mark.parametrize("known", [0, 5])
def test_a_grid_is_gone_through_in_turns_whatever_the_figures_say(known, shards, tmp_path):
    raw = {**RAW, "loss": {"grid": ["ce", "bce"]}, "model.num_layers": {"grid": [1, 2]}}
    space = parse(raw, RunConfig(shards=shards, out=tmp_path))
    sweep = sweep_of(
        shards, tmp_path / "s4", space=raw, fixed={}, trials=45,
        search={"algorithm": "tpe", "startup": 8},
    )  # fmt: skip
    proposer = TPE(sweep, space, known)
    asked = []
    for _ in range(40):
        assignment = proposer.ask()
        value = figure(assignment) + (assignment["loss"] == "bce")
        proposer.tell(assignment, (value,))
        asked.append(assignment)
    found = Counter((a["loss"], a["model.num_layers"]) for a in asked)
    assert set(found.values()) == {10}
    assert len(found) == 4
    assert distance(asked[-12:]) < 0.5 * distance(asked[:8])


def test_importance_falls_on_what_the_figure_depends_on(space, sweep):
    asked = played(TPE(sweep, space, 0))
    trials = [Trial(i, a, Outcome("complete", figure(a))) for i, a in enumerate(asked)]
    shares = importances(space, sweep, trials)
    assert shares[0][0] == "optimizer.learning_rate"
    assert shares[0][1] > 0.5
    assert sum(share for _, share in shares) == pytest.approx(1)


@pytest.mark.slow
def test_a_search_that_learns_can_be_cut_off_and_resumed(shards, tmp_path):
    sweep = sweep_of(
        shards, tmp_path / "sweep", search={"algorithm": "tpe", "startup": 2},
        final={"candidates": 0},
    )  # fmt: skip
    with pytest.raises(Cut):
        run_here(sweep, most=3)
    directory, _ = run_here(sweep, resume=True)
    found = directory.trials()
    assert [t.outcome.status for t in found] == ["complete"] * 4
    assert len({str(t.assignment) for t in found}) == 4


def test_without_optuna_it_is_one_sentence(shards, tmp_path, monkeypatch):
    plain = builtins.__import__

    def without(name, *rest, **more):
        if name == "optuna":
            raise ImportError(name)
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    sweep = sweep_of(shards, tmp_path / "s", search={"algorithm": "tpe"})
    with pytest.raises(EnvironmentProblem, match="pip install optuna, or search at random"):
        checks.checked(sweep)
    assert Runs(sweep).space().names
