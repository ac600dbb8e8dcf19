"""The non-neural baselines of rating prediction: one file each, found by name.

A file `some_name.py` here holds one frozen dataclass `SomeName`, whose fields are its settings,
with `fit(training) -> Predictor`; no other file needs to change. A baseline is fitted to the
training ratings and the item table only; its predictions are clipped to the scale like those of
models. One that needs an optional package names it as `package`, and is skipped where that is not
installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from itrec_dist.config.registry import Registry
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.arrays import Items, Windows
from itrec_dist.errors import ShardsError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.tasks.baselines import TaskBaselines

if TYPE_CHECKING:
    from torch import Tensor

    from itrec_dist.data.training_ratings import TrainingRatings

Predictor = Callable[["Tensor", "Tensor"], "Tensor"]
"""`user_ids_B, item_ids_B -> ratings_B`, int64 to float64; unknown ids are allowed."""


@dataclass(frozen=True)
class RatingsTrainingData:
    """The data that a rating baseline is fitted to."""

    ratings: TrainingRatings
    data: Manifest
    items: Items


class RatingBaseline(Protocol):
    """A baseline's settings, which can be fitted."""

    package: ClassVar[str | None]
    """The optional package that it imports, part of the extra `references`; None if none."""

    def fit(self, training: RatingsTrainingData) -> Predictor:
        """Fit the baseline to the training ratings."""


BASELINES: Registry[type[RatingBaseline]] = Registry(
    "rating baseline", "itrec_dist.tasks.ratings.baselines", group="itrec_dist.baselines.ratings"
)
"""Name -> class."""


class RatingsBaselines(TaskBaselines[RatingBaseline, RatingsTrainingData, Predictor]):
    """Baselines that predict ratings, judged as models are."""

    registry = BASELINES

    def training(self, shards: Path, data: Manifest) -> RatingsTrainingData:
        """The training ratings and the item table.

        Raises:
            ShardsError: the shards have no ratings.
        """
        from itrec_dist.data import training_ratings
        from itrec_dist.distributed.context import LocalContext

        if not data.rating_min < data.rating_max:
            raise ShardsError(
                f"{shards} has no ratings to judge: make shards with itrec window --task ratings"
            )
        ratings = training_ratings.read(shards, data, LocalContext().blocks)
        return RatingsTrainingData(ratings, data, reader.read_items(shards, data))

    def judge(
        self,
        fitted: Predictor,
        windows: Windows,
        training: RatingsTrainingData,
        choice: MetricChoice,
    ) -> Judgement:
        """Predict all targets of the windows, clipped to the scale."""
        import torch

        from itrec_dist.data.batches import whole_batch
        from itrec_dist.metrics.rating_errors import RatingJudge
        from itrec_dist.models.output import RatingOutput

        lowest, highest = training.data.rating_min, training.data.rating_max
        batch = whole_batch(windows, torch.device("cpu"))
        K = batch.target_ids_BK.shape[1]
        users_B = batch.user_ids_B.long().repeat_interleave(K)
        predicted = fitted(users_B, batch.target_ids_BK.long().flatten())
        scores_BK = predicted.view(-1, K).clamp(lowest, highest)
        counted = RatingJudge(highest - lowest, torch.device("cpu"), choice)
        loss_B = (scores_BK - batch.target_ratings_BK).square().mean(dim=1)
        counted.add(batch, RatingOutput(loss_B, scores_BK))
        return counted.judgement()
