"""The rating task: predict the ratings that a user gives to the targets of a window."""

from collections.abc import Callable, Iterator
from typing import ClassVar

import torch

from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.data.training_ratings import TrainingRatings
from itrec_dist.errors import ConfigError
from itrec_dist.losses.config import LossConfig
from itrec_dist.losses.loss import RatingLoss
from itrec_dist.metrics.metric import RATINGS, FigureName, MetricChoice
from itrec_dist.metrics.rating_errors import RatingJudge
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.output import LossOutput, Output, RatingOutput
from itrec_dist.models.rating_model import RatingModel
from itrec_dist.tasks.task import Task

_PAIRS_AT_ONCE = 65_536  # pairs of window and item per block when the whole catalogue is scored


class Ratings(Task):
    """Squared error of the target ratings; in evaluation, predictions are clipped to the scale."""

    losses: ClassVar[tuple[str, ...]] = ("mse",)
    groups: ClassVar[tuple[str, ...]] = (RATINGS,)
    headline: ClassVar[FigureName] = FigureName(RATINGS, "rmse")
    section: ClassVar[str] = "ratings"
    ranks: ClassVar[bool] = False

    model: RatingModel

    def __init__(self, model: ModelConfig, loss: LossConfig, spec: DataSpec) -> None:
        super().__init__(model, loss, spec)
        if not isinstance(loss, RatingLoss):
            raise ConfigError(
                f"loss={loss.kind} does not predict ratings, which model.kind={model.kind} is "
                f"trained for; valid: {', '.join(self.losses)}, or a loss of your own with "
                "per_window"
            )
        built = model.build(spec)
        if not isinstance(built, RatingModel):
            raise ConfigError(
                f"model.kind={model.kind} with task ratings builds a {type(built).__name__}, which "
                "is not a RatingModel: inherit from it, or name another task"
            )
        self.model = built
        self._loss = loss
        self._scale = (spec.rating_min, spec.rating_max)
        self._num_items = spec.num_items

    @classmethod
    def accepts(cls, loss: LossConfig) -> bool:
        """Any loss of ratings."""
        return isinstance(loss, RatingLoss)

    def forward(self, batch: Batch) -> Output:
        """Losses, with the model's penalty in training; in evaluation a `RatingOutput`."""
        ratings_BK, penalty_B = self.model(batch, batch.target_ids_BK)
        ratings_BK = ratings_BK.float()
        if not self.training:
            ratings_BK = ratings_BK.clamp(*self._scale)
        loss_B = self._loss.per_window(ratings_BK, batch.target_ratings_BK)
        if not self.training:
            return RatingOutput(loss_B, ratings_BK)
        return LossOutput(loss_B if penalty_B is None else loss_B + penalty_B)

    def judge(self, device: torch.device, choice: MetricChoice | None = None) -> RatingJudge:
        """A judge of the errors of all targets."""
        return RatingJudge(self._scale[1] - self._scale[0], device, choice)

    def catalogue_scores(self, batch: Batch) -> Iterator[torch.Tensor]:
        """The predicted ratings of blocks of items, [B, W], not clipped, to avoid ties."""
        B = len(batch.weight_B)
        ids_C = torch.arange(1, self._num_items + 1, device=batch.item_ids_BL.device)
        parts = ids_C.split(max(1, _PAIRS_AT_ONCE // B))
        for part_W in parts:
            yield self.model(batch, part_W.expand(B, -1))[0].float()

    def fit_statistics(self, ratings: Callable[[], TrainingRatings]) -> None:
        """Pass the training ratings to the model."""
        self.model.fit_statistics(ratings())
