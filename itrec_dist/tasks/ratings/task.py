"""The rating task: predict the ratings that a user gives to the targets of a window."""

from collections.abc import Callable
from typing import ClassVar

import torch

from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.data.training_ratings import TrainingRatings
from itrec_dist.losses import RATING_LOSSES, LossName
from itrec_dist.metrics.metric import RATINGS, FigureName, MetricChoice
from itrec_dist.metrics.rating_errors import RatingJudge
from itrec_dist.models import RATING_MODELS
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.rating_model import RatingModel
from itrec_dist.tasks.task import Task, TaskOutput

_PAIRS_AT_ONCE = 65_536  # of windows and items, where the whole catalogue is scored


class Ratings(Task):
    """Squared error of the target ratings; predictions that are judged are clipped to the scale."""

    losses: ClassVar[tuple[LossName, ...]] = tuple(RATING_LOSSES)
    groups: ClassVar[tuple[str, ...]] = (RATINGS,)
    headline: ClassVar[FigureName] = FigureName(RATINGS, "rmse")
    section: ClassVar[str] = "ratings"
    ranks: ClassVar[bool] = False

    model: RatingModel

    def __init__(self, model: ModelConfig, loss: LossName, spec: DataSpec) -> None:
        super().__init__(model, loss, spec)
        self.model = RATING_MODELS[model.kind](model, spec)
        self._loss = RATING_LOSSES[loss]
        self._scale = (spec.rating_min, spec.rating_max)
        self._num_items = spec.num_items

    def forward(self, batch: Batch) -> TaskOutput:
        """Losses and predicted ratings [B, K]; in training the loss holds the model's penalty."""
        ratings_BK, penalty_B = self.model(batch, batch.target_ids_BK)
        ratings_BK = ratings_BK.float()
        if not self.training:
            ratings_BK = ratings_BK.clamp(*self._scale)
        loss_B = self._loss.loss(ratings_BK, batch.target_ratings_BK)
        if self.training and penalty_B is not None:
            loss_B = loss_B + penalty_B
        return TaskOutput(loss_B, ratings_BK)

    def judge(self, device: torch.device, choice: MetricChoice | None = None) -> RatingJudge:
        """The errors of every target."""
        return RatingJudge(self._scale[1] - self._scale[0], device, choice)

    def catalogue_scores(self, batch: Batch) -> torch.Tensor:
        """The predicted rating of every item, not clipped, so that few are tied: [B, C]."""
        B = len(batch.weight_B)
        ids_C = torch.arange(1, self._num_items + 1, device=batch.item_ids_BL.device)
        parts = ids_C.split(max(1, _PAIRS_AT_ONCE // B))
        scored = [self.model(batch, part_N.expand(B, -1))[0].float() for part_N in parts]
        return torch.cat(scored, dim=1)

    def learn(self, ratings: Callable[[], TrainingRatings]) -> None:
        """Hand the training ratings to the model."""
        self.model.learn(ratings())
