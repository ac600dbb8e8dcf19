"""Rating models through the command: trained, judged again, resumed, recommended from, refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from itrec_dist.data import manifest
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.losses.mse import MseConfig
from itrec_dist.models import MODELS
from itrec_dist.training.loop import TrainingConfig
from tests import stopped_runs
from tests.cases import slow_after

RATING_MODELS = [kind for kind in MODELS if MODELS[kind].task == "ratings"]
QUICK = (
    "--loss", "mse", "--training.monitor", "ratings/rmse", "--training.batch_size", 256,
    "--training.epochs", 4, "--optimizer.learning_rate", 0.01, "--cluster.threads", 1,
)  # fmt: skip


def train(itrec, shards, out, *more):
    code, text, err = itrec("train", "--local", "--shards", shards, "--out", out, *QUICK, *more)
    assert code == 0, err
    return json.loads((out / "evaluation.json").read_text())["splits"], text


@pytest.fixture(scope="module", params=slow_after(2, RATING_MODELS))
def run(request, itrec, rated_shards, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param) / "run"
    splits, text = train(itrec, rated_shards, out, "--model.kind", request.param)
    return request.param, out, splits, text


def test_a_model_learns_more_than_the_mean(run, rated_shards):
    _, _, splits, text = run
    made = manifest.read(rated_shards)
    for split, judgement in splits.items():
        targets = read_split(rated_shards, made, split).target_ratings
        of_mean = math.sqrt(np.mean((targets - made.rating_mean) ** 2))
        assert judgement["num_windows"] == len(targets)
        assert 0.5 < judgement["ratings"]["rmse"] < of_mean
        assert judgement["ratings"]["mae"] < judgement["ratings"]["rmse"]
    assert "RMSE" in text


def test_judged_again_from_its_checkpoint_the_figures_are_the_same(run, itrec, tmp_path):
    _, out, splits, _ = run
    code, text, err = itrec("evaluate", out, "--out", tmp_path / "again.json")
    assert code == 0, err
    assert "RMSE" in text
    again = json.loads((tmp_path / "again.json").read_text())["splits"]
    for split in splits:
        assert again[split]["ratings"] == pytest.approx(splits[split]["ratings"], abs=1e-6)


def test_recommendations_are_the_unrated_items_with_the_highest_predictions(
    run, itrec, rated_shards, tmp_path
):
    _, out, _, _ = run
    code, _, err = itrec("recommend", out, "--out", tmp_path / "top.parquet", "-k", 3)
    assert code == 0, err
    rows = pq.read_table(tmp_path / "top.parquet").to_pylist()
    made = manifest.read(rated_shards)
    users, items = reader.read_users(rated_shards, made), reader.read_items(rated_shards, made)
    histories = reader.read_histories(rated_shards, made)
    for user in users.source_ids[:20]:
        mine = [r for r in rows if r["user"] == user]
        seen = {items.source_ids[i - 1] for i in histories.seen(users.source_ids.index(user))}
        assert not seen & {r["item"] for r in mine}
        scores = [r["score"] for r in mine]
        assert scores == sorted(scores, reverse=True)
    assert len({r["user"] for r in rows}) == len(users)


@pytest.mark.parametrize("kind", slow_after(1, RATING_MODELS[::-1]))
def test_a_resumed_run_ends_as_the_undisturbed_one(kind, rated_shards, tmp_path):
    def settings(name):
        return replace(
            stopped_runs.config_of(rated_shards, tmp_path / name, checkpoints={"steps": 2}),
            loss=MseConfig(),
            model=MODELS[kind](),
            training=TrainingConfig(
                epochs=2, batch_size=1024, monitor="ratings/rmse", log_seconds=0
            ),
            engine=EngineConfig(),
        )  # fmt: skip

    whole = stopped_runs.start(settings("whole"))
    stopped = stopped_runs.start(settings("stopped"), stop_at=3)
    assert not stopped.is_complete
    resumed = stopped_runs.go_on(settings("stopped"))
    assert stopped_runs.outcome(resumed) == stopped_runs.outcome(whole)


def test_streamed_ratings_are_learned_as_well(itrec, rated_shards, tmp_path):
    splits, _ = train(
        itrec, rated_shards, tmp_path / "run", "--model.kind", "biased_mf", "--feed.cache", "none"
    )
    assert splits["test"]["ratings"]["rmse"] < 1.1


@pytest.mark.parametrize("kind", slow_after(1, ["biased_mf", "dot_product", "neural_mf"]))
def test_sparse_gradients_train(kind, itrec, rated_shards, tmp_path):
    more = ("--model.kind", kind, "--optimizer.name", "adagrad", "--optimizer.learning_rate", 0.05)
    dense, _ = train(itrec, rated_shards, tmp_path / "dense", *more)
    sparse, _ = train(
        itrec, rated_shards, tmp_path / "sparse", *more, "--model.sparse_gradients", "true"
    )
    assert sparse["test"]["ratings"]["rmse"] == pytest.approx(
        dense["test"]["ratings"]["rmse"], abs=1e-4
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--loss", "bce"), "loss=bce does not fit model.kind=biased_mf; valid: mse"),
        (("--training.monitor", "masked/mrr@5"),
         "training.monitor=masked/mrr@5 does not fit model.kind=biased_mf; valid: loss, "
         "ratings/rmse, ratings/mae"),
        (("--model.kind", "ite"), "loss=mse does not fit model.kind=ite; valid: bce, ce, softmax"),
        (("--model.kind", "bird"), "there is no model.kind 'bird'; there are: autorec, "),
        (("--model.num_heads", 2), "there is no setting model.num_heads"),
        (("--model.sparse_gradients", "true"),
         "model.sparse_gradients=true does not work with optimizer.name=adamw: give sgd"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_sentence(more, told, itrec, rated_shards, tmp_path):
    code, _, err = itrec(
        "train", "--local", "--shards", rated_shards, "--out", tmp_path / "run", *QUICK,
        "--model.kind", "biased_mf", *more,
    )  # fmt: skip
    assert code == 2
    assert told in err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_rating_model_on_windows_of_several_targets(itrec, shards, tmp_path):
    """Shards of `itrec window` hold ratings too: a window's K targets are all predicted."""
    splits, _ = train(itrec, shards, tmp_path / "run", "--model.kind", "bst")
    made = manifest.read(shards)
    assert splits["test"]["num_windows"] == made.num_windows("test")
    assert 0.5 < splits["test"]["ratings"]["rmse"] < 1.5


def test_the_model_for_next_items_refuses_the_loss_of_ratings(itrec, rated_shards, tmp_path):
    code, _, err = itrec(
        "train", "--local", "--shards", rated_shards, "--out", tmp_path / "run", "--loss", "mse"
    )
    assert code == 2
    assert "loss=mse does not fit model.kind=ite; valid: bce, ce, softmax" in err


def work(context, run):
    """What each of two workers does."""
    stopped_runs.start(run, context)


@pytest.mark.slow
def test_two_workers_learn_and_judge_what_one_does(pair, rated_shards, tmp_path):
    def settings(name):
        return replace(
            stopped_runs.config_of(rated_shards, tmp_path / name),
            loss=MseConfig(), model=MODELS["biased_mf"](), engine=EngineConfig(),
            training=TrainingConfig(epochs=4, batch_size=256, monitor="ratings/rmse"),
            optimizer=OptimizerConfig(learning_rate=0.01),
        )  # fmt: skip

    pair.run(work, settings("together"))
    stopped_runs.start(settings("alone"))
    together, alone = (
        json.loads((tmp_path / name / "evaluation.json").read_text())["splits"]
        for name in ("together", "alone")
    )
    assert together.keys() == alone.keys() == {"validation", "test"}
    for split, judgement in alone.items():
        assert together[split]["num_windows"] == judgement["num_windows"]
        assert together[split]["ratings"] == pytest.approx(judgement["ratings"], abs=1e-4)
