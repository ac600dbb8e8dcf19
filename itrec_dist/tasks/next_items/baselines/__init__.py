"""The non-neural baselines of the next-items task: one file each, found by name.

A file `some_name.py` here holds one frozen dataclass `SomeName`, whose fields are its settings,
with `fit(training) -> Scorer`; no other file needs to change.

A baseline is fitted to training windows only, and scores a window by its inputs only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from itrec_dist.config.registry import Registry
from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.arrays import Items, Windows
from itrec_dist.data.shards.splits import read_split
from itrec_dist.errors import EnvironmentProblem
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.system import limits
from itrec_dist.tasks.baselines import TaskBaselines

if TYPE_CHECKING:
    from torch import Tensor

SCORES_PER_BATCH = 4_000_000

Scorer = Callable[["Tensor"], "Tensor"]
"""`item_ids_BL -> scores_BC`, int64 to float64; higher scores rank first."""


@dataclass(frozen=True)
class NextItemsTrainingData:
    """The data that a baseline is fitted to."""

    shards: Path
    manifest: Manifest
    windows: Windows
    items: Items


class Baseline(Protocol):
    """A baseline's settings, which can be fitted."""

    matrices: ClassVar[int]
    """Number of float64 item-by-item matrices that it holds at once."""

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Fit the baseline to the training windows."""


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

    def training(self, shards: Path, data: Manifest) -> NextItemsTrainingData:
        """The training windows and the item table."""
        windows = read_split(shards, data, schema.TRAIN)
        return NextItemsTrainingData(shards, data, windows, reader.read_items(shards, data))

    def check(self, name: str, baseline: Baseline, data: Manifest) -> None:  # noqa: ARG002
        """Refuse matrices that do not fit in memory."""
        refuse_too_large(name, data.num_items)

    def batch_size(self, data: Manifest) -> int:
        """The number of windows whose scores of the catalogue fit in memory."""
        return max(1, min(4096, SCORES_PER_BATCH // max(1, data.num_items)))

    def judge(
        self,
        fitted: Scorer,
        windows: Windows,
        training: NextItemsTrainingData,
        choice: MetricChoice,
    ) -> Judgement:
        """Score all windows and count both rankings of each."""
        import torch

        from itrec_dist.data.batches import whole_batch
        from itrec_dist.metrics.ranking import Judge
        from itrec_dist.metrics.slices import Slices
        from itrec_dist.models.rank import both_rankings
        from itrec_dist.models.seen import left_out

        data = training.manifest
        popularity_C = torch.tensor(training.items.num_train_targets)
        slices = Slices(popularity_C, data.input_length, choice.cutoffs) if choice.slices else None
        counted = Judge(popularity_C, data.target_length, choice, slices)
        batch_size = self.batch_size(data)
        for start in range(0, len(windows), batch_size):
            rows = np.arange(start, min(start + batch_size, len(windows)))
            batch = whole_batch(windows.take(rows), popularity_C.device)
            scores_BC = fitted(batch.item_ids_BL.to(torch.int64))
            left_out_BS = left_out(batch, choice.seen)
            rankings = both_rankings([scores_BC], counted.depth, left_out_BS, batch.window_ids_B)
            counted.count(batch, *rankings, left_out_BS)
        return counted.judgement()
