"""RMSE and MAE against plain formulas, exact over any number of workers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchmetrics.functional.regression as library

from itrec_dist.data.batches import micro_batches, whole_batch
from itrec_dist.errors import ShardsError
from itrec_dist.metrics.rating_errors import RatingJudge
from itrec_dist.models.output import RatingOutput
from tests.shards_factory import random_windows

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batch():
    return whole_batch(random_windows(120, target_length=2), CPU)


@pytest.fixture(scope="module")
def predictions(batch):
    return torch.randn(batch.target_ratings_BK.shape, generator=torch.manual_seed(1)) + 3.5


def judged(*parts):
    judge = RatingJudge(4.0, CPU)
    for batch, scores in parts:
        loss_B = (scores - batch.target_ratings_BK).square().mean(1)
        judge.add(batch, RatingOutput(loss_B, scores))
    return judge


def test_the_figures_are_those_of_the_formulas(batch, predictions):
    found = judged((batch, predictions)).judgement().to_json()
    errors = (predictions - batch.target_ratings_BK).double().numpy()
    assert found["num_windows"] == 120
    assert found["ratings"]["rmse"] == pytest.approx(math.sqrt(np.mean(errors**2)), abs=1e-8)
    assert found["ratings"]["mae"] == pytest.approx(np.mean(np.abs(errors)), abs=1e-7)
    assert found["loss"] == pytest.approx(np.mean(errors**2), rel=1e-6)


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_torchmetrics_agrees(seed, width):
    """Predictions on the scale and far beyond it, some of them the rating itself."""
    generator = torch.Generator().manual_seed(seed)
    batch = whole_batch(random_windows(97, target_length=width, seed=seed), CPU)
    weight_B = (torch.rand(97, generator=generator) < 0.8).float()
    batch = replace(batch, weight_B=weight_B)
    spread = 10 * torch.rand(97, 1, generator=generator)
    noise = spread * torch.randn(97, width, generator=generator)
    exact = torch.rand(97, width, generator=generator) < 0.3
    scores = torch.where(exact, batch.target_ratings_BK, batch.target_ratings_BK + noise)
    found = judged((batch, scores)).judgement()
    real = weight_B > 0
    mine, theirs = scores[real].flatten().double(), batch.target_ratings_BK[real].flatten().double()
    assert found.num_windows == int(real.sum())
    rmse = library.mean_squared_error(mine, theirs, squared=False)
    assert found.groups["ratings"]["rmse"] == pytest.approx(float(rmse), abs=1e-6)
    mae = library.mean_absolute_error(mine, theirs)
    assert found.groups["ratings"]["mae"] == pytest.approx(float(mae), abs=1e-6)


def test_small_cases_by_hand(batch):
    one = replace(
        batch,
        **{
            name: value[:2] if isinstance(value, torch.Tensor) else value
            for name, value in vars(batch).items()
        },
    )
    one = replace(one, target_ratings_BK=torch.tensor([[4.0, 2.0], [1.0, 5.0]]))
    found = judged((one, torch.tensor([[3.0, 2.0], [3.0, 5.0]]))).judgement().groups["ratings"]
    assert found["rmse"] == pytest.approx(math.sqrt(5 / 4))
    assert found["mae"] == pytest.approx(3 / 4)


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_any_number_of_workers_gives_the_same_bits(workers, batch, predictions):
    whole = judged((batch, predictions)).judgement().groups["ratings"]
    pieces = zip(micro_batches(batch, workers), predictions.chunk(workers), strict=True)
    states = [judged(piece).state() for piece in pieces]
    summed = RatingJudge(4.0, CPU)
    summed.load(torch.stack(states).sum(0))
    assert summed.judgement().groups["ratings"] == whole


def test_fillers_are_not_counted(batch, predictions):
    real = torch.arange(120) < 50
    padded = replace(batch, weight_B=real.float())
    scores = torch.where(real.unsqueeze(1), predictions, math.nan)
    found = judged((padded, scores)).judgement().to_json()
    errors = (predictions - batch.target_ratings_BK)[:50].double()
    assert found["num_windows"] == 50
    assert found["ratings"]["mae"] == pytest.approx(float(errors.abs().mean()), abs=1e-7)


def test_one_prediction_that_is_not_finite_makes_the_figures_nan(batch, predictions):
    lost = predictions.clone()
    lost[7, 1] = math.nan
    found = judged((batch, lost)).judgement().groups["ratings"]
    assert math.isnan(found["rmse"])
    assert math.isnan(found["mae"])


def test_nothing_to_judge_is_said():
    with pytest.raises(ShardsError, match="nothing to judge"):
        RatingJudge(4.0, CPU).judgement()
