"""How often settings are parsed: once per run, once per sweep, once per value of a search."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from itrec_dist import config
from itrec_dist.config import loading, recipes
from itrec_dist.config.parser import Parser
from itrec_dist.sweeps import checks
from itrec_dist.sweeps.config import Runs
from itrec_dist.sweeps.trial import Job, Trials
from itrec_dist.training.config import RunConfig
from tests.swept import run_here, sweep_of

SPACE = {
    "loss": {"grid": ["ce", "bce"]},
    "model.side_information": {"grid": ["none", "both"]},
    "model.dropout": {"uniform": [0.0, 0.4], "step": 0.2},
    "optimizer.learning_rate": {"loguniform": [0.003, 0.03]},
}


@pytest.fixture
def counted(monkeypatch):
    """Counts parsers and the readings of each recipe, and does all that is done otherwise."""
    counts: Counter[str] = Counter()
    init, read = Parser.__init__, recipes.read

    def counting_init(self, *arguments, **options):
        counts["parsers"] += 1
        init(self, *arguments, **options)

    def counting_read(path):
        counts[Path(path).name] += 1
        return read(path)

    monkeypatch.setattr(Parser, "__init__", counting_init)
    monkeypatch.setattr(recipes, "read", counting_read)
    loading._unprepared.cache_clear()
    loading._prepared.cache_clear()
    return counts


def test_a_training_run_reads_its_recipe_once_with_one_parser(counted, itrec, shards, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "loss: ce\nmodel: {kind: ite, width: 16, movie_feature_width: 4}\n"
        "training: {epochs: 1, batch_size: 64}\n"
    )
    code, _, err = itrec(
        "train", "--local", "--config", recipe, "--shards", shards, "--out", tmp_path / "run"
    )
    assert code == 0, err
    assert counted == {"parsers": 1, "mine.yaml": 1}


def test_a_sweep_reads_its_base_once_and_makes_no_parser_for_a_trial(counted, shards, tmp_path):
    sweep = sweep_of(shards, tmp_path / "sweep", space=SPACE, trials=20, fixed={})
    counted.clear()
    checked = checks.checked(sweep)  # the driver
    runs = [checked.runs.build(a, tmp_path / "r", 0) for a in checked.assignments]
    assert counted == {"parsers": 2 + 1, "debug.yaml": 1}  # the base's two, and one for values
    assert len({config.to_yaml(run) for run in runs}) == 20
    assert {run.loss.kind for run in runs} == {"ce", "bce"}

    counted.clear()
    trials = Trials(checked.sweep, torch.device("cpu"))  # an actor
    for number, assignment in enumerate(checked.assignments):
        job = Job(number, assignment, (0,))
        built = [trials.built(job, tmp_path / "r", 0)[-1].run for _ in range(2)]
        assert built[0] == built[1] == runs[number]
    assert counted == {"parsers": 1, "debug.yaml": 1}


def test_a_whole_sweep_in_one_process(counted, shards, tmp_path):
    sweep = sweep_of(shards, tmp_path / "sweep", trials=4)
    counted.clear()
    run_here(sweep)  # driver and actor in one; four finals, whose checkpoints are judged again
    assert counted["parsers"] <= 2 + 2 + 4
    assert {name: n for name, n in counted.items() if name != "parsers"} == {
        "debug.yaml": 2, "config.yaml": 4,
    }  # fmt: skip


def test_a_sweep_searches_for_the_headline_of_its_task(shards, tmp_path):
    checked = checks.checked(sweep_of(shards, tmp_path / "sweep", metric=""))
    assert checked.sweep.metric == "unmasked/precision@5"
    assert checked.runs.base.training.monitor == "unmasked/precision@5"
    ratings = sweep_of(shards, tmp_path / "r", base="rating_biased_mf", fixed={}, metric="",
                       space={"model.penalty": {"uniform": [0.0, 1.0]}})  # fmt: skip
    assert Runs(ratings).metric == "ratings/rmse"


def test_a_run_made_by_overrides_is_the_one_that_a_command_line_makes(shards, tmp_path):
    sweep = sweep_of(shards, tmp_path / "sweep", space=SPACE, trials=20, fixed={})
    checked = checks.checked(sweep)
    for assignment in checked.assignments:
        made = checked.runs.build(assignment, tmp_path / "r", 3)
        base = tmp_path / "base.yaml"
        base.write_text(config.to_yaml(checked.runs.base))
        given = [f"{n}={config.as_text(v)}" for n, v in assignment.items()]
        given += [f"out={tmp_path / 'r'}", "seed=3"]
        assert config.load(type(made), base, given) == made


def test_a_recipe_that_changed_and_another_kind_are_read_as_they_are(counted, tmp_path):
    """What is kept between two readings are parsers, by the classes chosen; never values."""
    recipe = tmp_path / "mine.yaml"
    for width, loss, model in ((48, "ce", "ite"), (64, "ce", "ite"), (64, "softmax", "sasrec")):
        recipe.write_text(
            f"shards: s\nout: o\nloss: {loss}\nmodel: {{kind: {model}, width: {width}}}\n"
        )
        run = config.load(RunConfig, recipe)
        assert (run.model.kind, run.model.width, run.loss.kind) == (model, width, loss)
        assert config.load(RunConfig, recipe, ["model.width=56"]).model.width == 56
        assert config.load(RunConfig, recipe).model.width == width
    assert counted["parsers"] == 1 + 2
