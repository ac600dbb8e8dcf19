"""The non-neural baselines of the next-items task: one file each, found by name.

A file `some_name.py` here holds one frozen dataclass `SomeName`, a `Baseline` whose fields are its
settings; no other file needs to change.

A baseline is fitted to training rows only, windows or histories, and scores a row by its inputs
only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from itrec_dist.config.registry import Registry
from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest, SampleKind
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.arrays import HistoryRows, Items
from itrec_dist.data.shards.first_times import first_times
from itrec_dist.data.shards.splits import read_history_split, read_split
from itrec_dist.data.training_sequences import Sequences
from itrec_dist.errors import ConfigError, EnvironmentProblem
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.system import limits
from itrec_dist.tasks.baselines import Rows, TaskBaselines, is_installed
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer

if TYPE_CHECKING:
    from itrec_dist.metrics.slices import Slices

SCORES_PER_BATCH = 4_000_000


@dataclass(frozen=True)
class NextItemsTrainingData:
    """The data that a baseline is fitted to."""

    shards: Path
    manifest: Manifest
    rows: Rows
    items: Items

    @cached_property
    def sequences(self) -> Sequences:
        """The events of the rows."""
        return Sequences.of(self.rows)


class Baseline(ABC):
    """A baseline's settings, which can be fitted."""

    matrices: ClassVar[int] = 0
    """Number of float64 item-by-item matrices that it holds at once."""
    samples: ClassVar[tuple[SampleKind, ...]] = ("windows", "histories")
    """What it can be fitted to."""
    by_default: ClassVar[bool] = True
    """Whether it is judged without being named."""
    uses_times: ClassVar[bool] = False
    """Whether it asks when events happened, which an order alone does not say."""
    package: ClassVar[str | None] = None
    """The optional package that it imports, part of the extra `references`; None if none."""

    @abstractmethod
    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Fit the baseline to the training rows."""


BASELINES: Registry[type[Baseline]] = Registry(
    "baseline", "itrec_dist.tasks.next_items.baselines", group="itrec_dist.baselines.next_items"
)
"""Name -> class."""


def refuse_too_large(name: str, num_items: int) -> None:
    """Refuse a baseline whose matrices do not fit in memory, before anything is computed.

    Raises:
        EnvironmentProblem: they need more memory than is free now.
    """
    needed = BASELINES[name].matrices * 8 * num_items**2
    total, available = limits.memory()
    free = available if available is not None else total
    if free is not None and needed > free:
        raise EnvironmentProblem(
            f"the baseline {name} over {num_items:,} items needs {needed / 2**30:.1f} GiB of "
            f"memory, {free / 2**30:.1f} GiB are free: leave it out with --only, or window the "
            "data with fewer --top_items"
        )


class NextItemsBaselines(TaskBaselines[Baseline, NextItemsTrainingData, Scorer]):
    """Baselines that rank the whole catalogue, judged as models are."""

    registry = BASELINES

    def default(self, data: Manifest) -> dict[str, Baseline]:
        """Those for this kind of samples that are on by default and whose packages are there."""
        return {
            name: kind()
            for name, kind in self.registry.items()
            if kind.by_default
            and is_installed(kind)
            and data.samples in kind.samples
            and not (kind.uses_times and data.has_order_alone)
        }

    def training(self, shards: Path, data: Manifest) -> NextItemsTrainingData:
        """The training rows and the item table."""
        rows = self.read(shards, data, schema.TRAIN)
        return NextItemsTrainingData(shards, data, rows, reader.read_items(shards, data))

    def read(self, shards: Path, data: Manifest, split: str) -> Rows:
        """A split of windows or of histories, with the times that it has."""
        if data.samples == "histories":
            return read_history_split(shards, data, split)
        return read_split(shards, data, split, times=data.has_times)

    def check(self, name: str, baseline: Baseline, data: Manifest) -> None:
        """Refuse a missing package, the wrong kind of samples and matrices that do not fit."""
        super().check(name, baseline, data)
        if data.samples not in baseline.samples:
            raise ConfigError(
                f"the baseline {name} is fitted to {' or '.join(baseline.samples)} and these "
                f"shards hold {data.samples}: give others to --only, such as "
                f"{', '.join(self.default(data))}"
            )
        if baseline.uses_times and data.has_order_alone:
            raise ConfigError(
                f"the baseline {name} asks when events happened, and these have an order alone: "
                "leave it out with --only, or window the data with --columns.timestamp"
            )
        refuse_too_large(name, data.num_items)

    def batch_size(self, data: Manifest) -> int:
        """The number of rows whose scores of the catalogue fit in memory."""
        return max(1, min(4096, SCORES_PER_BATCH // max(1, data.num_items)))

    def judge(
        self, fitted: Scorer, rows: Rows, training: NextItemsTrainingData, choice: MetricChoice
    ) -> Judgement:
        """Score all rows, block by block, and count both rankings of each."""
        import torch

        from itrec_dist.metrics.ranking import Judge
        from itrec_dist.models.rank import both_rankings
        from itrec_dist.models.seen import left_out

        data = training.manifest
        popularity_C = torch.tensor(training.items.num_train_targets)
        counted = Judge(popularity_C, data.target_length, choice, _slices(training, choice))
        for batch in _batches(rows, data.target_length, self.batch_size(data)):
            assert batch.target_time_B is not None
            inputs = Inputs(batch.item_ids_BL.long(), batch.target_time_B, batch.times_BL)
            left_out_BS = left_out(batch, choice.seen)
            rankings = both_rankings(
                [fitted(inputs)], counted.depth, left_out_BS, batch.window_ids_B
            )
            counted.count(batch, *rankings, left_out_BS)
        return counted.judgement()


def _slices(training: NextItemsTrainingData, choice: MetricChoice) -> Slices | None:
    """What the targets are also counted by, if they are; by age with histories."""
    import torch

    from itrec_dist.metrics.slices import Slices

    if not choice.slices:
        return None
    data, rows = training.manifest, training.rows
    popularity_C = torch.tensor(training.items.num_train_targets)
    first_times_C = None
    if isinstance(rows, HistoryRows) and not data.has_order_alone:
        first_times_C = torch.from_numpy(first_times(rows, data.num_items))
    return Slices(popularity_C, data.input_length, choice.cutoffs, first_times_C)


def _batches(rows: Rows, target_length: int, batch_size: int) -> Iterator[Batch]:
    """The rows in batches; histories by length, as wide as the longest of a batch."""
    import torch

    from itrec_dist.data.batches import whole_batch
    from itrec_dist.data.history_feeds import HistoryFeed, HistoryShare, HistoryTable

    device = torch.device("cpu")
    if isinstance(rows, HistoryRows):
        table = HistoryTable(rows, device, target_length)
        yield from HistoryFeed(table, HistoryShare(batch_size), device, "judged").epoch(None)
        return
    for start in range(0, len(rows), batch_size):
        part = rows.take(np.arange(start, min(start + batch_size, len(rows))))
        # A batch of windows without the times of their inputs has no time of the targets either.
        target_time_B = torch.from_numpy(part.target_time)
        yield replace(whole_batch(part, device), target_time_B=target_time_B)
