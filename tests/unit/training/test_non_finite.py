"""Losses that are not finite: the step and its windows are named, or the batch is skipped."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from itrec_dist.data.batches import Share, TensorTable, micro_batches
from itrec_dist.data.feeds import CachedFeed
from itrec_dist.distributed.context import LocalContext
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.single import SingleEngine
from itrec_dist.errors import TrainingError
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.log import Recorder
from itrec_dist.tasks.next_items import task as next_items_task
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.training.loop import Trainer, TrainingConfig, train_step
from itrec_dist.training.loss_monitor import LossMonitor, named
from tests.cases import slow_after
from tests.shards_factory import random_windows
from tests.stopped_runs import config_of, go_on, losses, make_data, outcome, start
from tests.unit.training.test_loop import CPU, MODEL, OPTIMIZER, Script, feed_of, make_task

pytestmark = pytest.mark.usefixtures("one_thread")
SEED = 0


def poisoned(loss_B, batch, bad):
    """The losses with those of some windows lost; gradients stay what they were."""
    is_bad_B = torch.isin(batch.window_ids_B, torch.tensor(sorted(bad))) & (batch.weight_B > 0)
    return torch.where(is_bad_B, math.nan, loss_B)


class Poisoned(torch.nn.Module):
    """A task that loses the loss of some windows."""

    def __init__(self, task, bad):
        super().__init__()
        self.model, self._task, self._bad = task.model, [task], bad

    def forward(self, batch):
        found = self._task[0](batch)
        return replace(found, loss_B=poisoned(found.loss_B, batch, self._bad))


def batches_of(windows, epoch):
    """Window ids of each batch of 8, in the order they are trained."""
    return [b.window_ids_B[b.weight_B > 0].tolist() for b in feed_of(windows).epoch((SEED, epoch))]


def train(task, windows, keep=None, recorder=None, **config):
    engine = SingleEngine(task, EngineConfig(accumulate=2), OPTIMIZER, 100, CPU)
    settings = TrainingConfig(batch_size=8, monitor="unmasked/precision@5", **config)
    trainer = Trainer(
        settings, engine, feed_of(windows), LocalContext(CPU),
        recorder or Recorder(None), 2,
    )  # fmt: skip
    script = Script([0.1] * 20)
    every = None if keep is None else 1
    return trainer.train(SEED, script.judge, keep or script.keep, save_steps=every)


# ---------------------------------------------------------------------------- stop


@pytest.mark.parametrize("log_seconds", slow_after(1, [1000.0, 0.0]))
@pytest.mark.parametrize(("epoch", "number"), [(1, 0), (1, 4), (2, 0), (2, 6), (2, 7)])
def test_the_step_and_the_windows_of_its_batch_are_named(epoch, number, log_seconds, tmp_path):
    windows = random_windows(61)
    bad = batches_of(windows, epoch)[number]
    step = (epoch - 1) * 8 + number + 1
    if epoch == 2:  # a window that is bad in the second epoch alone: where its batch is made anew

        class Late(Poisoned):
            seen = 0

            def forward(self, batch):
                self.seen += 1  # two micro-batches a batch
                self._bad = bad if self.seen > 16 else [-1]
                return super().forward(batch)

        task = Late(make_task(tmp_path, windows), bad)
    else:
        task = Poisoned(make_task(tmp_path, windows), bad)
    with pytest.raises(TrainingError) as told:
        train(task, windows, epochs=3, log_seconds=log_seconds)
    where = f"not finite at step {step} of epoch {epoch}, in a batch of {named(bad)}: "
    assert where in str(told.value)
    assert ("checkpoints/last holds step 8" in str(told.value)) == (epoch == 2)
    assert "training.non_finite=skip" in str(told.value)


def test_no_checkpoint_comes_after_the_bad_step(tmp_path):
    windows = random_windows(61)
    kept = []
    task = Poisoned(make_task(tmp_path, windows), batches_of(windows, 1)[5])
    with pytest.raises(TrainingError, match=r"step 6 of epoch 1.*last holds step 5"):
        train(task, windows, lambda _, at, __: kept.append(at.step), log_seconds=1000.0)
    assert kept == [1, 2, 3, 4, 5]


def test_many_windows_are_counted_and_ten_are_named():
    assert named([7]) == "window 7"
    assert named([7, 3]) == "windows 7, 3"
    assert named(range(12)) == "windows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (12 in all)"


# ---------------------------------------------------------------------------- skip


def test_what_is_skipped_leaves_no_trace(tmp_path):
    windows = random_windows(61)
    chosen = {(1, 2), (1, 7), (2, 0)}
    bad = {(epoch, number): batches_of(windows, epoch)[number][0] for epoch, number in chosen}
    # Each of these windows spoils one batch of every epoch.
    lost = [
        [n for n, ids in enumerate(batches_of(windows, epoch)) if set(ids) & set(bad.values())]
        for epoch in (1, 2)
    ]
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    task = make_task(tmp_path / "a", windows)
    outcome = train(
        Poisoned(task, bad.values()), windows, recorder=Recorder(run), epochs=2, non_finite="skip"
    )
    other = make_task(tmp_path / "b", windows)
    engine = SingleEngine(other, EngineConfig(accumulate=2), OPTIMIZER, 100, CPU)
    means = []
    for epoch in (1, 2):
        total, count = 0.0, 0
        for number, batch in enumerate(feed_of(windows).epoch((SEED, epoch))):
            if number not in lost[epoch - 1]:
                total += sum(float(train_step(engine, m)[0]) for m in micro_batches(batch, 2))
                count += int(batch.weight_B.sum())
        means.append(total / count)
    for (name, weight), expected in zip(task.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, expected), name
    assert outcome.skipped == len(lost[0]) + len(lost[1])
    assert outcome.step == 16 - outcome.skipped
    assert [e["loss"] for e in run.events("epoch")] == pytest.approx(means, rel=1e-5)
    assert [e["skipped"] for e in run.events("epoch")] == [len(of_epoch) for of_epoch in lost]
    notes = [event["message"] for event in run.events("note")]
    assert len(notes) == 2, "once per epoch"
    for epoch, note in enumerate(notes, 1):
        assert f"of epoch {epoch} is skipped" in note
        assert named(batches_of(windows, epoch)[lost[epoch - 1][0]]) in note


@pytest.mark.parametrize(("spoiled", "stops"), [(range(3, 12), False), (range(3, 13), True)])
def test_ten_in_a_row_end_training(spoiled, stops, tmp_path):
    windows = random_windows(8 * 16)
    batches = batches_of(windows, 1)
    bad = {batches[number][0] for number in spoiled}
    task = Poisoned(make_task(tmp_path, windows), bad)
    if not stops:
        assert train(task, windows, epochs=1, non_finite="skip").skipped == 9
        return
    with pytest.raises(TrainingError, match="for 10 batches in a row after step 3 of") as told:
        train(task, windows, epochs=1, non_finite="skip")
    assert f"in the last of them {named(batches[12])}: " in str(told.value)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("non finite") / "shards")


# The second and the third of four batches in the first epoch, anywhere in the others.
BAD = set(np.random.default_rng((SEED, 1)).permutation(29)[[9, 20]].tolist())
SKIP = {"training": {"non_finite": "skip"}}


class SpoiledItems(NextItems):
    """The real task, with the losses of two windows lost in training."""

    def forward(self, batch):
        found = super().forward(batch)
        return replace(found, loss_B=poisoned(found.loss_B, batch, BAD))


@pytest.fixture
def spoiled(monkeypatch):
    monkeypatch.setattr(next_items_task, "NextItems", SpoiledItems)


@pytest.mark.usefixtures("spoiled")
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("stop", slow_after(1, [5, 4, 6]))
def test_a_run_that_leaves_batches_out_resumes_to_the_bit(stop, steps, data, tmp_path):
    changes = SKIP | {"checkpoints": {"steps": steps}, "evaluation": {"train_sample": 0}}
    whole = start(config_of(data, tmp_path / "whole", **changes))
    skipped = whole.events("end")[-1]["skipped"]
    assert skipped >= 3, "every epoch meets both windows"
    assert skipped == sum(e["skipped"] for e in whole.events("epoch"))
    run = config_of(data, tmp_path / "run", **changes)
    start(run, stop_at=stop)
    resumed = go_on(run)
    assert outcome(resumed) == outcome(whole)
    assert losses(resumed)[stop:] == losses(whole)[stop:]
    assert resumed.events("end")[-1]["skipped"] == skipped


@pytest.mark.usefixtures("spoiled")
def test_a_run_that_stopped_goes_on_leaving_the_batch_out(data, tmp_path):
    changes = {"checkpoints": {"steps": 1}, "evaluation": {"train_sample": 0}}
    with pytest.raises(TrainingError, match="not finite at step"):
        start(config_of(data, tmp_path / "run", **changes))
    resumed = go_on(config_of(data, tmp_path / "run", **(changes | SKIP)))
    whole = start(config_of(data, tmp_path / "whole", **(changes | SKIP)))
    assert outcome(resumed) == outcome(whole)


# ---------------------------------------------------------------------------- two workers


STILL = {"model": {"dropout": 0.0}, "optimizer": {"name": "sgd"}, "evaluation": {"train_sample": 0}}


def work(context, data, out):
    """What each of the two processes does: a run that stops, and one that leaves batches out."""
    told = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(next_items_task, "NextItems", SpoiledItems)
        try:
            stopping = STILL | {"training": {"log_seconds": 1000.0}}
            start(config_of(data, out / "stopped", **stopping), context)
        except TrainingError as error:
            told = str(error)
        start(config_of(data, out / "skipped", **(STILL | SKIP)), context)
    return told


def test_two_workers_agree_on_what_is_lost(data, pair, tmp_path, spoiled):
    first, second = pair.run(work, data, tmp_path)
    with pytest.raises(TrainingError) as alone:
        start(config_of(data, tmp_path / "alone", **STILL))
    assert first == second == str(alone.value), "one worker is met by the bad window, both tell it"
    one = start(config_of(data, tmp_path / "one", **(STILL | SKIP)))
    two = RunDirectory(tmp_path / "skipped")
    assert [e["message"] for e in two.events("note")] == [e["message"] for e in one.events("note")]
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    for event, other in zip(two.events("epoch"), one.events("epoch"), strict=True):
        assert event["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert event["skipped"] == other["skipped"] > 0


# ---------------------------------------------------------------------------- when to look


def test_looks_are_few_and_lines_come_in_time():
    now = [0.0]
    monitor = LossMonitor(LocalContext(CPU), 2.0, clock=lambda: now[0])
    lines, looks = [], 0
    for pace, count in ((0.01, 2000), (0.1, 300), (0.001, 20_000)):
        monitor.start()
        for _ in range(count):
            now[0] += pace
            monitor.add(torch.tensor(1.0), 4.0)
            if monitor.is_due:
                look = monitor.exchange()
                looks += 1
                if look.is_line_due:
                    lines.append((now[0], look))
        steady = lines[-3:]
        for (before, _), (after, look) in itertools.pairwise(steady):
            assert 2.0 <= after - before < 2.5
            assert look.mean_loss == pytest.approx(0.25)
            assert look.windows_per_second == pytest.approx(4 / pace, rel=1e-6)
    assert looks < 60, "a few to find the pace, then a few per line"


def test_a_pass_that_is_taken_up_again_tells_the_loss_of_its_new_windows_alone():
    monitor = LossMonitor(LocalContext(CPU), 0.0)
    monitor.start(own_loss=1000.0)
    monitor.add(torch.tensor(6.0), 2.0)
    assert monitor.is_due
    look = monitor.exchange()
    assert (look.loss, look.mean_loss, look.finite, look.is_line_due) == (1006.0, 3.0, 1, True)


def test_feeds_give_the_same_batch_again():
    windows = random_windows(61)
    feed = CachedFeed(TensorTable(windows, CPU), Share(8), CPU)
    assert MODEL.dropout == 0.0
    once = [b.window_ids_B.tolist() for b in feed.epoch((1, 2))]
    assert [next(iter(feed.epoch((1, 2), skip=n))).window_ids_B.tolist() for n in range(8)] == once
