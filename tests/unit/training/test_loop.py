import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from itrec_dist import metrics
from itrec_dist.data import spec as data_spec
from itrec_dist.data.batches import Share, TensorTable, whole_batch
from itrec_dist.data.feeds import CachedFeed
from itrec_dist.data.shards import reader
from itrec_dist.distributed.context import LocalContext
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.engines.single import InferenceEngine, SingleEngine
from itrec_dist.errors import TrainingError
from itrec_dist.losses.bce import BceConfig
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.metrics.ranking import Judge
from itrec_dist.metrics.rating_errors import RatingJudge
from itrec_dist.models.ite import ITEConfig
from itrec_dist.models.output import LossOutput, RatingOutput
from itrec_dist.models.rank import both_rankings
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.log import Recorder
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.training.loop import (
    Trainer,
    TrainingConfig,
    TrainingResult,
    evaluate,
    train_step,
)
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
MODEL = ITEConfig(
    width=16, num_layers=1, num_heads=2, feedforward_width=16, dropout=0.0, movie_feature_width=4
)
OPTIMIZER = OptimizerConfig(learning_rate=1e-2, schedule="constant", warmup_fraction=0.0)


def feed_of(windows, batch_size=8):
    return CachedFeed(TensorTable(windows, CPU), Share(batch_size), CPU)


def make_task(folder, windows):
    data = make_shards(folder, {"train": windows})
    torch.manual_seed(0)
    return NextItems(MODEL, BceConfig(), data_spec.build(data, reader.read_items(folder, data)))


def judgement(value):
    figures = {"precision@5": value, "ndcg@10": value / 2}
    return Judgement(1 - value, 3, {"unmasked": figures, "masked": figures})


class Script:
    """Judges epochs by a given list of figures, and notes what is kept."""

    def __init__(self, values):
        self._values = iter(values)
        self.kept = []
        self.reported = []

    def judge(self):
        value = next(self._values)
        return None, None if value is None else judgement(value)

    def keep(self, names, at, value):
        self.kept.append((tuple(names), at.epoch, at.step, value))

    def train(self, config, task=None, windows=None, recorder=None, **engine):
        config = replace(config, monitor=config.monitor or "unmasked/precision@5")
        windows = windows or random_windows(20)
        context = LocalContext(CPU)
        context.report = self.reported.append
        task = task or Constant()
        runner = SingleEngine(task, EngineConfig(**engine), OPTIMIZER, 100, CPU)
        trainer = Trainer(
            config, runner, feed_of(windows), context, recorder or Recorder(None),
            engine.get("accumulate", 1),
        )  # fmt: skip
        return trainer.train(0, self.judge, self.keep)


class Constant(nn.Module):
    """A task whose loss is its one weight squared, plus the window's id if asked for."""

    def __init__(self, start=1.0, by_window=False):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[start]]))
        self._by_window = by_window

    def forward(self, batch):
        loss = self.weight.square().expand(len(batch.weight_B), 1).squeeze(1)
        if self._by_window:
            loss = loss * 0 + batch.window_ids_B
        return LossOutput(loss)


# ---------------------------------------------------------------------------- epochs


def test_the_best_epoch_is_the_first_of_the_highest():
    script = Script([0.1, 0.3, 0.2, 0.3])
    outcome = script.train(TrainingConfig(epochs=4, batch_size=8))
    assert outcome == TrainingResult("finished", best_epoch=2, step=12)
    assert script.kept == [
        (("best", "last"), 1, 3, 0.1), (("best", "last"), 2, 6, 0.3),
        (("last",), 3, 9, 0.2), (("last",), 4, 12, 0.3),
    ]  # fmt: skip
    assert [(r["epoch"], r["monitor"]) for r in script.reported] == [
        (1, 0.1), (2, 0.3), (3, 0.2), (4, 0.3),
    ]  # fmt: skip


def test_a_monitored_loss_is_best_when_lowest():
    script = Script([0.1, 0.3, 0.2])
    outcome = script.train(TrainingConfig(epochs=3, batch_size=8, monitor="loss"))
    assert outcome.best_epoch == 2
    assert [value for *_, value in script.kept] == pytest.approx([0.9, 0.7, 0.8])
    script = Script([0.3, 0.2, 0.1])
    assert script.train(TrainingConfig(epochs=3, monitor="loss")).best_epoch == 1


@pytest.mark.parametrize(
    ("values", "patience", "stopped_after", "best"),
    [
        ([0.5, 0.4, 0.4, 0.9, 0.9], 2, 3, 1),
        ([0.5, 0.4, 0.6, 0.1, 0.1, 0.9], 2, 5, 3),
        ([0.5, 0.5, 0.9], 1, 2, 1),
    ],
)
def test_patience_counts_epochs_since_the_best(values, patience, stopped_after, best):
    script = Script(values)
    outcome = script.train(TrainingConfig(epochs=len(values), batch_size=8, patience=patience))
    assert outcome == TrainingResult("stopped early", best, 3 * stopped_after)
    assert len(script.kept) == stopped_after


def test_patience_that_never_runs_out_finishes():
    script = Script([0.1, 0.2, 0.1, 0.2, 0.3])
    outcome = script.train(TrainingConfig(epochs=5, batch_size=8, patience=3))
    assert outcome == TrainingResult("finished", 5, 15)


def test_without_validation_the_newest_epoch_is_kept_without_a_figure():
    script = Script([None, None])
    assert script.train(TrainingConfig(epochs=2, batch_size=8)).best_epoch == 2
    assert script.kept == [(("best", "last"), 1, 3, None), (("best", "last"), 2, 6, None)]


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_the_epoch_loss_is_the_mean_over_windows_not_over_batches(accumulate):
    script = Script([0.1])
    windows = random_windows(21)  # batches of 8, 8 and 5
    script.train(
        TrainingConfig(epochs=1, batch_size=8), Constant(by_window=True), windows,
        accumulate=accumulate,
    )  # fmt: skip
    assert script.reported[0]["loss"] == pytest.approx(sum(range(21)) / 21)


def test_the_log_holds_what_happened(tmp_path):
    run = RunDirectory(tmp_path)
    Script([0.1, 0.2]).train(
        TrainingConfig(epochs=2, batch_size=8, log_seconds=0), recorder=Recorder(run)
    )
    epochs = run.events("epoch")
    assert [(e["epoch"], e["step"], e["is_best"]) for e in epochs] == [(1, 3, True), (2, 6, True)]
    assert all(e["validation"]["unmasked"]["precision@5"] == 0.1 * e["epoch"] for e in epochs)
    steps = run.events("progress")
    assert [(e["epoch"], e["step"]) for e in steps] == [
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 4),
        (2, 5),
        (2, 6),
    ]
    assert all(e["windows_per_second"] > 0 and e["learning_rate"] == 1e-2 for e in steps)
    assert steps[0]["loss"] == pytest.approx(1.0)


# ---------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("log_seconds", [0.0, 1000.0])
@pytest.mark.parametrize("start", [math.nan, math.inf, 1e30])
def test_a_loss_that_is_not_finite_ends_training_naming_the_step(start, log_seconds):
    script = Script([0.1])
    config = TrainingConfig(epochs=1, batch_size=8, log_seconds=log_seconds)
    with pytest.raises(TrainingError, match=r"loss is not finite at step 1 of epoch 1") as refusal:
        script.train(config, Constant(start))
    assert "optimizer.learning_rate" in str(refusal.value)
    assert "checkpoints/last" not in str(refusal.value), "there is none yet"
    assert script.kept == []


@pytest.mark.parametrize("monitor", ["loss", "unmasked/precision@5"])
def test_a_validation_figure_that_is_not_finite_ends_training(monitor):
    script = Script([0.1, math.nan])
    with pytest.raises(TrainingError, match=rf"validation {monitor} is nan at step 6 of epoch 2"):
        script.train(TrainingConfig(epochs=2, batch_size=8, monitor=monitor))
    assert [epoch for _, epoch, *_ in script.kept] == [1]


# ---------------------------------------------------------------------------- settings


def test_every_monitor_is_a_figure_that_a_judge_gives():
    judge = Judge(torch.arange(1, 13), target_length=2)
    batch = whole_batch(random_windows(20), CPU)
    scores = torch.randn(20, 12)
    rankings = both_rankings([scores], 20, batch.item_ids_BL)
    judge.update(*rankings, batch.target_ids_BK, batch.weight_B)
    judge.add_loss(40.0, 20)
    found = judge.judgement()
    of_ratings = RatingJudge(4.0, CPU)
    of_ratings.add(batch, RatingOutput(torch.ones(20), torch.full((20, 2), 3.0)))
    monitors = metrics.monitors(metrics.groups(), MetricChoice())
    assert len(monitors) == 1 + 2 * 5 * 3 + 2
    for monitor in map(str, monitors):
        config = TrainingConfig(monitor=monitor)
        judgement = of_ratings.judgement() if monitor.startswith("ratings/") else found
        assert math.isfinite(config.value(judgement))
    assert TrainingConfig(monitor="loss").value(found) == 2.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("monitor", "precision@5"),
        ("monitor", "unmasked/"),
        ("monitor", "accuracy"),
        ("epochs", 0),
        ("batch_size", 0),
        ("patience", 0),
    ],
)
def test_an_impossible_setting_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"training\.(epochs and training\.)?{field}"):
        replace(TrainingConfig(), **{field: value})
    if field == "monitor":
        with pytest.raises(ValueError, match=r"valid: loss, unmasked/precision@5, "):
            TrainingConfig(monitor=value)


# ---------------------------------------------------------------------------- one step, judging


def test_a_step_returns_the_sum_over_real_windows():
    windows = random_windows(11)
    (_, short) = feed_of(windows).epoch(None)
    engine = SingleEngine(Constant(by_window=True), EngineConfig(), OPTIMIZER, 10, CPU)
    total, update = train_step(engine, short)
    assert total.item() == 8 + 9 + 10
    assert not total.requires_grad
    assert update.is_update


def test_training_lowers_the_loss_of_what_it_saw(tmp_path: Path):
    windows = random_windows(64)
    task = make_task(tmp_path / "s", windows)
    script = Script([0.1] * 12)
    script.train(TrainingConfig(epochs=12, batch_size=8), task, windows)
    losses = [r["loss"] for r in script.reported]
    assert losses[-1] < 0.85 * losses[0]


@pytest.mark.parametrize("batch_size", [1, 7, 16, 1000])
def test_judging_does_not_depend_on_the_batch_size(batch_size, tmp_path):
    windows = random_windows(50)
    task = make_task(tmp_path / "s", windows)
    with torch.no_grad():
        for weight in task.parameters():
            weight.copy_(torch.randn(weight.shape))
    engine = InferenceEngine(task, EngineConfig(), CPU)

    def judged(size):
        judge = Judge(torch.arange(1, 13), target_length=2)
        return evaluate(engine, feed_of(windows, size), judge, LocalContext(CPU))

    found, expected = judged(batch_size), judged(50)
    assert found.num_windows == expected.num_windows
    for ranking in ("unmasked", "masked"):
        assert found.groups[ranking] == expected.groups[ranking]
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)


def test_a_judgement_is_of_the_model_without_dropout_and_leaves_it_in_training(tmp_path):
    windows = random_windows(50)
    data = make_shards(tmp_path, {"train": windows})
    spec = data_spec.build(data, reader.read_items(tmp_path, data))
    task = NextItems(replace(MODEL, dropout=0.5), BceConfig(), spec)
    engine = SingleEngine(task, EngineConfig(), OPTIMIZER, 10, CPU)
    losses = []
    for _ in range(2):
        judge = Judge(spec.target_counts_C, target_length=2)
        found = evaluate(engine, feed_of(windows), judge, LocalContext(CPU))
        losses.append(found.loss)
        assert task.training
        json.dumps(found.to_json(), allow_nan=False)
    task.eval()
    batch = whole_batch(windows, CPU)
    assert losses == [pytest.approx(task(batch).loss_B.mean().item(), rel=1e-6)] * 2
