"""The engines: the same numbers however a batch is cut, on one process and on two."""

from dataclasses import dataclass, replace

import pytest
import safetensors.torch
import torch

from itrec_dist.data import manifest
from itrec_dist.data import spec as data_spec
from itrec_dist.data.batches import Share, TensorTable, micro_batches
from itrec_dist.data.batches import whole_batch as all_of
from itrec_dist.data.feeds import CachedFeed
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.distributed.context import LocalContext
from itrec_dist.engines.ddp import DDPEngine
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.engines.single import InferenceEngine, SingleEngine
from itrec_dist.losses.bce import BceConfig
from itrec_dist.metrics.ranking import Judge
from itrec_dist.models.ite import ITEConfig
from itrec_dist.runs.log import Recorder
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.training.loop import Trainer, TrainingConfig, evaluate, train_step
from tests.cases import slow_after
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
MODEL = ITEConfig(
    width=16, num_layers=1, num_heads=2, feedforward_width=16, dropout=0.0, movie_feature_width=4
)
SGD = OptimizerConfig(name="sgd", learning_rate=0.02, schedule="linear", warmup_fraction=0.3)
ADAMW = OptimizerConfig(learning_rate=3e-3)
CLIPPED = replace(SGD, clip_norm=0.5)
BATCH = 8


@dataclass(frozen=True)
class Case:
    """A short training; 29 windows are three batches of 8 and one of 5."""

    optimizer: OptimizerConfig
    accumulate: int = 1
    precision: str = "fp32"


CASES = {
    "sgd": Case(SGD),
    "sgd, accumulated": Case(SGD, accumulate=2),
    "clipped": Case(CLIPPED),
    "clipped, accumulated": Case(CLIPPED, accumulate=2),
    "adamw": Case(ADAMW),
    "bf16": Case(SGD, precision="bf16"),
    "fp16, accumulated, clipped": Case(CLIPPED, accumulate=2, precision="fp16"),
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines") / "shards"
    splits = {"train": random_windows(29), "test": random_windows(45, seed=1, first_id=29)}
    make_shards(folder, splits)
    return folder


def fresh_task(shards, dropout=0.0):
    data = manifest.read(shards)
    spec = data_spec.build(data, reader.read_items(shards, data))
    torch.manual_seed(0)
    return NextItems(replace(MODEL, dropout=dropout), BceConfig(), spec)


def feed_of(shards, split, context, batch_size=BATCH):
    windows = read_split(shards, manifest.read(shards), split, LocalContext(CPU).blocks)
    share = Share(batch_size, context.rank, context.world_size)
    return CachedFeed(TensorTable(windows, CPU), share, CPU)


def engine_of(kind, task, case):
    config = EngineConfig(precision=case.precision, accumulate=case.accumulate)
    return kind(task, config, case.optimizer, 8, CPU)


def leave_out(engine, batch, case, after):
    """Begin a batch and drop it after some of its micro-batches, its last loss being lost."""
    micros = list(micro_batches(batch, case.accumulate))
    for micro in micros[:after]:
        assert not train_step(engine, micro)[1].is_update
    engine(micros[after])
    engine.discard()


def train(shards, case, context, kind, discards=False):
    """Two epochs; returns the global loss per step, the figures after it, and the weights.

    With `discards`, each batch is begun and left out before it is trained.
    """
    task = fresh_task(shards)
    engine = engine_of(kind, task, case)
    feed = feed_of(shards, "train", context)
    losses = []
    for epoch in (1, 2):
        for batch in feed.epoch((0, epoch)):
            mean = torch.zeros(1)
            if discards:
                leave_out(engine, batch, case, len(losses) % case.accumulate)
            for micro in micro_batches(batch, case.accumulate):
                total, update = train_step(engine, micro)
                mean += total / batch.denominator / context.world_size
            assert update.is_update
            losses.append(float(context.sum(mean)))
    judge = Judge(torch.arange(1, 13), target_length=2)
    figures = evaluate(engine, feed_of(shards, "test", context, 16), judge, context).to_json()
    weights = {name: value.detach().clone() for name, value in task.state_dict().items()}
    return losses, figures, weights


def train_by_loop(shards, context, kind):
    """The mean loss of each epoch, as the loop reports it."""
    reported = []
    context.report = reported.append
    engine = engine_of(kind, fresh_task(shards), CASES["sgd, accumulated"])
    trainer = Trainer(
        TrainingConfig(epochs=2, batch_size=BATCH), engine, feed_of(shards, "train", context),
        context, Recorder(None), 2,
    )  # fmt: skip
    trainer.train(0, lambda: (None, None), lambda *_: None)
    return [metrics["loss"] for metrics in reported]


def work(context, shards, out):
    """What each of the two processes does: every case, and one through the loop."""
    found = {}
    for number, (name, case) in enumerate(CASES.items()):
        losses, figures, weights = train(shards, case, context, DDPEngine)
        found[name] = {"losses": losses, "figures": figures}
        safetensors.torch.save_file(weights, out / f"{number}-{context.rank}.safetensors")
    found["loop"] = train_by_loop(shards, context, DDPEngine)
    case = CASES["clipped, accumulated"]
    found["left out"] = train(shards, case, context, DDPEngine, discards=True)[0]
    return found


@pytest.fixture(scope="module")
def two_workers(shards, pair, tmp_path_factory):
    """What both processes found: a list by rank of case -> losses, figures and weights."""
    out = tmp_path_factory.mktemp("two")
    found = pair.run(work, shards, out)
    for rank in range(2):
        for number, name in enumerate(CASES):
            weights = safetensors.torch.load_file(out / f"{number}-{rank}.safetensors")
            found[rank][name]["weights"] = weights
    return found


@pytest.mark.parametrize("name", CASES)
def test_two_workers_train_like_one(name, shards, two_workers):
    case = CASES[name]
    losses, _, weights = train(shards, case, LocalContext(CPU), SingleEngine)
    start = fresh_task(shards).state_dict()
    assert max((weights[key] - start[key]).abs().max() for key in start) > 0.005
    loose = case.precision != "fp32"
    for rank in range(2):
        found = two_workers[rank][name]
        assert len(found["losses"]) == 8
        assert found["losses"] == pytest.approx(losses, rel=5e-3 if loose else 1e-5)
        for key, value in weights.items():
            # Half precision rounds a gradient's sum otherwise when it is cut in two.
            atol = 5e-3 if loose else 2e-4 if name == "adamw" else 1e-5
            torch.testing.assert_close(found["weights"][key], value, atol=atol, rtol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_both_workers_have_bit_identical_weights(name, two_workers):
    one, other = (found[name]["weights"] for found in two_workers)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert two_workers[0][name]["figures"] == two_workers[1][name]["figures"]


def test_the_loop_reports_the_same_epoch_losses_on_two_workers(shards, two_workers):
    alone = train_by_loop(shards, LocalContext(CPU), SingleEngine)
    assert two_workers[0]["loop"] == two_workers[1]["loop"] == pytest.approx(alone, rel=1e-6)


def test_evaluation_on_two_workers_is_bit_identical_to_one(shards, two_workers):
    """The weights that two workers ended with, judged by one process in batches of its own."""
    found = two_workers[0]["sgd"]
    task = fresh_task(shards)
    task.load_state_dict(found["weights"], strict=True)
    context = LocalContext(CPU)
    for batch_size in (16, 7, 64):
        judge = Judge(torch.arange(1, 13), target_length=2)
        engine = InferenceEngine(task, EngineConfig(), CPU)
        feed = feed_of(shards, "test", context, batch_size)
        alone = evaluate(engine, feed, judge, context).to_json()
        for ranking in ("unmasked", "masked", "num_windows"):
            assert found["figures"][ranking] == alone[ranking]
        assert found["figures"]["loss"] == pytest.approx(alone["loss"], rel=1e-6)
    assert alone["num_windows"] == 45


def test_a_skipped_batch_leaves_no_trace_on_two_workers(two_workers):
    for found in two_workers:
        assert found["left out"] == found["clipped, accumulated"]["losses"]


# ---------------------------------------------------------------------------- one process


@pytest.mark.parametrize("name", ["clipped, accumulated", "adamw", "fp16, accumulated, clipped"])
def test_a_skipped_batch_leaves_no_trace(name, shards):
    case, context = CASES[name], LocalContext(CPU)
    losses, _, weights = train(shards, case, context, SingleEngine)
    again, _, same = train(shards, case, context, SingleEngine, discards=True)
    assert again == losses
    assert all(torch.equal(same[key], weights[key]) for key in weights)


def steps(shards, case, count=5):
    """The weights after some whole batches, and what each step said."""
    task = fresh_task(shards)
    return steps_of(shards, case, task, engine_of(SingleEngine, task, case), count)


def steps_of(shards, case, task, engine, count=5):
    batches = list(feed_of(shards, "train", LocalContext(CPU)).epoch((0, 1)))
    updates = []
    for number in range(count):
        for micro in micro_batches(batches[number % len(batches)], case.accumulate):
            updates.append(train_step(engine, micro)[1])
    return dict(task.named_parameters()), updates


@pytest.mark.parametrize("optimizer", [SGD, CLIPPED], ids=["plain", "clipped"])
@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_accumulating_gives_the_weights_of_whole_batches(optimizer, accumulate, shards):
    whole, at_once = steps(shards, Case(optimizer))
    cut, updates = steps(shards, Case(optimizer, accumulate))
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], atol=1e-6, rtol=1e-5)
    assert [u.is_update for u in updates] == ([False] * (accumulate - 1) + [True]) * 5
    done = [u for u in updates if u.is_update]
    assert [u.learning_rate for u in done] == [u.learning_rate for u in at_once]
    norms = [[u.grad_norm for u in some] for some in (done, at_once)]
    if optimizer.clip_norm is None:
        assert norms == [[None] * 5] * 2
    else:
        assert torch.stack(norms[0]).tolist() == pytest.approx(torch.stack(norms[1]).tolist())
        assert min(norms[1]) > optimizer.clip_norm, "clipping was at work"


def test_a_step_is_torchs_own_by_hand(shards):
    """One clipped step of plain gradient descent, written out."""
    optimizer = replace(CLIPPED, beta1=0.0, weight_decay=0.0)
    after, (update,) = steps(shards, Case(optimizer), count=1)
    task = fresh_task(shards)
    (batch, *_) = feed_of(shards, "train", LocalContext(CPU)).epoch((0, 1))
    task(batch).loss_B.mean().backward()
    norm = torch.cat([p.grad.flatten() for p in task.parameters()]).norm()
    assert update.grad_norm.item() == pytest.approx(norm.item(), rel=1e-5)
    for name, weight in task.named_parameters():
        expected = weight - update.learning_rate * weight.grad * 0.5 / norm
        torch.testing.assert_close(after[name], expected, atol=1e-6, rtol=1e-4)


def test_the_learning_rate_follows_the_schedule(shards):
    optimizer = replace(SGD, learning_rate=0.08, warmup_fraction=0.25)
    _, updates = steps(shards, Case(optimizer, accumulate=2), count=8)
    rates = [u.learning_rate for u in updates if u.is_update]
    rest = [0.08 * (6 - step) / 6 for step in range(6)]
    assert rates == pytest.approx([0.04, 0.08, *rest])


@pytest.mark.parametrize("optimizer", slow_after(2, ["adamw", "adagrad", "adam", "sgd"]))
@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_stays_near_full(optimizer, clip_norm, precision, shards):
    config = replace(SGD, name=optimizer, learning_rate=1e-3, clip_norm=clip_norm)
    full, _ = steps(shards, Case(config))
    low, _ = steps(shards, Case(config, precision=precision))
    start = dict(fresh_task(shards).named_parameters())
    moved = torch.cat([(full[n] - start[n]).flatten() for n in full])
    moved_low = torch.cat([(low[n] - start[n]).flatten() for n in full])
    assert moved.norm() > 0
    assert all(p.dtype == torch.float32 for p in low.values())
    assert torch.cosine_similarity(moved, moved_low, dim=0) > 0.97
    assert (moved_low.norm() / moved.norm()).item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "adagrad"])
def test_an_overflow_under_fp16_skips_the_step_without_a_trace(optimizer, clip_norm, shards):
    task = fresh_task(shards)
    config = replace(SGD, name=optimizer, clip_norm=clip_norm)
    engine = engine_of(SingleEngine, task, Case(config, precision="fp16"))
    (batch, *_) = feed_of(shards, "train", LocalContext(CPU)).epoch((0, 1))
    before = {name: p.detach().clone() for name, p in task.named_parameters()}
    engine.backward(engine(batch).loss_B.sum() * float("inf"))
    missed = engine.step()
    assert all(torch.equal(p, before[name]) for name, p in task.named_parameters())
    _, update = train_step(engine, batch)
    assert update.learning_rate == missed.learning_rate, "the schedule counts real updates"
    once, _ = steps(shards, Case(config, precision="fp16"), count=1)
    for name, weight in task.named_parameters():
        torch.testing.assert_close(weight, once[name], atol=1e-5, rtol=1e-3)


@pytest.mark.slow  # compiling takes a minute
def test_a_compiled_engine_learns_and_scores_as_a_plain_one(shards):
    case = Case(CLIPPED, accumulate=2)
    plain, _ = steps(shards, case)
    task = fresh_task(shards)
    names = list(task.state_dict())
    engine = SingleEngine(task, EngineConfig(compile="default", accumulate=2), CLIPPED, 8, CPU)
    compiled, _ = steps_of(shards, case, task, engine)
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, atol=1e-6, rtol=1e-5)
    batch = all_of(random_windows(20), CPU)
    engine.train(False)
    with torch.inference_mode():
        ours, theirs = engine(batch), task(batch)
        torch.testing.assert_close(ours.loss_B, theirs.loss_B)
        assert (ours.top_ids_BN == theirs.top_ids_BN).float().mean() > 0.99
    assert list(task.state_dict()) == names, "checkpoints do not depend on compiling"


def test_dropout_is_on_in_training_and_off_in_evaluation(shards):
    task = fresh_task(shards, dropout=0.5)
    engine = engine_of(SingleEngine, task, Case(SGD))
    batch = all_of(random_windows(20), CPU)
    engine.train(True)
    assert not torch.equal(engine(batch).loss_B, engine(batch).loss_B)
    engine.train(False)
    assert torch.equal(engine(batch).loss_B, engine(batch).loss_B)


def test_the_inference_engine_keeps_no_graph(shards):
    task = fresh_task(shards, dropout=0.5)
    engine = InferenceEngine(task, EngineConfig(precision="bf16"), CPU)
    engine.train(False)
    output = engine(all_of(random_windows(20), CPU))
    assert not output.loss_B.requires_grad
    assert output.loss_B.dtype == torch.float32
    assert output.top_ids_BN.dtype == torch.int64


def test_accumulating_zero_batches_is_refused():
    with pytest.raises(ValueError, match=r"engine.accumulate=0"):
        EngineConfig(accumulate=0)
