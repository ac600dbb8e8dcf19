"""Short trainings under every engine, each on as many workers as there are, for comparison."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from itrec_dist.data import manifest, spec
from itrec_dist.data.batches import Share, TensorTable, micro_batches
from itrec_dist.data.feeds import CachedFeed
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.distributed.context import LocalContext
from itrec_dist.engines import kind_of, optimizer_state
from itrec_dist.engines.deepspeed_settings import DeepSpeedConfig
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.losses.bce import BceConfig
from itrec_dist.metrics.ranking import Judge
from itrec_dist.models.ite import ITEConfig
from itrec_dist.storage import tensors as tensor_files
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.training.loop import evaluate, train_step
from tests.shards_factory import make_shards, random_windows

STEPS = 35
SHORT = 4
PART = 2  # updates of each engine in a chain of engines
BATCH = 8
CPU = torch.device("cpu")
# A width that two workers do not divide evenly.
MODEL = ITEConfig(
    width=15, num_layers=1, num_heads=3, feedforward_width=9, dropout=0.0, movie_feature_width=4,
    repeat_bias=True,
)  # fmt: skip
OPTIMIZER = OptimizerConfig(learning_rate=5e-3, clip_norm=0.3)
ZERO = {
    f"ZeRO-{stage}": EngineConfig("deepspeed", deepspeed=DeepSpeedConfig(stage))
    for stage in (0, 1, 2, 3)
}
ENGINES = {
    "ddp": EngineConfig("ddp"),
    **ZERO,
    "ZeRO-2, offloaded": EngineConfig("deepspeed", deepspeed=DeepSpeedConfig(2, True)),
    "ZeRO-3, offloaded": EngineConfig("deepspeed", deepspeed=DeepSpeedConfig(3, True, True)),
    "fsdp": EngineConfig("fsdp"),
}
ALONE = ("ddp", "ZeRO-3, offloaded", "fsdp")
"""What one worker shows of a whole course, of left-out batches and of low precision; its chain
goes through the others."""
CHAIN = ("ZeRO-1", "ddp", "ZeRO-3", "fsdp", "ZeRO-2", "ZeRO-3, offloaded", "ZeRO-0")


@dataclass
class Course:
    """What a training told of its updates."""

    losses: list[float]
    rates: list[float]
    norms: list[float]


def make_data(folder: Path) -> Path:
    """Shards of 29 training windows and some to judge."""
    splits = {"train": random_windows(29), "test": random_windows(45, seed=1, first_id=29)}
    make_shards(folder, splits)
    return folder


class _Lessened:
    """An engine whose losses are made smaller on their way to its backward."""

    def __init__(self, engine: Any, factor: float) -> None:
        self._engine, self._factor = engine, factor
        self.step = engine.step

    def __call__(self, batch: Any) -> Any:
        return self._engine(batch)

    def backward(self, loss: torch.Tensor) -> None:
        self._engine.backward(loss * self._factor)


class Runs:
    """Trainings of one task on one worker's share of the same batches."""

    def __init__(self, shards: Path, context: Any) -> None:
        self.context = context
        self._data = manifest.read(shards)
        self._spec = spec.build(self._data, reader.read_items(shards, self._data))
        self._feeds = {split: self._feed(shards, split) for split in ("train", "test")}

    def engine(
        self, config: EngineConfig, precision: str = "fp32", optimizer: OptimizerConfig = OPTIMIZER
    ) -> Any:
        """A fresh engine, the same weights each time."""
        torch.manual_seed(0)
        task = NextItems(MODEL, BceConfig(), self._spec)
        config = replace(config, precision=precision, accumulate=2)
        kind = kind_of(config, self.context.world_size)
        return kind(task, config, optimizer, STEPS, CPU)

    def train(
        self, engine: Any, first: int = 0, steps: int = STEPS, discards: int = 0,
        factor: float = 1.0,
    ) -> Course:  # fmt: skip
        """Updates `first + 1` up to `steps`; before each of the first ones a batch is left out.

        The losses learned from are those told times `factor`.
        """
        course = Course([], [], [])
        for number in range(first, steps):
            batch = self._batch(number)
            if number - first < discards:
                self._leave_out(engine, batch, after=number % 2)
            mean = torch.zeros(1)
            for micro in micro_batches(batch, 2):
                total, update = train_step(_Lessened(engine, factor), micro)
                mean += total / batch.denominator / self.context.world_size
            assert update.is_update
            course.losses.append(float(self.context.sum(mean)))
            course.rates.append(update.learning_rate)
            course.norms.append(float(update.grad_norm))
        return course

    def overflow(self, engine: Any) -> tuple[float, float]:
        """An update whose gradients leave fp16's range; its rate and the next one's."""
        batch = self._batch(0)
        for micro in micro_batches(batch, 2):
            loss = (engine(micro).loss_B * micro.weight_B).sum()
            engine.backward(loss * math.inf)
            missed = engine.step()
        assert missed.is_update
        return missed.learning_rate, self.train(engine, steps=1).rates[0]

    def judge(self, engine: Any) -> dict[str, Any]:
        """The figures of the test split."""
        judge = Judge(torch.arange(1, 13), target_length=2)
        return evaluate(engine, self._feeds["test"], judge, self.context).to_json()

    def hand_over(self, engine: Any) -> tuple[dict[str, torch.Tensor], Any]:
        """What a checkpoint would hold, on every worker."""
        weights, state = engine.weights(), engine.state()
        is_first = self.context.rank == 0
        assert (bool(weights), state is not None) == (is_first, is_first)
        plain = self.context.share(replace(state, tensors={}) if is_first else None)
        tensors = self.context.share_tensors(state.tensors if is_first else None)
        return self.context.share_tensors(weights), replace(plain, tensors=tensors)

    def chain(
        self, weights: Any, state: Any, first: int, names: Sequence[str]
    ) -> tuple[list[float], Any, Any]:
        """Go on under one engine after the other; the losses, and what to go on with."""
        losses = []
        for name in names:
            engine = self.engine(ENGINES[name])
            engine.load_weights(weights)
            engine.load_state(state)
            same_weights, same = self.hand_over(engine)
            assert all(torch.equal(same_weights[key], weights[key]) for key in weights)
            assert sorted(same.tensors) == sorted(state.tensors)
            assert all(torch.equal(same.tensors[key], state.tensors[key]) for key in same.tensors)
            assert replace(same, tensors={}) == replace(state, tensors={})
            losses += self.train(engine, first, first + PART).losses
            first += PART
            weights, state = self.hand_over(engine)
        return losses, weights, state

    def _leave_out(self, engine: Any, batch: Any, after: int) -> None:
        """Begin a batch and drop it after some of its micro-batches, its last loss being lost."""
        micros = list(micro_batches(batch, 2))
        for micro in micros[:after]:
            assert not train_step(engine, micro)[1].is_update
        engine(micros[after])
        engine.discard()

    def _batch(self, number: int) -> Any:
        epoch, at = divmod(number, self._feeds["train"].steps_per_epoch)
        return list(self._feeds["train"].epoch((0, epoch + 1)))[at]

    def _feed(self, shards: Path, split: str) -> CachedFeed:
        windows = read_split(shards, self._data, split, LocalContext(CPU).blocks)
        share = Share(BATCH, self.context.rank, self.context.world_size)
        return CachedFeed(TensorTable(windows, CPU), share, CPU)


def everything(
    context: Any,
    shards: Path,
    courses: Mapping[str, int],
    start: Path | None,
    end: Path,
    names: Sequence[str] = CHAIN,
) -> dict[str, Any]:
    """All that the workers of one size have to show of some engines, as plain values.

    A course has as many updates as `courses` says. The chain through the engines of `names` goes on
    from what lies in `start`, if that is given, and its state is left in `end`.
    """
    runs = Runs(shards, context)
    found = _courses(runs, courses)
    first, weights, state = _begin(runs, start)
    found["chain"], weights, state = runs.chain(weights, state, first, names)
    if context.rank == 0:
        write(end, first + PART * len(names), weights, state)
    return found


def all_courses(context: Any, shards: Path, courses: Mapping[str, int]) -> dict[str, Any]:
    """The first part of `everything`, for engines that a chain has been through already."""
    return _courses(Runs(shards, context), courses)


def _courses(runs: "Runs", courses: Mapping[str, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, steps in courses.items():
        config = ENGINES[name]
        engine = runs.engine(config)
        course = runs.train(engine, steps=steps)
        found[name] = {
            "course": course,
            "figures": runs.judge(engine),
            "left out": runs.train(runs.engine(config), steps=SHORT, discards=SHORT).losses,
            "bf16": runs.train(runs.engine(config, "bf16"), steps=SHORT).losses,
            "fp16": runs.train(runs.engine(config, "fp16"), steps=SHORT).losses,
            "overflow": runs.overflow(runs.engine(config, "fp16")),
        }
    return found


def under_ray(settings: dict[str, Any]) -> dict[str, Any]:
    """What a worker of Ray Train does; here, where workers can import it."""
    from itrec_dist.distributed.context import RayContext

    context = RayContext(1)
    names = ALONE if context.world_size == 1 else ENGINES
    courses = dict.fromkeys(names, STEPS)
    return everything(context, settings["shards"], courses, settings["start"], settings["end"])


class Alone:
    """The plain engine in this process, which all others are compared with."""

    def __init__(self, shards: Path) -> None:
        self.runs = Runs(shards, LocalContext(CPU, threads=1))
        self._plain = EngineConfig("single")
        self.course = self.runs.train(self.runs.engine(self._plain))
        assert min(self.course.norms) > OPTIMIZER.clip_norm, "clipping is at work"
        assert self.course.losses[-1] < 0.95 * self.course.losses[0], "something is learned"

    def begin(self, folder: Path) -> None:
        """Leave in `folder` what a chain goes on with."""
        engine = self.runs.engine(self._plain)
        self.runs.train(engine, steps=PART)
        write(folder, PART, *self.runs.hand_over(engine))

    def same_course(self, found: dict[str, Any], steps: int) -> None:
        """Losses, gradient norms, learning rates and the figures after so many updates."""
        course, judged = found["course"], found["figures"]
        assert len(course.losses) == steps
        assert course.losses == pytest.approx(self.course.losses[:steps], rel=1e-5)
        assert course.norms == pytest.approx(self.course.norms[:steps], rel=1e-4)
        assert course.rates == self.course.rates[:steps]
        figures = self._figures(steps)
        assert judged["num_windows"] == figures["num_windows"]
        assert judged["loss"] == pytest.approx(figures["loss"], rel=1e-5)

    def same_low_precision(self, found: dict[str, Any], precision: str) -> None:
        """The losses of the plain engine in low precision, which are not those in full."""
        losses = found[precision]
        assert all(math.isfinite(loss) for loss in losses)
        assert losses != self.course.losses[:SHORT], "nothing was computed in low precision"
        assert losses == pytest.approx(self._short(precision), rel=2e-4)

    def same_chain(self, chain: list[float], end: Path) -> None:
        """A chain that others left in `end`, after which one process goes on."""
        first, weights, state = read(end)
        assert first == PART + len(chain) < STEPS
        engine = self.runs.engine(self._plain)
        engine.load_weights(weights)
        engine.load_state(state)
        chain = chain + self.runs.train(engine, first).losses
        assert chain == pytest.approx(self.course.losses[PART:], rel=1e-5)

    @functools.cache  # noqa: B019 - it lives as long as a module of tests
    def _figures(self, steps: int) -> dict[str, Any]:
        engine = self.runs.engine(self._plain)
        self.runs.train(engine, steps=steps)
        return self.runs.judge(engine)

    @functools.cache  # noqa: B019 - as above
    def _short(self, precision: str) -> list[float]:
        engine = self.runs.engine(self._plain, precision)
        return self.runs.train(engine, steps=SHORT).losses


def _begin(runs: Runs, start: Path | None) -> tuple[int, Any, Any]:
    """What a chain begins with: what others left, or some updates of the plain engine."""
    if start is None:
        engine = runs.engine(EngineConfig("single"))
        runs.train(engine, steps=PART)
        return PART, *runs.hand_over(engine)
    return read(start)


def write(folder: Path, step: int, weights: Any, state: Any) -> None:
    """Leave what a run may go on with."""
    folder.mkdir()
    tensor_files.write(folder / "weights.safetensors", weights)
    optimizer_state.write(folder, state)
    (folder / "step").write_text(str(step))


def read(folder: Path) -> tuple[int, Any, Any]:
    """Take up what `write` left."""
    weights = tensor_files.read(folder / "weights.safetensors")
    return int((folder / "step").read_text()), weights, optimizer_state.read(folder)
