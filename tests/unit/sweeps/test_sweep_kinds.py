"""A search over losses, one of them from outside the package and with a setting of its own."""

import sys

import pytest

from itrec_dist import config
from itrec_dist.config.setter import Setter
from itrec_dist.errors import ConfigError
from itrec_dist.reports.sweep import runs as sweep_runs
from itrec_dist.sweeps import checks
from itrec_dist.sweeps.space import parse
from itrec_dist.training.config import RunConfig
from tests.swept import FIXED, run_here, sweep_of

SCALED = "scaled_loss:Scaled"
MODULE = """
from dataclasses import dataclass
from itrec_dist.losses.bce import BceConfig

@dataclass(frozen=True)
class Scaled:
    '''Binary cross entropy, scaled.'''
    kind: str = "scaled"
    '''Kind.'''
    scale: float = 1.0
    '''Scale.'''

    def per_query(self, queries, target_ids_NK, table):
        return self.scale * BceConfig().per_query(queries, target_ids_NK, table)

    def initial_bias(self, target_counts_C, num_windows):
        return BceConfig().initial_bias(target_counts_C, num_windows)
"""
SPACE = {
    "loss": {"grid": ["bce", SCALED]},
    "loss.scale": {"choice": [0.5, 2], "when": {"loss": SCALED}},
}


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "scaled_loss.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "scaled_loss", raising=False)


def test_a_setting_that_one_kind_alone_has_is_searched_with_it(shards, tmp_path):
    checked = checks.checked(sweep_of(shards, tmp_path / "sweep", space=SPACE, trials=8))
    drawn = {(a["loss"], a.get("loss.scale")) for a in checked.assignments}
    assert drawn == {("bce", None), (SCALED, 0.5), (SCALED, 2.0)}
    built = [checked.runs.build(a, tmp_path / "run", 0) for a in checked.assignments]
    assert {(r.loss.kind, getattr(r.loss, "scale", None)) for r in built} == {
        ("bce", None), ("scaled", 0.5), ("scaled", 2.0),
    }  # fmt: skip


@pytest.mark.slow
def test_trials_with_a_loss_of_ones_own_are_trained_reported_and_trained_again(shards, tmp_path):
    sweep = sweep_of(shards, tmp_path / "sweep", space=SPACE, trials=2, fixed=FIXED,
                     final={"candidates": 2, "seeds": 1})  # fmt: skip
    directory, _ = run_here(sweep)
    assert [t.outcome.status for t in directory.trials()] == ["complete"] * 2
    stored = [config.load(RunConfig, r.config) for n in (0, 1) for r in directory.finals(n)]
    assert {type(run.loss).__name__ for run in stored} == {"BceConfig", "Scaled"}
    assert all(config.to_yaml(r) == (r.folder / "config.yaml").read_text() for r in stored)
    found = sweep_runs.read(directory.path)
    assert {found.setting(t, "loss") for t in found.trials} == {"bce", SCALED}


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"loss.scale": {"choice": [1.0]}}, "there is no setting loss.scale"),
        ({**SPACE, "loss.scale": {"choice": ["much"]}}, "space.loss.scale must be a number"),
        ({"loss": {"choice": ["bce", "no_such:Loss"]}}, "cannot be imported from no_such:Loss"),
        ({"loss": {"choice": ["bec"]}}, "space.loss must be one of 'bce', "),
        ({"loss": {"choice": ["bce"]}, "loss.kind": {"choice": ["ce"]}}, "both name loss.kind"),
    ],
)
def test_a_space_over_kinds_that_makes_no_sense_is_refused(space, told, shards, tmp_path):
    with pytest.raises(ConfigError) as refusal:
        parse(space, RunConfig(shards=shards, out=tmp_path))
    assert told in str(refusal.value)


def test_settings_that_do_not_fit_are_refused_as_on_a_command_line(shards, tmp_path):
    base = Setter(RunConfig(shards=shards, out=tmp_path))
    for settings, told in (
        ({"model.widht": 3}, "there is no setting model.widht (did you mean model.width?)"),
        ({"loss": "bce", "loss.scale": 3}, "there is no setting loss.scale"),
        ({"model.width": 3.5}, "model.width must be a whole number, not '3.5'"),
        ({"model.num_heads": 5}, "model.num_heads=5 does not divide model.width=128"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
    ):
        with pytest.raises(ConfigError) as refusal:
            base.set(settings)
        assert str(refusal.value).startswith(told)
    assert base.set({}) == base.base


@pytest.fixture
def base(tmp_path):
    """SASRec on histories, narrower than by default."""
    recipe = tmp_path / "base.yaml"
    recipe.write_text(
        "loss: softmax\nmodel: {kind: sasrec, width: 24, num_layers: 1}\n"
        "training: {epochs: 1, batch_tokens: 512, monitor: masked/ndcg@10}\n"
    )
    return recipe


MODELS = {
    "model.kind": {"grid": ["sasrec", "gru4rec"]},
    "model.linear_width": {"choice": [4, 8], "when": {"model.kind": "sasrec"}},
}


def test_models_are_searched_with_what_the_base_sets_for_all(base, history_shards, tmp_path):
    sweep = sweep_of(history_shards, tmp_path / "sweep", base=str(base), space=MODELS, trials=8,
                     metric="", fixed={"model.dropout": 0.4})  # fmt: skip
    checked = checks.checked(sweep)
    drawn = {(a["model"], a.get("model.linear_width")) for a in checked.assignments}
    assert drawn == {("sasrec", 4), ("sasrec", 8), ("gru4rec", None)}
    for assignment in checked.assignments:
        model = checked.runs.build(assignment, tmp_path / "run", 0).model
        assert model.kind == assignment["model"]
        assert (model.width, model.num_layers, model.dropout) == (24, 1, 0.4)
        assert getattr(model, "linear_width", None) == assignment.get("model.linear_width")
    setter = Setter(checked.runs.base)
    assert setter.set({"model": "hstu", "model.num_heads": 1}).model.num_heads == 1
    plain = config.load(RunConfig, base, ["shards=s", "out=o", "model.num_heads=1"])
    assert Setter(plain).set({"model": "hstu"}).model.width == 24


def test_models_of_a_search_are_trained_judged_and_reported(base, history_shards, tmp_path):
    sweep = sweep_of(history_shards, tmp_path / "sweep", base=str(base), space=MODELS, trials=2,
                     metric="", fixed={}, final={"candidates": 2, "seeds": 1})  # fmt: skip
    directory, _ = run_here(sweep)
    assert [t.outcome.status for t in directory.trials()] == ["complete"] * 2
    stored = [config.load(RunConfig, r.config) for n in (0, 1) for r in directory.finals(n)]
    assert {run.model.kind for run in stored} == {"sasrec", "gru4rec"}
    found = sweep_runs.read(directory.path)
    assert {found.setting(t, "model") for t in found.trials} == {"sasrec", "gru4rec"}


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (["sasrec", "biased_mf"], "space.model names biased_mf, a model for the task ratings; "),
        (["sasrec", "sasrek"], "space.model must be one of 'autorec', "),
    ],
)
def test_models_that_cannot_be_compared_are_refused(kinds, told, base, history_shards, tmp_path):
    space = {"model.kind": {"choice": kinds}}
    with pytest.raises(ConfigError) as refused:
        checks.checked(sweep_of(history_shards, tmp_path / "sweep", base=str(base), space=space,
                                metric="", fixed={}))  # fmt: skip
    assert told in str(refused.value)
