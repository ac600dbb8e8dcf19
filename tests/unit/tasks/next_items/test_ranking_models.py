"""Ranking models of somebody else, models that are none, and the memory of judging."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import pyarrow.parquet as pq
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from itrec_dist.data import spec as data_spec
from itrec_dist.data.batches import whole_batch
from itrec_dist.data.shards import reader
from itrec_dist.errors import ConfigError
from itrec_dist.inference.load import restore
from itrec_dist.losses import LOSSES
from itrec_dist.losses.bce import BceConfig
from itrec_dist.losses.mse import MseConfig
from itrec_dist.models.biased_mf import BiasedMFConfig
from itrec_dist.models.ite import ITEConfig
from itrec_dist.models.item_table import BLOCK
from itrec_dist.models.output import LossOutput, RankingOutput
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.tasks.ratings.task import Ratings
from itrec_dist.training import warm_start
from tests.cases import slow_after
from tests.causal_model import KIND, CausalConfig
from tests.drawn_ties import key
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = ITEConfig(
    width=16, num_layers=1, num_heads=2, feedforward_width=16, dropout=0.0,
    side_information="none", movie_feature_width=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "shards"
    made = make_shards(folder, {"train": random_windows(200)})
    return data_spec.build(made, reader.read_items(folder, made))


@pytest.fixture(scope="module")
def run(itrec, shards, tmp_path_factory):
    """A model of a module that this package does not know of, trained for an epoch."""
    out = tmp_path_factory.mktemp("own") / "run"
    code, text, err = itrec(
        "train", "--local", "--shards", shards, "--out", out, "--model.kind", KIND,
        "--model.width", 12, "--loss", "softmax", "--training.epochs", 1,
        "--training.batch_size", 64, "--optimizer.learning_rate", 0.01, "--cluster.threads", 1,
    )  # fmt: skip
    assert code == 0, err
    assert "epoch   1" in text
    return out


def test_a_model_of_somebody_elses_is_trained_judged_and_recommends(run, itrec, tmp_path):
    restored = restore(run)
    assert isinstance(restored.run.model, CausalConfig)
    assert type(restored.task.model).__name__ == "Causal"
    judged = json.loads((run / "evaluation.json").read_text())
    assert judged["name"] == "causal softmax"
    assert 0 < judged["splits"]["test"]["unmasked"]["hit_rate@20"] < 1
    again = tmp_path / "again.json"
    assert itrec("evaluate", run, "--out", again)[0] == 0
    assert again.read_text() == (run / "evaluation.json").read_text()
    out = tmp_path / "top.parquet"
    code, _, err = itrec("recommend", run, "--out", out, "-k", 3)
    assert code == 0, err
    rows = pq.read_table(out).to_pylist()
    assert {row["rank"] for row in rows} == {1, 2, 3}
    assert len({row["item"] for row in rows}) > 3
    samples = json.loads((run / "samples.json").read_text())
    assert len(samples["users"][0]["predicted"]) == restored.manifest.target_length


def test_another_run_starts_from_its_item_vectors(run, itrec, shards, tmp_path):
    assert warm_start.read(run).vectors_VD.shape == (61, 12)
    code, _, err = itrec(
        "train", "--local", "--shards", shards, "--out", tmp_path / "run", "--model.kind", KIND,
        "--model.width", 12, "--training.epochs", 1, "--item_vectors", run,
        "--optimizer.learning_rate", 1e-9, "--cluster.threads", 1,
    )  # fmt: skip
    assert code == 0, err
    mine, theirs = (warm_start.read(r).vectors_VD[1:] for r in (tmp_path / "run", run))
    torch.testing.assert_close(
        torch.cosine_similarity(mine, theirs), torch.ones(60), atol=1e-4, rtol=0
    )


@dataclass(frozen=True)
class LinearConfig(CausalConfig):
    """A model that cannot rank."""

    task: ClassVar[str] = "next_items"

    def build(self, spec):
        return torch.nn.Linear(2, spec.num_items)


def test_a_model_or_a_loss_of_another_task_is_refused_in_a_sentence(spec):
    with pytest.raises(ConfigError, match="builds a Linear, which has no encode and item_table"):
        NextItems(LinearConfig(), BceConfig(), spec)
    with pytest.raises(ConfigError, match=r"loss=mse does not rank items.*valid: bce, ce, softmax"):
        NextItems(SMALL, MseConfig(), spec)
    with pytest.raises(ConfigError, match="builds a Linear, which is not a RatingModel"):
        Ratings(LinearConfig(), MseConfig(), spec)
    with pytest.raises(ConfigError, match=r"loss=bce does not predict ratings.*valid: mse"):
        Ratings(BiasedMFConfig(), BceConfig(), spec)
    assert [NextItems.accepts(loss()) for loss in (BceConfig, MseConfig)] == [True, False]
    assert [Ratings.accepts(loss()) for loss in (BceConfig, MseConfig)] == [False, True]


def test_a_task_returns_losses_in_training_and_rankings_otherwise(spec):
    task = NextItems(SMALL, BceConfig(), spec)
    batch = whole_batch(random_windows(30, seed=3), torch.device("cpu"))
    assert type(task(batch)) is LossOutput
    task.eval()
    found = task(batch)
    assert isinstance(found, RankingOutput)
    assert found.top_ids_BN.shape == found.unseen_ids_BN.shape == (30, task.depth)
    best, scores = task.top_items(batch, 5, batch.item_ids_BL)
    assert torch.equal(best, found.unseen_ids_BN[:, :5])
    assert torch.equal(scores, scores.sort(dim=1, descending=True).values)


def test_a_model_that_says_nothing_is_judged_by_a_draw_and_recommends_by_id(spec):
    task = NextItems(SMALL, BceConfig(), spec).eval()
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.zero_()
    batch = whole_batch(random_windows(30, seed=3), torch.device("cpu"))
    found = task(batch).top_ids_BN[:, :5]
    for window, top in zip(batch.window_ids_B.tolist(), found.tolist(), strict=True):
        assert top == sorted(range(1, 13), key=lambda item: key(window, item))[:5]
    nobodys = torch.zeros(30, 0, dtype=torch.int64)
    assert task.top_items(batch, 5, nobodys)[0].tolist() == [[1, 2, 3, 4, 5]] * 30


def test_fillers_may_hold_nan_and_real_windows_may_not(spec):
    task = NextItems(SMALL, BceConfig(), spec).eval()
    batch = whole_batch(random_windows(30, seed=3), torch.device("cpu"))
    expected = task(batch)
    ratings_BL = batch.ratings_BL.clone()
    ratings_BL[7] = torch.nan
    spoiled = replace(batch, ratings_BL=ratings_BL, item_ids_BL=batch.item_ids_BL.clamp(min=1))
    with pytest.raises(ConfigError, match="1 of 30 windows hold NaN"):
        task(spoiled)
    weight_B = torch.ones(30)
    weight_B[7] = 0
    found = task(replace(batch, ratings_BL=ratings_BL, weight_B=weight_B))
    others = torch.arange(30) != 7
    assert torch.equal(found.top_ids_BN[others], expected.top_ids_BN[others])


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return result


@pytest.mark.parametrize("loss", slow_after(1, ["softmax", "bce", "ce"]))
def test_all_scores_are_held_in_training_only_where_a_setting_says_so(loss, spec):
    items, windows = 100_000, 256
    large = replace(
        spec, num_items=items, target_counts_C=torch.zeros(items, dtype=torch.int64),
        item_features_VF=torch.zeros(items + 1, 1),
    )  # fmt: skip
    task = NextItems(SMALL, LOSSES[loss](), large).eval()
    batch = whole_batch(random_windows(windows, num_items=items), torch.device("cpu"))
    with torch.inference_mode(), Largest() as largest:
        task(batch)
        task.top_items(batch, 10, batch.item_ids_BL)
    assert windows * BLOCK / 2 < largest.elements < windows * items / 5
    with Largest() as largest:
        task.train()(batch).loss_B.sum().backward()
    assert largest.elements < windows * items / 5
    whole = NextItems(SMALL, LOSSES[loss](memory="whole"), large)
    with Largest() as largest:
        whole(batch)
    assert largest.elements >= windows * items, "the spy sees what training holds"
