"""Trainings of one small model on item vectors that are sharded over workers, for comparison."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from itrec_dist.data import manifest
from itrec_dist.data import spec as data_spec
from itrec_dist.data.batches import Share, TensorTable, micro_batches
from itrec_dist.data.feeds import CachedFeed
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.distributed.context import LocalContext
from itrec_dist.distributed.row_sharding import RowSharding
from itrec_dist.engines import kind_of
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.models.gru4rec import Gru4recConfig
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.training.loop import train_step
from tests.shards_factory import make_shards, random_windows

NUM_ITEMS, DRAWN = 23, 11  # no number of workers divides the items; the last ones are rarely used
WIDTH, BATCH, STEPS = 8, 8, 6
MODEL = Gru4recConfig(width=WIDTH, dropout=0.0)
CPU = torch.device("cpu")

OPTIMIZERS = {
    "adamw": OptimizerConfig(learning_rate=0.03, clip_norm=0.5),
    "adagrad": OptimizerConfig(name="adagrad", learning_rate=0.1),
    "sgd": OptimizerConfig(name="sgd", learning_rate=0.1, beta1=0.0, clip_norm=0.5),
}


@dataclass(frozen=True)
class FirstItems:
    """Softmax over the targets and the first items: what is drawn depends on no worker."""

    kind: str = "first_items"
    shared: bool = True

    def per_query(self, queries: Any, target_ids_NK: torch.Tensor, table: Any) -> torch.Tensor:
        ids = torch.arange(1, DRAWN + 1).unsqueeze(0)
        if self.shared:
            target_NK, drawn_NM = table.scores_of_shared(queries, target_ids_NK, ids)
        else:
            target_NK = table.scores_of(queries, target_ids_NK)
            drawn_NM = table.scores_of(queries, ids.expand(len(target_ids_NK), -1))
        count_N = (target_ids_NK > 0).sum(dim=1).clamp(min=1)
        return drawn_NM.logsumexp(dim=1) - target_NK.sum(dim=1) / count_N

    def initial_bias(self, target_counts_C: torch.Tensor, num_windows: int) -> torch.Tensor:
        return (target_counts_C.float() + 1).log() / 4


def make_data(folder: Path) -> Path:
    """Windows whose items are mostly the first ones."""
    splits = {
        "train": random_windows(45, 17, seed=3),
        "test": random_windows(21, NUM_ITEMS, seed=1, first_id=45),
    }
    make_shards(folder, splits, num_items=NUM_ITEMS)
    return folder


class Course:
    """A task, its engine, and batches, on one of any number of workers."""

    def __init__(
        self, shards: Path, context: Any, optimizer: OptimizerConfig, *, shared: bool = True,
        sharded: bool = True,
    ) -> None:  # fmt: skip
        self.context, data = context, manifest.read(shards)
        spec = data_spec.build(data, reader.read_items(shards, data))
        if sharded:
            spec = replace(spec, item_rows=RowSharding(context.rank, context.world_size))
        self.spec = spec
        torch.manual_seed(0)
        self.task = NextItems(MODEL, FirstItems(shared=shared), spec)
        windows = read_split(shards, data, "train", LocalContext(CPU).blocks)
        share = Share(BATCH, context.rank, context.world_size)
        self.feed = CachedFeed(TensorTable(windows, CPU), share, CPU)
        config = EngineConfig(precision="fp32", accumulate=2)
        kind = kind_of(config, context.world_size)
        self.engine = kind(self.task, config, optimizer, STEPS, CPU)

    def train(self, steps: int = STEPS) -> list[float]:
        """The losses of some updates, of all workers together."""
        losses = []
        for batch in list(self.feed.epoch((0, 1)))[:steps]:
            mean = torch.zeros(1)
            for micro in micro_batches(batch, 2):
                total, update = train_step(self.engine, micro)
                mean += total / batch.denominator / self.context.world_size
            assert update.is_update
            losses.append(float(self.context.sum(mean)))
        return losses

    def whole(self) -> dict[str, torch.Tensor]:
        """Every weight and the row-wise state, with the rows of all workers in order."""
        found = {name: value.clone() for name, value in self.task.model.state_dict().items()}
        if self.engine.rows is None:
            return found
        items = self.engine.rows.items
        for name, own in {**items.tables, **self.engine.rows.state}.items():
            found[name] = items.sharding.block(own, 0, NUM_ITEMS).clone()
        return found


def train(context: Any, shards: Path, name: str, shared: bool) -> tuple[list[float], Any]:
    """What one of several workers has learned."""
    torch.manual_seed(0)
    course = Course(shards, context, OPTIMIZERS[name], shared=shared)
    return course.train(), course.whole()


class SlowReference:
    """The same course on vectors in one place, with plain gradients and a loop over rows."""

    def __init__(self, shards: Path, start: dict[str, torch.Tensor], name: str) -> None:
        self.config = OPTIMIZERS[name]
        self._course = Course(
            shards, LocalContext(CPU, 1), replace(self.config, clip_norm=None), sharded=False
        )
        self._model = self._course.task.model
        state = self._model.state_dict()
        for weight, value in start.items():
            if weight == "item_embedding.weight":
                state[weight][1:] = value
            elif weight in state:
                state[weight].copy_(value)
        self._first = {n: torch.zeros_like(p) for n, p in self._tables().items()}
        self._second = {n: torch.zeros(len(p)) for n, p in self._tables().items()}

    def _tables(self) -> dict[str, torch.Tensor]:
        named = dict(self._model.named_parameters())
        return {n: named[n] for n in ("item_embedding.weight", "item_bias")}

    def train(self) -> dict[str, torch.Tensor]:
        """All weights after the updates."""
        engine = self._course.engine
        for number, batch in enumerate(list(self._course.feed.epoch((0, 1)))[:STEPS], 1):
            used = {int(i) for i in range(1, DRAWN + 1)}
            used |= set(batch.item_ids_BL.flatten().tolist())
            used |= set(batch.target_ids_BK.flatten().tolist())
            for micro in micro_batches(batch, 2):
                total = (engine(micro).loss_B * micro.weight_B).sum()
                engine.backward(total / micro.denominator)
                if engine._updater.completes_batch:
                    self._update(number, sorted(used - {0}))
                engine.step()
        found = {n: w.detach().clone() for n, w in self._model.state_dict().items()}
        found["item_embedding.weight"] = found["item_embedding.weight"][1:]
        return found

    @torch.no_grad()
    def _update(self, number: int, used: list[int]) -> None:
        config, updater = self.config, self._course.engine._updater
        if config.clip_norm is not None:
            weights = self._model.parameters()
            norm = math.sqrt(sum(float(w.grad.square().sum()) for w in self._model.parameters()))
            for weight in weights:
                weight.grad *= min(1.0, config.clip_norm / (norm + 1e-6))
        rate = updater._schedule.get_last_lr()[0]
        for name, table in self._tables().items():
            gradient, table.grad = table.grad, None  # the dense optimiser leaves it alone
            for item in used:
                row = item if name == "item_embedding.weight" else item - 1
                table[row] -= rate * self._step(name, row, gradient[row], number)

    def _step(self, name: str, row: int, gradient: torch.Tensor, number: int) -> torch.Tensor:
        config, second = self.config, self._second[name]
        square = float(gradient.square().mean())
        if config.name == "sgd":
            return gradient
        if config.name == "adagrad":
            second[row] += square
            return gradient / (float(second[row]) ** 0.5 + 1e-10)
        first = self._first[name]
        first[row] = config.beta1 * first[row] + (1 - config.beta1) * gradient
        second[row] = config.beta2 * second[row] + (1 - config.beta2) * square
        corrected = float(second[row]) / (1 - config.beta2**number)
        return first[row] / (1 - config.beta1**number) / (corrected**0.5 + 1e-8)
