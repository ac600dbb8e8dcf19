"""The next-items task: rank the catalogue for a window, trained on the items that follow it."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F

from itrec_dist.data.manifest import SampleKind
from itrec_dist.data.schema import PAD, Batch, Seen
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.losses.config import LossConfig
from itrec_dist.losses.loss import CountingLoss, RankingLoss
from itrec_dist.losses.uncompiled import uncompiled
from itrec_dist.metrics.metric import CUTOFFS, RANKINGS, FigureName, MetricChoice
from itrec_dist.metrics.ranking import Judge
from itrec_dist.metrics.slices import Slices
from itrec_dist.models import rank
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.item_table import (
    ChosenSteps,
    ItemTable,
    Queries,
    RankingModel,
    StepChooser,
    StepModel,
)
from itrec_dist.models.output import LossOutput, Output, RankingOutput
from itrec_dist.models.seen import left_out
from itrec_dist.tasks.task import Task

_MOST_SHOWN = 50  # items that are ranked for the sake of samples alone


class NextItems(Task):
    """A model encodes each window as a query, which is scored against the item table.

    Both are used only inside forward, where engines gather sharded weights. A `StepModel` is
    trained on every position of a history, a `StepChooser` on those that it chooses, and other
    models on the last target.
    """

    losses: ClassVar[tuple[str, ...]] = ("bce", "ce", "softmax", "sampled_softmax", "gbce")
    groups: ClassVar[tuple[str, ...]] = RANKINGS
    headline: ClassVar[FigureName] = FigureName("unmasked", "precision", 5)
    headlines: ClassVar[Mapping[SampleKind, FigureName]] = {
        "histories": FigureName("masked", "ndcg", 10)
    }
    section: ClassVar[str] = "next_items"
    ranks: ClassVar[bool] = True

    depth: int
    """Length of the rankings in a `RankingOutput`: at least the largest cut-off and, up to a
    bound, the number of targets."""

    def __init__(self, model: ModelConfig, loss: LossConfig, spec: DataSpec) -> None:
        super().__init__(model, loss, spec)
        if isinstance(loss, CountingLoss):
            loss = loss.for_counts(spec.target_counts_C)
        if not isinstance(loss, RankingLoss):
            raise ConfigError(
                f"loss={loss.kind} does not rank items, which model.kind={model.kind} is trained "
                f"for; valid: {', '.join(self.losses)}, or a loss of your own with per_query and "
                "initial_bias"
            )
        built = model.build(spec)
        if not isinstance(built, RankingModel):
            raise ConfigError(
                f"model.kind={model.kind} with task next_items builds a {type(built).__name__}, "
                "which has no encode and item_table: give it both methods, or name another task"
            )
        self.model = built
        self.learns_steps = isinstance(built, StepModel | StepChooser)
        self._loss = loss
        self._input_length, self._target_length = spec.input_length, spec.target_length
        self._seen: Seen | None = None
        self._first_times_C: torch.Tensor | None = None
        self._popularity_C = spec.target_counts_C
        self.depth = max(*CUTOFFS, min(spec.target_length, _MOST_SHOWN))
        self.learns_ahead = isinstance(built, StepModel)
        bias_C = loss.initial_bias(spec.target_counts_C, spec.num_train_windows)
        built.item_table().set_bias(bias_C)

    @classmethod
    def accepts(cls, loss: LossConfig) -> bool:
        """Any ranking loss."""
        return isinstance(loss, RankingLoss | CountingLoss)

    def forward(self, batch: Batch) -> Output:
        """Losses, and outside training a `RankingOutput` with the `depth` best items."""
        if self.training and batch.step_target_ids_BL is not None and self.learns_steps:
            return LossOutput(self._step_losses(batch, batch.step_target_ids_BL))
        queries, table = self._ranking_model.encode(batch), self._ranking_model.item_table()
        if self.training:
            return LossOutput(self._loss.per_query(queries, batch.target_ids_BK, table))
        output: RankingOutput = self._judged(queries, table, batch)
        return output

    def judge(self, device: torch.device, choice: MetricChoice | None = None) -> Judge:
        """A judge of full rankings of the catalogue; popularity is that of the training targets.

        From now on, the rankings of `forward` are as long as this judge needs, and leave out what
        `choice` says.
        """
        popularity_C = self._popularity_C.to(device)
        slices = None
        if choice is not None and choice.slices:
            slices = Slices(popularity_C, self._input_length, choice.cutoffs, self._first_times_C)
        judge = Judge(popularity_C, self._target_length, choice, slices)
        self.depth = max(self.depth, judge.depth)
        self._seen = choice.seen if choice else None
        return judge

    def tell_first_times(self, first_times_C: torch.Tensor) -> None:
        """For figures by the age of an item."""
        self._first_times_C = first_times_C

    def catalogue_scores(self, batch: Batch) -> Iterable[torch.Tensor]:
        """The catalogue's scores, in the blocks of the item table."""
        return self._ranking_model.item_table().blocks(self._ranking_model.encode(batch))

    # Not compiled: shapes depend on the number of targets.
    @uncompiled
    def _step_losses(self, batch: Batch, target_ids_BL: torch.Tensor) -> torch.Tensor:
        """The sum of each history's losses, [B]: one query and its targets at every position."""
        steps = self._steps(batch, target_ids_BL)
        is_real_B1 = (batch.weight_B > 0)[:, None]
        is_target_BL = (steps.target_ids_BL != PAD) & is_real_B1
        row_N, place_N = is_target_BL.nonzero().T
        # As an embedding, since the gradient of plain indexing is slow and not deterministic.
        at_N = row_N * is_target_BL.shape[1] + place_N
        queries = Queries(F.embedding(at_N, steps.hidden_BLD.flatten(0, 1).float()))
        target_ids_NK = steps.target_ids_BL[row_N, place_N][:, None]
        if steps.further_ids_BLK is not None:
            further_NK = steps.further_ids_BLK[row_N, place_N]
            target_ids_NK = torch.cat([target_ids_NK, further_NK], dim=1)
        loss_N = self._loss.per_query(queries, target_ids_NK, self._ranking_model.item_table())
        stands_for = ((target_ids_BL != PAD) & is_real_B1).sum() / max(1, len(row_N))
        return loss_N.new_zeros(len(target_ids_BL)).index_add(0, row_N, loss_N * stands_for)

    def _steps(self, batch: Batch, target_ids_BL: torch.Tensor) -> ChosenSteps:
        """What is learned from a batch of histories."""
        if isinstance(self.model, StepChooser):
            return self.model.choose_steps(batch)
        assert isinstance(self.model, StepModel)
        hidden_BLD = self.model.encode_steps(batch)
        return ChosenSteps(hidden_BLD, target_ids_BL, batch.further_target_ids_BLK)

    # Not compiled: shapes depend on the number of rows with ties.
    @uncompiled
    def _judged(self, queries: Queries, table: ItemTable, batch: Batch) -> RankingOutput:
        """Losses and both rankings, without holding the scores of the whole catalogue."""
        # A filler row is never counted, but may hold NaN, which cannot be ranked.
        is_real_B1 = batch.weight_B.unsqueeze(1) > 0
        hidden_BD = torch.where(is_real_B1, queries.hidden_ND, 0.0)
        queries = Queries(hidden_BD, queries.bias_ids_NJ, queries.bias_NJ)
        loss_B = self._loss.per_query(queries, batch.target_ids_BK, table)
        left_out_BS = left_out(batch, self._seen)
        top_BN, unseen_BN = rank.both_rankings(
            table.blocks(queries), self.depth, left_out_BS, batch.window_ids_B
        )
        return RankingOutput(loss_B, top_BN, unseen_BN, left_out_BS)

    @property
    def _ranking_model(self) -> RankingModel:
        assert isinstance(self.model, RankingModel)
        return self.model
