"""The interface of a task: a model and a loss as one module, and the judge of its output."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import nn

from itrec_dist.data.manifest import SampleKind
from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.data.training_ratings import TrainingRatings
from itrec_dist.losses.config import LossConfig
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import FigureName, MetricChoice
from itrec_dist.models import rank
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.output import Output

if TYPE_CHECKING:
    from itrec_dist.tasks.data import TaskData


class SplitJudge(Protocol):
    """Accumulates the counts behind one split's figures; its state can be summed over workers."""

    def add(self, batch: Batch, output: Any) -> None:
        """Count the real windows of a batch, given the task's output for it."""

    def state(self) -> torch.Tensor:
        """All counts, flat float64, to be summed over workers."""

    def load(self, state: torch.Tensor) -> None:
        """Replace all counts by a state, such as the sum of all workers' states."""

    def judgement(self) -> Judgement:
        """All figures of the split."""


class Task(nn.Module):
    """A model and a loss as one module, which is what an engine wraps."""

    losses: ClassVar[tuple[str, ...]]
    """The losses that it can be trained on; the first is the default."""
    groups: ClassVar[tuple[str, ...]] = ()
    """The groups of figures in its judgement besides the loss; see `Metric.groups`."""
    headline: ClassVar[FigureName]
    """The figure that its models are compared by, and that chooses the best epoch by default."""
    headlines: ClassVar[Mapping[SampleKind, FigureName]] = {}
    """The same for samples that have another one."""
    section: ClassVar[str] = ""
    """The file of `reports/sections/` that shows its runs; empty for a generic section."""
    ranks: ClassVar[bool]
    """Whether it is evaluated by its ranking of the catalogue."""

    learns_steps: bool = False
    """Whether it learns from every position of a history: from `step_target_ids_BL`."""

    learns_ahead: bool = False
    """Whether a position of a history may have several targets: `further_target_ids_BLK`."""

    data: ClassVar["TaskData | None"] = None
    """Windows and baselines of a task of another package; None if it is trained on the windows of
    other tasks. Ours are in `tasks/NAME/data.py`, so that workers do not import DuckDB."""

    model: nn.Module

    def __init__(self, model: ModelConfig, loss: LossConfig, spec: DataSpec) -> None:  # noqa: ARG002
        """Build the model.

        Raises:
            ConfigError: the model or the loss does not fit the task.
        """
        super().__init__()

    @classmethod
    def headline_of(cls, samples: SampleKind) -> FigureName:
        """The main figure on one kind of samples."""
        return cls.headlines.get(samples, cls.headline)

    @classmethod
    def accepts(cls, loss: LossConfig) -> bool:
        """Whether it can be trained on a loss, one of `losses` or of another package."""
        return loss.kind in cls.losses

    def forward(self, batch: Batch) -> Output:
        """Losses in training mode; in evaluation mode also predictions, as a subclass of Output.

        All values are float32, whatever the autocast type.
        """
        raise NotImplementedError

    def judge(self, device: torch.device, choice: MetricChoice | None = None) -> SplitJudge:
        """A new judge for one split; `choice` says which figures it computes."""
        raise NotImplementedError

    def catalogue_scores(self, batch: Batch) -> Iterable[torch.Tensor]:
        """Scores of the catalogue for each window, in blocks [B, W] of consecutive items."""
        raise NotImplementedError

    def top_items(
        self, batch: Batch, n: int, seen_ids_BS: torch.Tensor,
        is_allowed_C: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """The n items to recommend for each window, best first, and their scores: [B, n] each.

        Items of `seen_ids_BS` (padded with PAD) are excluded, and for all windows those that are
        not allowed; positions without an item hold PAD.

        Raises:
            ConfigError: a score is NaN, or the task recommends nothing.
        """
        scores = self.catalogue_scores(batch)
        if is_allowed_C is not None:
            scores = rank.among(scores, is_allowed_C)
        return rank.top_items(scores, n, seen_ids_BS)

    def fit_statistics(self, ratings: Callable[[], TrainingRatings]) -> None:
        """Compute statistics of the training ratings, such as biases, before the first step."""

    def tell_first_times(self, first_times_C: torch.Tensor) -> None:
        """Take in when training first has each item, int64; most tasks have no use for it."""
