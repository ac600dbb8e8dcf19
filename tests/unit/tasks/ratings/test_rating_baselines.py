"""The non-neural rating baselines against plain computations, and as runs."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from itrec_dist.data import manifest, training_ratings
from itrec_dist.data.shards import reader, splits
from itrec_dist.distributed.context import LocalContext
from itrec_dist.evaluation.baselines import judge_all
from itrec_dist.tasks.baselines import is_installed
from itrec_dist.tasks.ratings.baselines import RatingsTrainingData
from itrec_dist.tasks.ratings.baselines.biases import Biases
from itrec_dist.tasks.ratings.baselines.content import Content, item_features
from itrec_dist.tasks.ratings.baselines.surprise_svd import SurpriseSvd
from itrec_dist.tasks.ratings.data import DATA

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(rated_shards):
    return manifest.read(rated_shards)


@pytest.fixture(scope="module")
def training(rated_shards, data):
    return RatingsTrainingData(
        training_ratings.read(rated_shards, data, LocalContext().blocks),
        data,
        reader.read_items(rated_shards, data),
    )


def test_the_training_ratings_are_those_of_the_training_windows(rated_shards, data, training):
    windows = splits.read_split(rated_shards, data, "train")
    found = training.ratings
    assert len(found) == len(windows)
    assert found.user_ids_R.tolist() == windows.user_ids.tolist()
    assert found.item_ids_R.tolist() == windows.target_ids[:, 0].tolist()
    assert found.ratings_R.tolist() == windows.target_ratings[:, 0].tolist()


def test_the_biases_solve_their_normal_equations(data, training):
    predict = Biases(user_damping=4.0, item_damping=2.0, rounds=200).fit(training)
    found = training.ratings
    users, items = found.user_ids_R.numpy(), found.item_ids_R.numpy()
    given = found.ratings_R.numpy().astype(float)
    U, C = data.num_users, data.num_items
    # The same problem as one dense least-squares system: every damping is a row of its own.
    rows = np.zeros((len(given) + U + C, U + C))
    rows[np.arange(len(given)), users - 1] = 1
    rows[np.arange(len(given)), U + items - 1] = 1
    rows[len(given) :] = np.diag([2.0] * U + [np.sqrt(2.0)] * C)
    solved = np.linalg.lstsq(rows, np.r_[given - given.mean(), np.zeros(U + C)], rcond=None)[0]
    expected = given.mean() + solved[users - 1] + solved[U + items - 1]
    predicted = predict(found.user_ids_R, found.item_ids_R).numpy()
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


def test_unknown_users_and_items_have_no_bias(data, training):
    predict = Biases().fit(training)
    mean = training.ratings.ratings_R.double().mean()
    beyond = torch.tensor([data.num_users + 5])
    assert predict(beyond, torch.tensor([data.num_items + 9])).item() == pytest.approx(mean)


def test_content_solves_two_ridge_regressions(data, training):
    predict = Content(penalty=3.0, user_penalty=2.0, user_damping=4.0, min_titles=4).fit(training)
    found, features = training.ratings, item_features(training.items, 4).numpy()
    users, items = found.user_ids_R.numpy(), found.item_ids_R.numpy()
    given, mean = found.ratings_R.numpy().astype(float), found.ratings_R.double().mean().item()

    def solved(rows, rest, penalties):
        stacked = np.vstack([rows, np.diag(np.sqrt(penalties))])
        return np.linalg.lstsq(stacked, np.r_[rest, np.zeros(len(penalties))], rcond=None)[0]

    F = features.shape[1]
    common = features @ solved(features[items], given - mean, [3.0] * F)
    with_one = np.c_[features, np.ones(len(features))]
    for user in (1, 7, 100):
        mine = users == user
        own = solved(
            with_one[items[mine]], given[mine] - mean - common[items[mine]], [2.0] * F + [4.0]
        )
        expected = mean + common + with_one @ own
        every = torch.arange(len(features))
        predicted = predict(torch.full_like(every, user), every).numpy()
        np.testing.assert_allclose(predicted, expected, atol=1e-6)


def test_content_distinguishes_unrated_items_but_not_unknown_users(data, training):
    rated = training.ratings
    missing = 5
    kept = rated.item_ids_R != missing
    without = replace(
        rated,
        user_ids_R=rated.user_ids_R[kept],
        item_ids_R=rated.item_ids_R[kept],
        ratings_R=rated.ratings_R[kept],
    )
    predict = Content().fit(replace(training, ratings=without))
    fits = Biases().fit(replace(training, ratings=without))
    user, nobody = torch.tensor([3]), torch.tensor([data.num_users + 7])
    unrated, nothing = torch.tensor([missing]), torch.tensor([data.num_items + 9])
    assert fits(user, unrated) == fits(user, nothing)
    assert predict(user, unrated) != predict(user, nothing)
    assert predict(nobody, nothing).item() == pytest.approx(without.ratings_R.double().mean())


def test_title_words_are_features_where_they_stand_in_several_titles(training):
    items = replace(training.items, titles=("The Red Barn", "Red Sky", *training.items.titles[2:]))
    width = training.items.feature_width
    assert item_features(items, 0).shape[1] == width
    with_words = item_features(items, 2)
    assert with_words.shape[1] > width
    lengths = with_words.norm(dim=1)
    assert ((lengths - 1).abs().lt(1e-9) | (lengths == 0)).all()
    assert (with_words[1, width:] * with_words[2, width:]).count_nonzero() == 1, "red"


@pytest.mark.skipif(not is_installed(SurpriseSvd), reason="no scikit-surprise")
def test_the_references_predictions_are_the_librarys_own(data, training):
    surprise = pytest.importorskip("surprise")
    settings = SurpriseSvd(width=4, epochs=3, learning_rate=0.02, penalty=0.1, seed=5)
    predict = settings.fit(training)
    found = training.ratings
    with pytest.MonkeyPatch.context() as patch:
        kept = []
        patch.setattr(
            surprise.SVD, "fit", lambda self, t, fit=surprise.SVD.fit: kept.append(fit(self, t))
        )
        settings.fit(training)
    (library,) = kept
    users, items = found.user_ids_R[:50], found.item_ids_R[50:100]
    ours = predict(users, items)
    theirs = [
        library.predict(u, i, clip=False).est
        for u, i in zip(users.tolist(), items.tolist(), strict=True)
    ]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    beyond = predict(torch.tensor([data.num_users + 3]), torch.tensor([data.num_items + 3]))
    assert beyond.item() == pytest.approx(library.predict("x", "y", clip=False).est)


def test_a_reference_that_is_not_installed_is_skipped_or_refused(
    itrec, rated_shards, tmp_path, monkeypatch
):
    monkeypatch.setattr(SurpriseSvd, "package", "no_such_package")
    code, _, err = itrec(
        "baselines", "--shards", rated_shards, "--out", tmp_path / "x", "--only", "surprise_svd"
    )
    assert code == 2
    assert "surprise_svd needs the package no_such_package, which is not installed" in err
    assert not (tmp_path / "x").exists()
    assert "surprise_svd" not in DATA.baselines.default(manifest.read(rated_shards))
    code, text, err = itrec("baselines", "--shards", rated_shards, "--out", tmp_path / "y")
    assert code == 0, err
    assert "Not installed: surprise_svd" in text


def test_the_baselines_become_runs_that_are_in_order(rated_shards, tmp_path):
    chosen = DATA.baselines.default(manifest.read(rated_shards))
    judged = judge_all(DATA.baselines, rated_shards, tmp_path, chosen)
    for split in ("validation", "test"):
        of_mean = judged["global_mean"][split].groups["ratings"]["rmse"]
        assert judged["biases"][split].groups["ratings"]["rmse"] < of_mean
    told = json.loads((tmp_path / "biases" / "evaluation.json").read_text())
    expected = {split: judgement.to_json() for split, judgement in judged["biases"].items()}
    assert (told["kind"], told["splits"]) == ("baseline", expected)


def test_the_command_picks_the_baselines_that_fit_the_shards(itrec, rated_shards, shards, tmp_path):
    code, text, err = itrec("baselines", "--shards", rated_shards, "--out", tmp_path / "rated")
    assert code == 0, err
    assert re.search(r"^global_mean +test +ratings ", text, re.MULTILINE)
    code, _, err = itrec(
        "baselines", "--shards", rated_shards, "--out", tmp_path / "x", "--only", "ridge"
    )
    assert code == 2
    assert (
        "there is no rating baseline 'ridge'; there are: biases, content, global_mean, surprise_svd"
        in err
    )
    code, _, err = itrec(
        "baselines", "--shards", shards, "--out", tmp_path / "x", "--only", "biases"
    )
    assert code == 2
    assert "there is no baseline 'biases'" in err
