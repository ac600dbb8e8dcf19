"""The model, the data and the batches of the checks of models."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch

from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.data.training_ratings import TrainingRatings
from itrec_dist.losses import LOSSES
from itrec_dist.tasks import TASKS

if TYPE_CHECKING:
    from itrec_dist.losses.config import LossConfig
    from itrec_dist.models.config import ModelConfig
    from itrec_dist.tasks.task import Task

ROWS = 12
"""Of a batch."""


def small_spec() -> DataSpec:
    """Twelve items and eight users without features, and inputs of eight events."""
    return DataSpec(
        input_length=8, target_length=1, num_items=12, num_users=8, num_train_windows=50,
        user_cardinalities=(), rating_mean=3.0, rating_std=1.0, rating_min=1.0, rating_max=5.0,
        has_times=True, item_features_VF=torch.zeros(13, 0), target_counts_C=torch.arange(12) + 1,
        seconds_per_unit=1.0,
    )  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """What is checked: the settings of a model, and what it is built and trained with."""

    settings: ModelConfig
    loss: LossConfig | None = None
    """None takes the default of the model, or of its task."""
    spec: DataSpec | None = None
    """Sizes and features of the data; None takes `small_spec()`."""

    @property
    def data(self) -> DataSpec:
        """The sizes and features that are used."""
        return self.spec or small_spec()

    def task(self, seed: int = 1) -> Task:
        """Model and loss, with weights that tell: those of the start hardly differ."""
        kind = TASKS[self.settings.task]
        name = self.settings.default_loss or kind.losses[0]
        torch.manual_seed(seed)
        task = kind(self.settings, self.loss or LOSSES[name](), self.data)
        task.fit_statistics(lambda: self.ratings(seed))
        with torch.no_grad():
            for parameter in task.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
            if self.settings.item_embedding is not None:
                task.model.get_parameter(self.settings.item_embedding)[PAD].zero_()
        return task

    def ratings(self, seed: int = 1) -> TrainingRatings:
        """A training rating for each training window, of different pairs of user and item."""
        draw, data = torch.Generator().manual_seed(seed), self.data
        R = data.num_train_windows * data.target_length
        pairs_R = torch.randperm(data.num_users * data.num_items, generator=draw)[:R]
        ratings_R = torch.randint(1, 6, (len(pairs_R),), generator=draw).float()
        users_R, items_R = pairs_R % data.num_users + 1, pairs_R // data.num_users + 1
        return TrainingRatings(users_R, items_R, ratings_R)

    def batch(self, *, is_padded: bool = False, seed: int = 2) -> Batch:
        """Rows of events drawn at random, with times that grow.

        With `is_padded`, rows have one to all events, the others padding on the left.
        """
        draw, data = torch.Generator().manual_seed(seed), self.data
        B, L = ROWS, data.input_length

        def drawn(highest: int, *shape: int) -> torch.Tensor:
            return torch.randint(1, highest + 1, shape, generator=draw)

        sizes_B = drawn(L, B) if is_padded else torch.full((B,), L)
        is_event_BL = torch.arange(L) >= L - sizes_B[:, None]
        times_BL = drawn(99, B, L).cumsum(1) * is_event_BL
        features = [drawn(values, B) for values in data.user_cardinalities]
        told = [drawn(f.num_codes, B, L) - 1 for f in data.event_features]
        codes_BLG = torch.stack(told, 2) * is_event_BL[:, :, None] if told else None
        return Batch(
            window_ids_B=torch.arange(B), user_ids_B=drawn(data.num_users, B),
            user_features_BF=torch.stack(features, 1) if features else torch.zeros(B, 0).long(),
            item_ids_BL=drawn(data.num_items, B, L) * is_event_BL,
            ratings_BL=drawn(5, B, L).float() * is_event_BL,
            target_ids_BK=drawn(data.num_items, B, data.target_length),
            target_ratings_BK=drawn(5, B, data.target_length).float(),
            weight_B=torch.ones(B), denominator=B, times_BL=times_BL,
            target_time_B=times_BL[:, -1] + 5, event_features_BLG=codes_BLG,
        )  # fmt: skip

    def training_batch(self) -> Batch:
        """The same as it is learned from: of histories, the next event of every position."""
        batch = self.batch(is_padded=self.settings.samples == "histories")
        if not self.task().learns_steps:
            return batch
        follows_BL = torch.cat([batch.item_ids_BL[:, 1:], batch.target_ids_BK[:, :1]], dim=1)
        is_event_BL = batch.item_ids_BL != PAD
        return replace(batch, step_target_ids_BL=follows_BL * is_event_BL)


@torch.no_grad()
def scores(task: Task, batch: Batch) -> torch.Tensor:
    """The scores of the whole catalogue, [B, C]."""
    return torch.cat(list(task.catalogue_scores(batch)), dim=1)


def rows(batch: Batch, is_chosen_B: torch.Tensor) -> Batch:
    """Some rows of a batch."""
    chosen = {
        field.name: value[is_chosen_B]
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor)
    }
    return replace(batch, **chosen, denominator=int(is_chosen_B.sum()))


def cut(batch: Batch, width: int) -> Batch:
    """The last positions of a batch."""
    assert batch.times_BL is not None
    codes_BLG = batch.event_features_BLG
    return replace(
        batch, item_ids_BL=batch.item_ids_BL[:, -width:], ratings_BL=batch.ratings_BL[:, -width:],
        times_BL=batch.times_BL[:, -width:],
        event_features_BLG=None if codes_BLG is None else codes_BLG[:, -width:],
    )  # fmt: skip
