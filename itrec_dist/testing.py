"""Checks for the tests of models that rank items and live in other packages.

    from itrec_dist import testing

    def test_my_model():
        testing.check_model(MyConfig(width=8, dropout=0.0))

Every check builds the model for a small generated catalogue and raises an AssertionError with a
sentence that says what is wrong. They hold for the models of itrec-dist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch

from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.losses import LOSSES
from itrec_dist.models.item_table import StepModel
from itrec_dist.tasks import TASKS

if TYPE_CHECKING:
    from itrec_dist.losses.config import LossConfig
    from itrec_dist.models.config import ModelConfig
    from itrec_dist.tasks.task import Task

__all__ = [
    "Subject",
    "check_gradients",
    "check_leakage",
    "check_model",
    "check_padding",
    "check_rows",
    "check_state",
    "small_spec",
]

_ROWS = 12
_LATER = 10**6  # time units


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
        with torch.no_grad():
            for parameter in task.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
            if self.settings.item_embedding is not None:
                task.model.get_parameter(self.settings.item_embedding)[PAD].zero_()
        return task

    def batch(self, *, is_padded: bool = False, seed: int = 2) -> Batch:
        """Rows of events drawn at random, with times that grow.

        With `is_padded`, rows have one to all events, the others padding on the left.
        """
        draw, data = torch.Generator().manual_seed(seed), self.data
        B, L = _ROWS, data.input_length

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


def check_model(
    settings: ModelConfig,
    *,
    loss: LossConfig | None = None,
    spec: DataSpec | None = None,
    unused: Sequence[str] = (),
) -> None:
    """Check all that models promise; each check can also be called by itself.

    Args:
        settings: settings of the model; without dropout, which would hide differences.
        loss: the loss to train with; None takes the default.
        spec: what the model is built for, if it needs features; None takes `small_spec()`.
        unused: the beginnings of the names of parameters that need no gradient.

    Raises:
        AssertionError: a promise is broken; the message says which and where.
        ConfigError: it is no model that ranks items.

    Examples:
        >>> testing.check_model(MyConfig(width=8, dropout=0.0))
    """
    if not TASKS[settings.task].ranks:
        raise ConfigError(
            f"the checks are for models that rank items, and model.kind={settings.kind} is of the "
            f"task {settings.task}: test it on shards"
        )
    subject = Subject(settings, loss, spec)
    check_gradients(subject, unused)
    check_leakage(subject)
    check_padding(subject)
    check_rows(subject)
    check_state(subject)


def check_gradients(subject: Subject, unused: Sequence[str] = ()) -> None:
    """Check that the loss is finite and teaches every parameter something.

    Raises:
        AssertionError: a parameter has no gradient, or one that is not finite.
    """
    task = subject.task()
    losses_B = task(subject.training_batch()).loss_B
    _require(bool(losses_B.isfinite().all()), "the loss is not finite")
    losses_B.sum().backward()
    for name, parameter in task.named_parameters():
        if name.removeprefix("model.").startswith(tuple(unused)) or not parameter.requires_grad:
            continue
        gradient = parameter.grad
        _require(
            gradient is not None and bool(gradient.to_dense().any()),
            f"the loss does not depend on the parameter {name}: use it, leave it out, or name it "
            "in `unused`",
        )
        assert gradient is not None
        is_finite = bool(gradient.to_dense().isfinite().all())
        _require(is_finite, f"the gradient of {name} is not finite")


def check_leakage(subject: Subject) -> None:
    """Check that no prediction depends on what it predicts, or on later events.

    The scores of the catalogue must not depend on the targets, and where a model gives a hidden
    state of every position, none may depend on a later event.

    Raises:
        AssertionError: something later is seen.
    """
    task, batch = subject.task().eval(), subject.batch()
    other = replace(
        batch,
        target_ids_BK=batch.target_ids_BK % subject.data.num_items + 1,
        target_ratings_BK=6 - batch.target_ratings_BK,
    )
    _same(_scores(task, batch), _scores(task, other), "the scores depend on the targets")
    if not subject.settings.uses_time_of_query:
        assert batch.target_time_B is not None
        other = replace(batch, target_time_B=batch.target_time_B + _LATER)
        words = "the scores depend on the time of the target: say so by uses_time_of_query"
        _same(_scores(task, batch), _scores(task, other), words)
    if isinstance(task.model, StepModel):
        _check_steps(task.model, batch, subject)


@torch.no_grad()
def _check_steps(model: Any, batch: Batch, subject: Subject) -> None:
    """Change one event after the other."""
    assert batch.times_BL is not None
    before_BLD = model.encode_steps(batch)
    for place in range(batch.item_ids_BL.shape[1]):
        ids_BL, ratings_BL = batch.item_ids_BL.clone(), batch.ratings_BL.clone()
        times_BL = batch.times_BL.clone()
        ids_BL[:, place] = ids_BL[:, place] % subject.data.num_items + 1
        ratings_BL[:, place] = 6 - ratings_BL[:, place]
        # That of the next event may be known where the time of the query is.
        times_BL[:, place + int(subject.settings.uses_time_of_query) :] += _LATER
        changed = replace(batch, item_ids_BL=ids_BL, ratings_BL=ratings_BL, times_BL=times_BL)
        if batch.event_features_BLG is not None:
            counts_G = torch.tensor([feature.num_codes for feature in subject.data.event_features])
            codes_BLG = batch.event_features_BLG.clone()
            codes_BLG[:, place] = (codes_BLG[:, place] + 1) % counts_G
            changed = replace(changed, event_features_BLG=codes_BLG)
        after_BLD = model.encode_steps(changed)
        _same(
            before_BLD[:, :place], after_BLD[:, :place],
            f"positions before {place} depend on the event at {place}, which is later",
        )  # fmt: skip
        is_seen = not _is_close(before_BLD[:, place], after_BLD[:, place])
        _require(is_seen, f"position {place} does not depend on its own event")


def check_padding(subject: Subject) -> None:
    """Check that what stands in padded places, and how many there are, changes nothing.

    Raises:
        AssertionError: the scores change.
    """
    task, batch = subject.task().eval(), subject.batch(is_padded=True)
    assert batch.times_BL is not None
    is_padding_BL = batch.item_ids_BL == PAD
    noise_BL = torch.arange(1, is_padding_BL.numel() + 1).reshape(is_padding_BL.shape)
    other = replace(
        batch,
        ratings_BL=torch.where(is_padding_BL, noise_BL.float(), batch.ratings_BL),
        times_BL=torch.where(is_padding_BL, noise_BL, batch.times_BL),
    )
    expected = _scores(task, batch)
    _require(bool(expected.isfinite().all()), "the scores of padded rows are not finite")
    words = "the scores depend on ratings or times in padded places"
    _same(expected, _scores(task, other), words)
    if subject.settings.samples != "histories":
        return  # windows have one width
    for width in range(1, batch.item_ids_BL.shape[1]):
        is_fitting_B = is_padding_BL[:, :-width].all(dim=1)
        if is_fitting_B.any():
            narrow = _rows(_cut(batch, width), is_fitting_B)
            words = f"the scores of rows cut to a width of {width} differ from those with padding"
            _same(expected[is_fitting_B], _scores(task, narrow), words)


def check_rows(subject: Subject) -> None:
    """Check that a row's scores do not depend on the other rows of its batch.

    Raises:
        AssertionError: they do.
    """
    task = subject.task().eval()
    batch = subject.batch(is_padded=subject.settings.samples == "histories")
    together = _scores(task, batch)
    for row in range(_ROWS):
        alone = _rows(batch, torch.arange(_ROWS) == row)
        words = "the scores of a row depend on the other rows of its batch"
        _same(together[row : row + 1], _scores(task, alone), words)


def check_state(subject: Subject) -> None:
    """Check that a checkpoint holds all of a model: loaded, it scores and goes on learning alike.

    Raises:
        AssertionError: the scores differ, or the weights after one more step.
    """
    first, second = subject.task(seed=1), subject.task(seed=7)
    second.load_state_dict(first.state_dict())
    batch = subject.batch()
    words = "a model with the weights of another scores otherwise: register what it holds"
    _same(_scores(first.eval(), batch), _scores(second.eval(), batch), words)
    for task in (first, second):
        torch.manual_seed(3)  # of dropout and drawn items
        task.train()
        task(subject.training_batch()).loss_B.mean().backward()
        torch.optim.SGD(task.parameters(), lr=0.1).step()
    state = second.state_dict()
    for name, value in first.state_dict().items():
        words = f"{name} differs after one more step of a model that was loaded"
        _same(value.float(), state[name].float(), words)


@torch.no_grad()
def _scores(task: Task, batch: Batch) -> torch.Tensor:
    """The scores of the whole catalogue, [B, C]."""
    return torch.cat(list(task.catalogue_scores(batch)), dim=1)


def _rows(batch: Batch, is_chosen_B: torch.Tensor) -> Batch:
    """Some rows of a batch."""
    chosen = {
        field.name: value[is_chosen_B]
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor)
    }
    return replace(batch, **chosen, denominator=int(is_chosen_B.sum()))


def _cut(batch: Batch, width: int) -> Batch:
    """The last positions of a batch."""
    assert batch.times_BL is not None
    codes_BLG = batch.event_features_BLG
    return replace(
        batch, item_ids_BL=batch.item_ids_BL[:, -width:], ratings_BL=batch.ratings_BL[:, -width:],
        times_BL=batch.times_BL[:, -width:],
        event_features_BLG=None if codes_BLG is None else codes_BLG[:, -width:],
    )  # fmt: skip


def _same(one: torch.Tensor, other: torch.Tensor, words: str) -> None:
    """Refuse what differs by more than the order of a sum does."""
    if not _is_close(one, other):
        largest = float((one - other).abs().max())
        raise AssertionError(f"{words} (largest difference {largest:.3g})")


def _is_close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def _require(is_true: bool, words: str) -> None:
    if not is_true:
        raise AssertionError(words)
