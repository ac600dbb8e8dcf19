"""Short trainings with each loss of a large catalogue, under any engine, for comparison.

What two workers do is done again by one process, on the same rows and with the same draws: it
accumulates the micro-batches of both, and before each of them its generator is that of the worker.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from itrec_dist.data.batches import micro_batches
from itrec_dist.data.history_feeds import HistoryFeed, HistoryShare, HistoryTable, Use
from itrec_dist.data.schema import Batch
from itrec_dist.data.targets_ahead import Ahead
from itrec_dist.distributed.row_sharding import RowSharding
from itrec_dist.engines import kind_of
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.losses import catalogue
from itrec_dist.losses.bce import BceConfig
from itrec_dist.losses.ce import CeConfig
from itrec_dist.losses.gbce import GbceConfig
from itrec_dist.losses.sampled_softmax import SampledSoftmaxConfig
from itrec_dist.losses.softmax import SoftmaxConfig
from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.training.loop import train_step
from tests.engine_runs import ENGINES
from tests.histories_factory import training_rows
from tests.small_models import SPEC, small

CPU = torch.device("cpu")
ITEMS, LONGEST, ACCUMULATE = 40, 14, 2  # two workers do not divide the 41 vectors
ROWS = training_rows(17, longest=LONGEST, items=ITEMS)  # of the last batch, one worker has none
BATCH, WORKERS = 8, 2
CHUNK = (7, 9)  # divides neither the positions nor the items
# Without moments, which would hide a gradient that is too large by a factor.
OPTIMIZER = OptimizerConfig(name="sgd", learning_rate=0.5, beta1=0.0, clip_norm=1.0)
SHARDED = "ddp, sharded items"
NAMES = (*ENGINES, SHARDED)

EXACT = {
    "bce": BceConfig(memory="chunks"),
    "ce": CeConfig(memory="chunks"),
    "softmax": SoftmaxConfig(memory="chunks"),
}
SAMPLED = {
    **{
        f"sampled_softmax, {source}": SampledSoftmaxConfig(negatives=source, num_negatives=7)
        for source in ("uniform", "popularity", "in_batch", "mixed")
    },
    "sampled_softmax, per position": SampledSoftmaxConfig(num_negatives=7, shared=False),
    "gbce": GbceConfig(num_negatives=7),
    "gbce, per position": GbceConfig(num_negatives=7, shared=False),
}
MODELS = {
    # Item vectors are input and output, and every position is learned from.
    "sasrec": SasrecConfig(width=15, num_layers=2, num_heads=3, dropout=0.0),
    # Its output vectors are a weight of their own, and the last position alone is learned from.
    "ite": small("ite", repeat_bias=True),
}
USES: dict[str, Use] = {"sasrec": "steps", "ite": "prefixes"}


@dataclass
class Course:
    """What a training told of its updates."""

    losses: list[float]
    norms: list[float]
    weights: dict[str, torch.Tensor]
    """At the end, on the first worker; without sharded items."""


def losses_of(engine: str) -> dict[str, Any]:
    """The losses that go with an engine."""
    return SAMPLED if engine == SHARDED else {**EXACT, **SAMPLED}


def on_workers(context: Any, engine: str, names: Sequence[str], model: str) -> dict[str, Course]:
    """What each of two workers finds of some losses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "_CHUNK_CPU", CHUNK)
        return {name: _on_worker(context, engine, losses_of(engine)[name], model) for name in names}


def _on_worker(context: Any, engine: str, loss: Any, model: str) -> Course:
    rows = RowSharding(context.rank, WORKERS) if engine == SHARDED else None
    config = ENGINES["ddp" if engine == SHARDED else engine]
    runner = _engine(replace(config, accumulate=ACCUMULATE), loss, model, rows)
    course = Course([], [], {})
    for number, batch in enumerate(batches(model, context.rank, WORKERS)):
        mean = torch.zeros(1)
        for place, micro in enumerate(micro_batches(batch, ACCUMULATE)):
            _draw_as(number, context.rank, place)
            total, update = train_step(runner, micro)
            mean += total / batch.denominator / WORKERS
        assert update.is_update
        course.losses.append(float(context.sum(mean)))
        course.norms.append(float(update.grad_norm))
    course.weights = runner.weights()
    return course


def in_one_process(loss: Any, model: str, *, sharded: bool = False) -> Course:
    """The same as two workers do, by the plain engine."""
    rows = RowSharding(0, 1) if sharded else None
    config = EngineConfig("single", accumulate=WORKERS * ACCUMULATE)
    runner, course = _engine(config, loss, model, rows), Course([], [], {})
    shares = (batches(model, rank, WORKERS) for rank in range(WORKERS))
    for number, both in enumerate(zip(*shares, strict=True)):
        mean = 0.0
        for rank, batch in enumerate(both):
            for place, micro in enumerate(micro_batches(batch, ACCUMULATE)):
                _draw_as(number, rank, place)
                total, update = train_step(runner, micro)
                mean += float(total) / batch.denominator / WORKERS
        course.losses.append(mean)
        course.norms.append(float(update.grad_norm))
    course.weights = runner.weights()
    return course


def on_whole_batches(loss: Any, model: str) -> Course:
    """By the plain engine, every batch at once."""
    runner, course = _engine(EngineConfig("single"), loss, model, None), Course([], [], {})
    for batch in batches(model, 0, 1):
        total, update = train_step(runner, batch)
        course.losses.append(float(total) / batch.denominator)
        course.norms.append(float(update.grad_norm))
    course.weights = runner.weights()
    return course


def _engine(config: EngineConfig, loss: Any, model: str, rows: RowSharding | None) -> Any:
    counts_C = np.bincount(ROWS.item_ids.values, minlength=ITEMS + 1)[1:]
    spec = replace(
        SPEC, num_items=ITEMS, input_length=LONGEST, item_features_VF=torch.zeros(ITEMS + 1, 0),
        target_counts_C=torch.from_numpy(counts_C), num_train_windows=int(counts_C.sum()),
        item_rows=rows,
    )  # fmt: skip
    torch.manual_seed(0)
    task = NextItems(MODELS[model], loss, spec)
    kind = kind_of(config, 1 if config.name == "single" else WORKERS)
    return kind(task, replace(config, precision="fp32"), OPTIMIZER, 100, CPU)


def batches(model: str, rank: int, world_size: int) -> Iterator[Batch]:
    """A worker's share of the batches of an epoch."""
    share = HistoryShare(BATCH, multiple=ACCUMULATE, rank=rank, world_size=world_size)
    width = LONGEST if model == "ite" else None  # its encoder takes no other
    return HistoryFeed(HistoryTable(ROWS, CPU, 1, Ahead(2)), share, CPU, USES[model], width).epoch(
        (0, 1)
    )


def _draw_as(batch: int, rank: int, place: int) -> None:
    """Let the generator be that of a worker at one of its micro-batches."""
    torch.manual_seed(100 * batch + 10 * rank + place)
