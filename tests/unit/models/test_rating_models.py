"""The rating models against slow twins, and what they make of users and items nobody knows."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from itrec_dist.data import spec as data_spec
from itrec_dist.data.batches import whole_batch
from itrec_dist.data.shards import reader
from itrec_dist.data.training_ratings import TrainingRatings
from itrec_dist.losses.mse import MseConfig
from itrec_dist.models.autorec import AutoRecConfig
from itrec_dist.models.biased_mf import BiasedMFConfig
from itrec_dist.models.bst import BSTConfig
from itrec_dist.models.dot_product import DotProductConfig
from itrec_dist.models.neural_mf import NeuralMFConfig
from itrec_dist.models.svdpp import SVDppConfig
from itrec_dist.tasks.ratings.task import Ratings
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
USERS, ITEMS, ROWS = 10, 12, 60
CONFIGS = {
    "dot": DotProductConfig(width=3),
    "scaled": DotProductConfig(width=3, scaled=True),
    "neural": NeuralMFConfig(width=3, hidden_width=5),
    "biased": BiasedMFConfig(width=3, initial_std=0.3),
    "svdpp": SVDppConfig(width=3, initial_std=0.3),
    "item autorec": AutoRecConfig(width=4),
    "user autorec": AutoRecConfig(width=4, side="user"),
    "both autorec": AutoRecConfig(width=4, side="both"),
    "bst": BSTConfig(width=8, hidden_widths=(6,)),
    "bst ids": BSTConfig(width=8, hidden_widths=(6,), genres=False, biases=True),
}


@pytest.fixture(scope="module")
def windows():
    return random_windows(ROWS, ITEMS, target_length=1, num_users=USERS - 2)


@pytest.fixture(scope="module")
def spec(tmp_path_factory, windows):
    folder = tmp_path_factory.mktemp("rated") / "shards"
    made = make_shards(folder, {"train": windows}, num_items=ITEMS, num_users=USERS)
    built = data_spec.build(made, reader.read_items(folder, made))
    return replace(built, rating_min=1.0, rating_max=5.0)


@pytest.fixture(scope="module")
def ratings(windows):
    """Training ratings without those of item 12, which nobody knows then."""
    return TrainingRatings(
        torch.from_numpy(windows.user_ids.astype(np.int64)),
        torch.from_numpy(windows.target_ids[:, 0].astype(np.int64)).clamp(max=ITEMS - 1),
        torch.from_numpy(windows.target_ratings[:, 0]),
    )


@pytest.fixture(params=CONFIGS)
def task(request, spec, ratings):
    return built(CONFIGS[request.param], spec, ratings)


def built(config, spec, ratings, *, stir=True):
    """A task in evaluation mode; its weights are stirred, so that none stays at a special value."""
    torch.manual_seed(0)
    task = Ratings(config, MseConfig(), spec)
    task.fit_statistics(lambda: ratings)
    if stir:
        with torch.no_grad():
            for name, weight in task.model.named_parameters():
                if weight.ndim == 2 and weight.shape[1] > 1 and "embedding" in name:
                    weight[1:] += 0.3 * torch.randn_like(weight[1:])
            if hasattr(task.model, "rated_factors"):
                task.model.rated_factors.weight[1:].normal_(0, 0.3)
    return task.eval()


def predicted(task, batch, item_ids_BN=None):
    with torch.no_grad():
        ids = batch.target_ids_BK if item_ids_BN is None else item_ids_BN
        return task.model(batch, ids)[0]


def by_hand(kind, model, ratings, user, item):
    """One prediction, in loops over plain numbers."""
    weights = {name: w.detach().double().numpy() for name, w in model.named_parameters()}
    if kind in ("dot", "scaled"):
        user_D, item_D = weights["user_embedding.weight"][user], weights["item_embedding.weight"]
        product = sum(a * b for a, b in zip(user_D, item_D[item], strict=True))
        return 1 + 4 / (1 + math.exp(-product)) if kind == "scaled" else product
    if kind == "neural":
        x = [*weights["user_embedding.weight"][user], *weights["item_embedding.weight"][item]]
        hidden = [
            max(0.0, bias + sum(a * b for a, b in zip(row, x, strict=True)))
            for row, bias in zip(weights["hidden.weight"], weights["hidden.bias"], strict=True)
        ]
        output = zip(weights["output.weight"][0], hidden, strict=True)
        return weights["output.bias"][0] + sum(a * b for a, b in output)
    if kind.endswith("autorec"):
        return autorec_by_hand(kind, model, weights, ratings, (user, item))
    factors = list(weights["user_factors.weight"][user])
    if kind == "svdpp":
        rated = [
            i for u, i in zip(ratings.user_ids_R, ratings.item_ids_R, strict=True) if u == user
        ]
        for i in rated:
            for d in range(3):
                factors[d] += weights["rated_factors.weight"][i][d] / math.sqrt(len(rated))
    item_D = weights["item_factors.weight"][item]
    return (
        ratings.ratings_R.double().mean().item()
        + weights["user_bias.weight"][user][0]
        + weights["item_bias.weight"][item][0]
        + sum(a * b for a, b in zip(factors, item_D, strict=True))
    )


def autorec_by_hand(kind, model, weights, ratings, pair):
    """The sum over an item's (or user's, or both's) ratings, unit by unit."""
    users, items = ratings.user_ids_R.tolist(), ratings.item_ids_R.tolist()
    found = bias_of(model, *pair)
    for side, mine in (("user", 0), ("item", 1)):  # which of (user, item) is the example
        if not kind.startswith((side, "both")):
            continue
        of = {name: weights[f"by_{side}.{name}"] for name in ("encoder", "decoder")}
        hidden = list(weights[f"by_{side}.encoder_bias"])
        for of_pair, rating in zip(zip(users, items, strict=True), ratings.ratings_R, strict=True):
            if of_pair[mine] == pair[mine]:
                rest = 1 + float(rating) - bias_of(model, *of_pair)
                for h in range(len(hidden)):
                    hidden[h] += rest * of["encoder"][of_pair[1 - mine]][h]
        units = [1 / (1 + math.exp(-h)) for h in hidden]
        decoded = zip(of["decoder"][pair[1 - mine]], units, strict=True)
        found += weights[f"by_{side}.decoder_bias"][pair[1 - mine]]
        found += sum(a * b for a, b in decoded)
    return found


def bias_of(model, user, item):
    return float(model.mean + model.user_offset_U[user] + model.item_offset_V[item])


@pytest.mark.parametrize(
    "kind",
    ["dot", "scaled", "neural", "biased", "svdpp", "item autorec", "user autorec", "both autorec"],
)
def test_predictions_are_those_computed_by_hand(kind, spec, ratings, windows):
    task = built(CONFIGS[kind], spec, ratings)
    batch = whole_batch(windows, CPU)
    found = predicted(task, batch)
    for row in range(0, ROWS, 7):
        user, item = int(batch.user_ids_B[row]), int(batch.target_ids_BK[row, 0])
        if item == ITEMS:
            continue
        expected = by_hand(kind, task.model, ratings, user, item)
        assert found[row, 0].item() == pytest.approx(expected, abs=1e-4)


def test_the_damped_biases_are_those_computed_by_hand(spec, ratings):
    model = built(CONFIGS["dot"], spec, ratings).model
    rows = list(
        zip(*(t.tolist() for t in (ratings.user_ids_R, ratings.item_ids_R, ratings.ratings_R)),
            strict=True)
    )  # fmt: skip
    mean = sum(r for *_, r in rows) / len(rows)
    item = {}
    for i in range(1, ITEMS + 1):
        rest = [r - mean for _, j, r in rows if j == i]
        item[i] = sum(rest) / (len(rest) + 10)
        assert model.item_offset_V[i].item() == pytest.approx(item[i], abs=1e-6)
    for u in range(1, USERS + 1):
        rest = [r - mean - item[i] for v, i, r in rows if v == u]
        assert model.user_offset_U[u].item() == pytest.approx(sum(rest) / (len(rest) + 5), abs=1e-6)


def test_a_prediction_does_not_depend_on_the_other_items_of_the_call(task, windows):
    batch = whole_batch(windows, CPU)
    several = torch.stack([batch.target_ids_BK[:, 0], torch.full((ROWS,), 3)], dim=1)
    both = predicted(task, batch, several)
    torch.testing.assert_close(both[:, :1], predicted(task, batch), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both[:, 1:], predicted(task, batch, several[:, 1:]),
                               rtol=1e-4, atol=1e-5)  # fmt: skip


def test_the_catalogue_is_scored_item_by_item(task, windows):
    batch = whole_batch(windows.take(np.arange(5)), CPU)
    with torch.no_grad():
        scores = torch.cat(list(task.catalogue_scores(batch)), dim=1)
    assert scores.shape == (5, ITEMS)
    for item in (1, 7, ITEMS):
        alone = predicted(task, batch, torch.full((5, 1), item))
        torch.testing.assert_close(scores[:, item - 1 : item], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stranger", [USERS, USERS + 1, 10**6])
def test_users_without_a_training_rating_are_treated_alike(task, windows, stranger):
    batch = whole_batch(windows, CPU)
    unknown = replace(batch, user_ids_B=torch.full_like(batch.user_ids_B, stranger))
    nobody = replace(batch, user_ids_B=torch.zeros_like(batch.user_ids_B))
    found = predicted(task, unknown)
    assert found.isfinite().all()
    assert torch.equal(found, predicted(task, nobody))
    assert not torch.allclose(found, predicted(task, batch))


@pytest.mark.parametrize("stranger", [ITEMS + 1, 10**6])
def test_items_beyond_the_catalogue_are_treated_alike(task, windows, stranger):
    batch = whole_batch(windows, CPU)
    ids = torch.full_like(batch.target_ids_BK, stranger)
    assert torch.equal(predicted(task, batch, ids), predicted(task, batch, torch.zeros_like(ids)))


@pytest.mark.parametrize(
    "kind", ["dot", "scaled", "neural", "item autorec", "user autorec", "both autorec"]
)
def test_models_of_ids_alone_fall_back_on_the_biases(kind, spec, ratings, windows):
    task = built(CONFIGS[kind], spec, ratings)
    batch = whole_batch(windows, CPU)
    model = task.model
    of_item = predicted(
        task, replace(batch, user_ids_B=torch.full((ROWS,), USERS)), torch.full((ROWS, 1), 4)
    )
    expected = model.mean + model.item_offset_V[4]
    torch.testing.assert_close(of_item, expected.expand(ROWS, 1))
    of_user = predicted(task, batch, torch.full((ROWS, 1), ITEMS))  # item 12 has no rating
    expected = model.mean + model.user_offset_U[batch.user_ids_B.long()]
    torch.testing.assert_close(of_user, expected.unsqueeze(1))


def test_nothing_is_learned_about_unknown_users_and_items(task, windows):
    before = {n: w.detach().clone() for n, w in task.model.named_parameters()}
    batch = whole_batch(windows, CPU)
    task.train()
    optimizer = torch.optim.SGD(task.parameters(), lr=0.05)
    task(batch).loss_B.mean().backward()
    optimizer.step()
    moved = 0
    for name, weight in task.model.named_parameters():
        moved += not torch.equal(weight, before[name])
        if any(part in name for part in ("user_embedding", "item_embedding", "factors", "bias.")):
            assert weight[0].abs().sum() == 0
    assert moved >= 2


def test_judged_predictions_are_clipped_to_the_scale_and_learned_ones_are_not(
    spec, ratings, windows
):
    task = built(CONFIGS["dot"], spec, ratings)
    with torch.no_grad():
        task.model.user_embedding.weight.mul_(10)
    batch = whole_batch(windows, CPU)
    judged = task(batch)
    assert judged.predicted_BK.max() == 5.0
    task.train()
    trained = task(batch)
    unclipped = task.model(batch, batch.target_ids_BK)[0]
    assert unclipped.max() > 5.0
    expected = (unclipped - batch.target_ratings_BK).square().mean(dim=1)
    torch.testing.assert_close(trained.loss_B, expected)
    assert (trained.loss_B > judged.loss_B).any()


def test_the_penalty_is_part_of_the_training_loss_alone(spec, ratings, windows):
    batch = whole_batch(windows, CPU)
    config = replace(CONFIGS["biased"], penalty=0.5, bias_penalty=0.25, balance=0.4)
    task = built(config, spec, ratings)
    judged = task(batch)
    squares = (judged.predicted_BK - batch.target_ratings_BK).square().mean(dim=1)
    torch.testing.assert_close(judged.loss_B, squares)
    task.train()
    model, trained = task.model, task(batch)
    users, items = batch.user_ids_B.long(), model.known_items(batch.target_ids_BK[:, 0])
    factors = [model.user_factors.weight[users], model.item_factors.weight[items]]
    biases = [model.user_bias.weight[users], model.item_bias.weight[items]]
    expected = torch.zeros(ROWS)
    sides = (
        (users, torch.bincount(ratings.user_ids_R), 8),
        (items, torch.bincount(ratings.item_ids_R, minlength=ITEMS), None),
    )
    for (ids, count, present), factor, bias in zip(sides, factors, biases, strict=True):
        mean = ROWS / (present or int((count > 0).sum()))
        number = torch.tensor([float(count[i]) if i and count[i] else 1.0 for i in ids.tolist()])
        expected += 0.5 * (mean / number) ** 0.4 * factor.square().sum(1)
        expected += 0.25 / number * bias.square().sum(1)
    predicted = model(batch, batch.target_ids_BK)[0]
    unclipped = (predicted - batch.target_ratings_BK).square().mean(dim=1)
    torch.testing.assert_close(trained.loss_B, unclipped + expected)


def test_svdpp_penalises_user_and_implicit_factors_separately(spec, ratings, windows):
    batch = whole_batch(windows, CPU)
    config = replace(CONFIGS["svdpp"], balance=0.0, penalty=0.0, bias_penalty=0.0)

    def loss(**penalties):
        return built(replace(config, **penalties), spec, ratings).train()(batch).loss_B

    plain, model = loss(rated_penalty=0.0), built(config, spec, ratings).model
    users, items = batch.user_ids_B.long(), model.known_items(batch.target_ids_BK[:, 0])
    own = model.user_factors.weight[users].square().sum(1)
    of_item = model.item_factors.weight[items].square().sum(1)
    heard = model.rated_factors.weight[items].square().sum(1)
    assert (heard > 0).any()
    torch.testing.assert_close(
        loss(rated_penalty=0.0, penalty=0.5) - plain, 0.5 * (own + of_item), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(loss(rated_penalty=0.5) - plain, 0.5 * heard, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["dot", "neural", "biased"])
def test_sparse_gradients_give_the_step_of_dense_ones(kind, spec, ratings, windows):
    batch = whole_batch(windows, CPU)
    after = []
    for sparse in (False, True):
        config = replace(CONFIGS[kind], sparse_gradients=sparse)
        config = replace(config, dropout=0.0) if kind == "neural" else config
        task = built(config, spec, ratings)
        task.train()
        task(batch).loss_B.mean().backward()
        gradients = [w.grad.is_sparse for n, w in task.model.named_parameters() if "user" in n]
        assert all(gradients) == sparse
        torch.optim.Adagrad(task.parameters(), lr=0.1).step()
        after.append(task.model.state_dict())
    for name, weight in after[0].items():
        torch.testing.assert_close(weight, after[1][name])


# ---------------------------------------------------------------------------- transformer


@pytest.fixture(scope="module")
def bst(spec, ratings):
    return built(CONFIGS["bst"], spec, ratings)


def test_a_bst_reads_items_ratings_order_user_and_target(bst, windows):
    batch = whole_batch(windows, CPU)
    full = (batch.item_ids_BL > 0).all(dim=1)
    before = predicted(bst, batch)[full]
    changes = {
        "item_ids_BL": batch.item_ids_BL % ITEMS + 1,
        "ratings_BL": 6 - batch.ratings_BL,
        "user_features_BF": torch.zeros_like(batch.user_features_BF),
        "target_ids_BK": batch.target_ids_BK % ITEMS + 1,
    }
    for name, value in changes.items():
        assert not torch.allclose(predicted(bst, replace(batch, **{name: value}))[full], before), (
            name
        )
    turned = replace(
        batch, item_ids_BL=batch.item_ids_BL.flip(1), ratings_BL=batch.ratings_BL.flip(1)
    )
    assert not torch.allclose(predicted(bst, turned)[full], before)


def test_a_bst_does_not_read_the_rating_that_it_predicts(bst, windows):
    batch = whole_batch(windows, CPU)
    other = replace(batch, target_ratings_BK=6 - batch.target_ratings_BK)
    assert torch.equal(predicted(bst, other), predicted(bst, batch))


def test_empty_positions_are_not_read(bst, windows):
    batch = whole_batch(windows, CPU)
    is_empty = batch.item_ids_BL == 0
    assert is_empty.any()
    other = replace(batch, ratings_BL=torch.where(is_empty, 5.0, batch.ratings_BL))
    assert torch.equal(predicted(bst, other), predicted(bst, batch))
    none = replace(batch, item_ids_BL=torch.zeros_like(batch.item_ids_BL))
    assert predicted(bst, none).isfinite().all()


def test_an_unrated_item_still_has_its_genres(bst, spec, ratings, windows):
    batch = whole_batch(windows, CPU)
    unrated = torch.full((ROWS, 1), ITEMS)
    nothing = predicted(bst, batch, torch.zeros_like(unrated))
    assert not torch.allclose(predicted(bst, batch, unrated), nothing)
    without = built(CONFIGS["bst ids"], spec, ratings)
    assert torch.equal(predicted(without, batch, unrated), predicted(without, batch, unrated * 0))
