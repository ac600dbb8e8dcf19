"""The next-items task: score the catalogue from a window, learn from the items that follow."""

import torch
from torch import nn

from itrec_dist.dataspec import DataSpec
from itrec_dist.losses import LOSSES, LossName
from itrec_dist.models.ite import ITE, ITEConfig
from itrec_dist.schema import Batch
from itrec_dist.tasks import TaskOutput


class NextItems(nn.Module):
    """A model and a loss as one module, the only thing that an engine wraps."""

    def __init__(self, model: ITEConfig, loss: LossName, spec: DataSpec) -> None:
        super().__init__()
        self.model = ITE(model, spec)
        self._loss = LOSSES[loss]
        bias_C = self._loss.initial_bias(spec.target_counts_C, spec.num_train_windows)
        self.model.set_output_bias(bias_C)

    def forward(self, batch: Batch) -> TaskOutput:
        """Losses and scores of a batch; scores are float32 whatever the autocast type."""
        scores_BC: torch.Tensor = self.model(batch)
        return TaskOutput(self._loss.loss(scores_BC, batch.target_ids_BK), scores_BC)
