"""What a task is: a model and a loss as one module, and the judge of its output."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.data.training_ratings import TrainingRatings
from itrec_dist.losses.config import LossConfig
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import FigureName, MetricChoice
from itrec_dist.models import rank
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.output import Output
from itrec_dist.tasks.data import TaskData


class SplitJudge(Protocol):
    """Counts what the figures of one split need; sums over workers are taken of its state."""

    def add(self, batch: Batch, output: Any) -> None:
        """Count the real windows of a batch, given its task's output for it."""

    def state(self) -> torch.Tensor:
        """Everything counted, flat float64: what workers add up."""

    def load(self, state: torch.Tensor) -> None:
        """Replace everything by a state, such as the sum of all workers' states."""

    def judgement(self) -> Judgement:
        """Every figure of the split."""


class Task(nn.Module):
    """A model and a loss as one module, the only thing that an engine wraps."""

    losses: ClassVar[tuple[str, ...]]
    """The losses that it learns from; the first is the default."""
    groups: ClassVar[tuple[str, ...]] = ()
    """The groups of figures that its judgement holds beside the loss; see `Metric.groups`."""
    headline: ClassVar[FigureName]
    """The figure that its models are ranked by, and that chooses the best epoch by default."""
    section: ClassVar[str] = ""
    """The file of `report/sections/` that shows its runs; without one they are shown as of any
    task."""
    ranks: ClassVar[bool]
    """Whether it is judged by its ranking of the catalogue."""

    learns_steps: bool = False
    """Whether it learns from every position of a history: from `step_target_ids_BL`."""

    data: ClassVar[TaskData | None] = None
    """Its windows and baselines; None where it learns from the windows of other tasks."""

    model: nn.Module

    def __init__(self, model: ModelConfig, loss: LossConfig, spec: DataSpec) -> None:  # noqa: ARG002
        """Build the model.

        Raises:
            ConfigError: the model or the loss does not fit the task.
        """
        super().__init__()

    @classmethod
    def accepts(cls, loss: LossConfig) -> bool:
        """Whether it can learn from a loss, one of `losses` or somebody else's."""
        return loss.kind in cls.losses

    def forward(self, batch: Batch) -> Output:
        """Losses in training mode; in evaluation mode what is judged besides, as a subclass.

        Everything is float32 whatever the autocast type.
        """
        raise NotImplementedError

    def judge(self, device: torch.device, choice: MetricChoice | None = None) -> SplitJudge:
        """A judge of one split that has counted nothing yet; `choice` says which figures."""
        raise NotImplementedError

    def catalogue_scores(self, batch: Batch) -> Iterable[torch.Tensor]:
        """Scores of the catalogue for each window, in blocks [B, W] of consecutive items."""
        raise NotImplementedError

    def top_items(
        self, batch: Batch, n: int, seen_ids_BS: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The n items to recommend for each window, best first, and their scores: [B, n] each.

        Items of `seen_ids_BS` (filled up with PAD) are left out; PAD stands where none is left.

        Raises:
            ConfigError: a score is NaN, or the task recommends nothing.
        """
        return rank.top_items(self.catalogue_scores(batch), n, seen_ids_BS)

    def learn(self, ratings: Callable[[], TrainingRatings]) -> None:
        """Take from the training ratings, before the first step, what no gradient gives."""
