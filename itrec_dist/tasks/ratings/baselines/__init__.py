"""The non-neural baselines of rating prediction: one file each, found by its name.

A file `some_name.py` here holds one frozen dataclass `SomeName`, whose fields are its settings,
with `fit(training) -> Predictor`. Nothing else has to be told about it. A baseline sees the
training ratings and the item table alone; its predictions are clipped to the scale as those of
models are. One that stands on a package which itrec-dist does not need names it as `package`, and
is left out where that is not installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from itrec_dist.config.registry import Registry
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.arrays import Items, Windows
from itrec_dist.errors import EnvironmentProblem, ShardsError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.tasks.baselines import TaskBaselines

if TYPE_CHECKING:
    from torch import Tensor

    from itrec_dist.data.training_ratings import TrainingRatings

Predictor = Callable[["Tensor", "Tensor"], "Tensor"]
"""`user_ids_B, item_ids_B -> ratings_B`, int64 to float64; ids of nobody it knows are allowed."""


@dataclass(frozen=True)
class Training:
    """What a rating baseline may learn from."""

    ratings: TrainingRatings
    data: Manifest
    items: Items


class RatingBaseline(Protocol):
    """Settings that can be fitted."""

    package: ClassVar[str | None]
    """What it imports besides, and the extra of itrec-dist that brings it is `references`."""

    def fit(self, training: Training) -> Predictor:
        """Learn from the training ratings."""


BASELINES: Registry[type[RatingBaseline]] = Registry(
    "rating baseline", "itrec_dist.tasks.ratings.baselines", group="itrec_dist.baselines.ratings"
)
"""Name -> class."""


def is_installed(baseline: RatingBaseline | type[RatingBaseline]) -> bool:
    """Whether the package is there that a baseline stands on."""
    return baseline.package is None or importlib.util.find_spec(baseline.package) is not None


def installed() -> dict[str, RatingBaseline]:
    """Every baseline that can be fitted here, with its own settings, by name."""
    return {name: kind() for name, kind in BASELINES.items() if is_installed(kind)}


def missing() -> list[str]:
    """The baselines whose package is not installed here, by name."""
    return [name for name, kind in BASELINES.items() if not is_installed(kind)]


def refuse_missing(name: str, baseline: RatingBaseline) -> None:
    """Refuse a baseline whose package is not installed.

    Raises:
        EnvironmentProblem: says how to install it.
    """
    if not is_installed(baseline):
        raise EnvironmentProblem(
            f"the rating baseline {name} needs the package {baseline.package}, which is not "
            "installed: pip install 'itrec-dist[references]', or leave it out with --only"
        )


class RatingsBaselines(TaskBaselines[RatingBaseline, Training, Predictor]):
    """Baselines that predict ratings, judged as models are."""

    registry = BASELINES

    def usual(self) -> dict[str, RatingBaseline]:
        """Those whose package is installed."""
        return installed()

    def missing(self) -> list[str]:
        """Those whose package is not."""
        return missing()

    def refuse(self, name: str, baseline: RatingBaseline, data: Manifest) -> None:  # noqa: ARG002
        """Refuse a baseline whose package is not installed."""
        refuse_missing(name, baseline)

    def training(self, shards: Path, data: Manifest) -> Training:
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
        return Training(ratings, data, reader.read_items(shards, data))

    def judge(
        self, fitted: Predictor, windows: Windows, training: Training, choice: MetricChoice
    ) -> Judgement:
        """Predict every target of the windows, clipped to the scale."""
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
