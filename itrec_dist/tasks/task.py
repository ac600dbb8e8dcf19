"""What a task is: a model and a loss as one module, and the judge of its output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import nn

from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.data.training_ratings import TrainingRatings
from itrec_dist.losses import LossName
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import FigureName, MetricChoice
from itrec_dist.models.config import ModelConfig


@dataclass
class TaskOutput:
    """What a task returns for a batch: the loss of each window, [B], and what is judged.

    That is [B, C], the scores of the catalogue, or [B, K], the predicted ratings of the targets.
    """

    loss_B: torch.Tensor
    scores_BC: torch.Tensor


class SplitJudge(Protocol):
    """Counts what the figures of one split need; sums over workers are taken of its state."""

    def add(self, batch: Batch, scores: torch.Tensor, loss_B: torch.Tensor) -> None:
        """Count the real windows of a batch, given a task's output for it."""

    def state(self) -> torch.Tensor:
        """Everything counted, flat float64: what workers add up."""

    def load(self, state: torch.Tensor) -> None:
        """Replace everything by a state, such as the sum of all workers' states."""

    def judgement(self) -> Judgement:
        """Every figure of the split."""


class Task(nn.Module):
    """A model and a loss as one module, the only thing that an engine wraps."""

    losses: ClassVar[tuple[LossName, ...]]
    """The losses that it learns from."""
    groups: ClassVar[tuple[str, ...]] = ()
    """The groups of figures that its judgement holds beside the loss; see `Metric.groups`."""
    headline: ClassVar[FigureName]
    """The figure that its models are ranked by, and that chooses the best epoch by default."""
    section: ClassVar[str]
    """The file of `report/sections/` that shows its runs."""
    ranks: ClassVar[bool]
    """Whether it is judged by its ranking of the catalogue."""

    model: nn.Module

    def __init__(self, model: ModelConfig, loss: LossName, spec: DataSpec) -> None:  # noqa: ARG002
        """Build the model; `loss` is one of `losses`."""
        super().__init__()

    def forward(self, batch: Batch) -> TaskOutput:
        """Losses and what is judged of a batch, float32 whatever the autocast type."""
        raise NotImplementedError

    def judge(self, device: torch.device, choice: MetricChoice | None = None) -> SplitJudge:
        """A judge of one split that has counted nothing yet; `choice` says which figures."""
        raise NotImplementedError

    def catalogue_scores(self, batch: Batch) -> torch.Tensor:
        """Scores of every item for each window, [B, C], to recommend from."""
        raise NotImplementedError

    def learn(self, ratings: Callable[[], TrainingRatings]) -> None:
        """Take from the training ratings, before the first step, what no gradient gives."""
