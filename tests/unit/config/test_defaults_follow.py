"""What a run takes for the settings that follow from its model."""

from pathlib import Path

import pytest
import yaml

from itrec_dist import config, metrics
from itrec_dist.errors import ConfigError
from itrec_dist.losses.sampled_softmax import SampledSoftmaxConfig
from itrec_dist.models import MODELS
from itrec_dist.tasks import TASKS
from itrec_dist.training.config import RunConfig

PLACES = ("shards=shards", "out=out")


@pytest.mark.parametrize(
    ("kind", "loss", "monitor"),
    [
        ("ite", "bce", "unmasked/precision@5"),
        ("biased_mf", "mse", "ratings/rmse"),
        ("item2vec", "contrast", "loss"),
    ],
)
def test_loss_and_monitor_follow_from_the_model(kind, loss, monitor, tmp_path, itrec):
    run = config.load(RunConfig, None, [*PLACES, f"model={kind}"])
    assert (run.loss.kind, run.training.monitor) == (loss, monitor)
    assert RunConfig(Path("shards"), Path("out"), model=MODELS[kind]()) == run

    recipe = tmp_path / "config.yaml"
    recipe.write_text(config.to_yaml(run))
    assert yaml.safe_load(recipe.read_text())["loss"]["kind"] == loss
    assert config.load(RunConfig, recipe) == run

    code, printed, _ = itrec(
        "train", "--model.kind", kind, "--shards", "shards", "--out", "out", "--print-config"
    )
    assert code == 0
    shown = yaml.safe_load(printed)
    assert shown["loss"]["kind"] == loss
    assert shown["training"]["monitor"] == monitor


@pytest.mark.parametrize("kind", MODELS)
def test_every_model_has_defaults_that_fit_its_task(kind):
    run = RunConfig(Path("shards"), Path("out"), model=MODELS[kind]())
    task = TASKS[run.model.task]
    assert task.accepts(run.loss)
    assert run.training.figure in metrics.monitors(task.groups, run.evaluation.choice)


def test_another_loss_in_place_of_a_stored_one_keeps_settings_of_both(tmp_path):
    recipe = tmp_path / "config.yaml"
    recipe.write_text(config.to_yaml(config.load(RunConfig, None, [*PLACES, "loss=softmax"])))
    run = config.load(RunConfig, recipe, ["loss=gbce", "loss.num_negatives=7"])
    assert (run.loss.kind, run.loss.num_negatives) == ("gbce", 7)
    assert config.load(RunConfig, recipe).loss.kind == "softmax"
    recipe.write_text(config.to_yaml(run))
    assert config.load(RunConfig, recipe).loss.num_negatives == 7
    sampled = config.load(RunConfig, recipe, ["loss=sampled_softmax"]).loss
    assert sampled == SampledSoftmaxConfig(num_negatives=7)  # shared is a default of both
    assert config.load(RunConfig, recipe, ["loss=ce"]).loss.kind == "ce"


@pytest.mark.parametrize("text", ["loss: ce\n", "loss: {kind: ce}\n", "loss.kind: ce\n"])
def test_recipes_and_runs_of_before_losses_had_settings_are_read(text, tmp_path):
    recipe = tmp_path / "old.yaml"
    recipe.write_text(text + "shards: shards\nout: out\ntraining:\n  monitor: masked/ndcg@10\n")
    run = config.load(RunConfig, recipe)
    assert (run.loss.kind, run.training.monitor) == ("ce", "masked/ndcg@10")
    assert config.load(RunConfig, recipe, ["loss=softmax"]).loss.kind == "softmax"
    assert config.load(RunConfig, recipe, ["loss.kind=softmax"]).loss.kind == "softmax"
    assert config.load(RunConfig, recipe, ["loss=null"]).loss.kind == "bce"


def test_a_loss_that_is_none_names_those_there_are():
    with pytest.raises(
        ConfigError,
        match=r"there is no loss\.kind 'bcd' \(did you mean bce\?\); there are: bce, ce, ",
    ):
        config.load(RunConfig, None, [*PLACES, "loss=bcd"])
