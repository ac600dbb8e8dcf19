"""The non-neural rating baselines against plain computations, and as runs."""

import json

import numpy as np
import pytest
import torch

from itrec_dist import arrays, manifest, rating_baselines, ratings
from itrec_dist.context import LocalContext
from itrec_dist.rating_baseline_runs import judge_all
from itrec_dist.rating_baselines.biases import Biases

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(rated_shards):
    return manifest.read(rated_shards)


@pytest.fixture(scope="module")
def training(rated_shards, data):
    return ratings.read(rated_shards, data, LocalContext().blocks)


def test_the_training_ratings_are_those_of_the_training_windows(rated_shards, data, training):
    windows = arrays.read_split(rated_shards, data, "train")
    assert len(training) == len(windows)
    assert training.user_ids_R.tolist() == windows.user_ids.tolist()
    assert training.item_ids_R.tolist() == windows.target_ids[:, 0].tolist()
    assert training.ratings_R.tolist() == windows.target_ratings[:, 0].tolist()


def test_the_biases_solve_their_normal_equations(data, training):
    predict = Biases(user_damping=4.0, item_damping=2.0, rounds=200).fit(training, data)
    users, items = training.user_ids_R.numpy(), training.item_ids_R.numpy()
    given = training.ratings_R.numpy().astype(float)
    U, C = data.num_users, data.num_items
    # The same problem as one dense least-squares system: every damping is a row of its own.
    rows = np.zeros((len(given) + U + C, U + C))
    rows[np.arange(len(given)), users - 1] = 1
    rows[np.arange(len(given)), U + items - 1] = 1
    rows[len(given) :] = np.diag([2.0] * U + [np.sqrt(2.0)] * C)
    solved = np.linalg.lstsq(rows, np.r_[given - given.mean(), np.zeros(U + C)], rcond=None)[0]
    expected = given.mean() + solved[users - 1] + solved[U + items - 1]
    found = predict(training.user_ids_R, training.item_ids_R).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_nobody_and_nothing_have_no_bias(data, training):
    predict = Biases().fit(training, data)
    mean = training.ratings_R.double().mean()
    beyond = torch.tensor([data.num_users + 5])
    assert predict(beyond, torch.tensor([data.num_items + 9])).item() == pytest.approx(mean)


def test_the_baselines_become_runs_that_are_in_order(rated_shards, tmp_path):
    chosen = {name: rating_baselines.find(name)() for name in rating_baselines.names()}
    judged = judge_all(rated_shards, tmp_path, chosen)
    for split in ("validation", "test"):
        of_mean = judged["global_mean"][split]["ratings"]["rmse"]
        assert judged["biases"][split]["ratings"]["rmse"] < of_mean
    told = json.loads((tmp_path / "biases" / "evaluation.json").read_text())
    assert (told["kind"], told["splits"]) == ("baseline", judged["biases"])


def test_the_command_picks_the_baselines_that_fit_the_shards(itrec, rated_shards, shards, tmp_path):
    code, text, err = itrec("baselines", "--shards", rated_shards, "--out", tmp_path / "rated")
    assert code == 0, err
    assert "global_mean, test" in text
    code, _, err = itrec(
        "baselines", "--shards", rated_shards, "--out", tmp_path / "x", "--only", "ridge"
    )
    assert code == 2
    assert "there is no rating baseline 'ridge'; there are: biases, global_mean" in err
    code, _, err = itrec(
        "baselines", "--shards", shards, "--out", tmp_path / "x", "--only", "biases"
    )
    assert code == 2
    assert "there is no baseline 'biases'" in err
