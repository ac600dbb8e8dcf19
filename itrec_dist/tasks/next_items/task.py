"""The next-items task: score the catalogue from a window, learn from the items that follow."""

from typing import ClassVar

import torch

from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.losses import LOSSES, LossName
from itrec_dist.metrics.metric import RANKINGS, FigureName, MetricChoice
from itrec_dist.metrics.ranking import Judge
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.ite import ITE, ITEConfig
from itrec_dist.tasks.task import Task, TaskOutput


class NextItems(Task):
    """Every item of the catalogue is scored at once; K targets are learned from."""

    losses: ClassVar[tuple[LossName, ...]] = tuple(LOSSES)
    groups: ClassVar[tuple[str, ...]] = RANKINGS
    headline: ClassVar[FigureName] = FigureName("unmasked", "precision", 5)
    section: ClassVar[str] = "next_items"
    ranks: ClassVar[bool] = True

    model: ITE

    def __init__(self, model: ModelConfig, loss: LossName, spec: DataSpec) -> None:
        super().__init__(model, loss, spec)
        assert isinstance(model, ITEConfig)
        self.model = ITE(model, spec)
        self._loss = LOSSES[loss]
        self._target_length = spec.target_length
        self._popularity_C = spec.target_counts_C
        bias_C = self._loss.initial_bias(spec.target_counts_C, spec.num_train_windows)
        self.model.set_output_bias(bias_C)

    def forward(self, batch: Batch) -> TaskOutput:
        """Losses and scores of a batch; scores are float32 whatever the autocast type."""
        scores_BC: torch.Tensor = self.model(batch)
        return TaskOutput(self._loss.loss(scores_BC, batch.target_ids_BK), scores_BC)

    def judge(self, device: torch.device, choice: MetricChoice | None = None) -> Judge:
        """Full ranking over the catalogue; popularity is that of the training targets."""
        return Judge(self._popularity_C.to(device), self._target_length, choice)

    def catalogue_scores(self, batch: Batch) -> torch.Tensor:
        """The scores themselves."""
        scores_BC: torch.Tensor = self.model(batch)
        return scores_BC
