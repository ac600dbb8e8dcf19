"""The item-vectors task: vectors of items that co-occur in windows, evaluated by the loss."""

from collections.abc import Iterable
from typing import ClassVar

import torch

from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError, ShardsError
from itrec_dist.losses.config import LossConfig
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import LOSS, FigureName, MetricChoice
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.output import LossOutput, Output
from itrec_dist.tasks.task import Task


class LossJudge:
    """The mean loss of one split."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)

    def add(self, batch: Batch, output: Output) -> None:
        """Count the real windows of a batch."""
        weight_B = batch.weight_B
        self._sums += torch.stack([(output.loss_B * weight_B).sum(), weight_B.sum()])

    def state(self) -> torch.Tensor:
        """The sums, flat float64."""
        return self._sums.clone()

    def load(self, state: torch.Tensor) -> None:
        """Replace the sums."""
        self._sums.copy_(state)

    def judgement(self) -> Judgement:
        """Loss and number of windows.

        Raises:
            ShardsError: no window was counted.
        """
        total, count = self._sums.tolist()
        if not count:
            raise ShardsError("there is nothing to judge: the split holds no window")
        return Judgement(total / count, int(count))


class ItemVectors(Task):
    """A contrast with sampled negatives; it gives no recommendations."""

    losses: ClassVar[tuple[str, ...]] = ("contrast",)
    headline: ClassVar[FigureName] = LOSS
    section: ClassVar[str] = "item_vectors"
    ranks: ClassVar[bool] = False

    def __init__(self, model: ModelConfig, loss: LossConfig, spec: DataSpec) -> None:
        super().__init__(model, loss, spec)
        self.model = model.build(spec)  # `Batch -> loss_B`

    def forward(self, batch: Batch) -> Output:
        """The loss of each window, also in evaluation."""
        return LossOutput(self.model(batch).float())

    def judge(
        self,
        device: torch.device,
        choice: MetricChoice | None = None,  # noqa: ARG002
    ) -> LossJudge:
        """The mean loss."""
        return LossJudge(device)

    def catalogue_scores(self, batch: Batch) -> Iterable[torch.Tensor]:  # noqa: ARG002
        """Refused: item vectors alone cannot rank items for a user.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "item2vec learns item vectors and gives no recommendations: use itrec similar for the "
            "items nearest to one, or start another model from its vectors with --item_vectors"
        )
