"""What models promise, of both tasks: those that rank items and those that predict ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.models.item_table import StepModel
from itrec_dist.models.output import RatingOutput
from itrec_dist.tasks import TASKS
from itrec_dist.tasks.ratings.task import Ratings
from itrec_dist.testing.claims import is_close, require, same
from itrec_dist.testing.export import check_export
from itrec_dist.testing.subject import ROWS, Subject, cut, rows, scores

if TYPE_CHECKING:
    from itrec_dist.losses.config import LossConfig
    from itrec_dist.models.config import ModelConfig

_LATER = 10**6  # time units


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
        ConfigError: it neither ranks items nor predicts ratings.

    Examples:
        >>> testing.check_model(MyConfig(width=8, dropout=0.0))
    """
    kind = TASKS[settings.task]
    if not (kind.ranks or issubclass(kind, Ratings)):
        raise ConfigError(
            f"the checks are for models that rank items or predict ratings, and "
            f"model.kind={settings.kind} is of the task {settings.task}: test it on shards"
        )
    subject = Subject(settings, loss, spec)
    check_gradients(subject, unused)
    check_leakage(subject)
    check_padding(subject)
    check_rows(subject)
    check_state(subject)
    if not kind.ranks:
        check_unknown(subject)
    elif not settings.uses_time_of_query:
        check_export(subject)


def check_gradients(subject: Subject, unused: Sequence[str] = ()) -> None:
    """Check that the loss is finite and teaches every parameter something.

    Raises:
        AssertionError: a parameter has no gradient, or one that is not finite.
    """
    task = subject.task()
    losses_B = task(subject.training_batch()).loss_B
    require(bool(losses_B.isfinite().all()), "the loss is not finite")
    losses_B.sum().backward()
    for name, parameter in task.named_parameters():
        if name.removeprefix("model.").startswith(tuple(unused)) or not parameter.requires_grad:
            continue
        gradient = parameter.grad
        require(
            gradient is not None and bool(gradient.to_dense().any()),
            f"the loss does not depend on the parameter {name}: use it, leave it out, or name it "
            "in `unused`",
        )
        assert gradient is not None
        is_finite = bool(gradient.to_dense().isfinite().all())
        require(is_finite, f"the gradient of {name} is not finite")


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
    same(scores(task, batch), scores(task, other), "the scores depend on the targets")
    if isinstance(task, Ratings):
        other = replace(other, target_ids_BK=batch.target_ids_BK)
        words = "the predicted ratings depend on the ratings that they are compared with"
        same(_predicted(task, batch), _predicted(task, other), words)
    if not subject.settings.uses_time_of_query:
        assert batch.target_time_B is not None
        other = replace(batch, target_time_B=batch.target_time_B + _LATER)
        words = "the scores depend on the time of the target: say so by uses_time_of_query"
        same(scores(task, batch), scores(task, other), words)
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
        same(
            before_BLD[:, :place], after_BLD[:, :place],
            f"positions before {place} depend on the event at {place}, which is later",
        )  # fmt: skip
        is_seen = not is_close(before_BLD[:, place], after_BLD[:, place])
        require(is_seen, f"position {place} does not depend on its own event")


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
    expected = scores(task, batch)
    require(bool(expected.isfinite().all()), "the scores of padded rows are not finite")
    words = "the scores depend on ratings or times in padded places"
    same(expected, scores(task, other), words)
    if subject.settings.samples != "histories":
        return  # windows have one width
    for width in range(1, batch.item_ids_BL.shape[1]):
        is_fitting_B = is_padding_BL[:, :-width].all(dim=1)
        if is_fitting_B.any():
            narrow = rows(cut(batch, width), is_fitting_B)
            words = f"the scores of rows cut to a width of {width} differ from those with padding"
            same(expected[is_fitting_B], scores(task, narrow), words)


def check_rows(subject: Subject) -> None:
    """Check that a row's scores do not depend on the other rows of its batch.

    Raises:
        AssertionError: they do.
    """
    task = subject.task().eval()
    batch = subject.batch(is_padded=subject.settings.samples == "histories")
    together = scores(task, batch)
    for row in range(ROWS):
        alone = rows(batch, torch.arange(ROWS) == row)
        words = "the scores of a row depend on the other rows of its batch"
        same(together[row : row + 1], scores(task, alone), words)


def check_unknown(subject: Subject) -> None:
    """Check that a model of ratings answers for users and items without training ratings.

    Such are those that came after training, whose numbers lie beyond its tables.

    Raises:
        AssertionError: a prediction fails, is not finite, or tells two unknown users apart.
    """
    task, batch = subject.task().eval(), subject.batch()
    assert isinstance(task, Ratings)
    beyond = subject.data.num_users + 1 + torch.arange(ROWS)
    targets_BK = batch.target_ids_BK.clone()
    targets_BK[ROWS // 2 :] = subject.data.num_items + 5
    nobody = replace(
        batch, user_ids_B=beyond, target_ids_BK=targets_BK,
        item_ids_BL=batch.item_ids_BL[:1].expand(ROWS, -1),
        ratings_BL=batch.ratings_BL[:1].expand(ROWS, -1),
        user_features_BF=batch.user_features_BF[:1].expand(ROWS, -1),
    )  # fmt: skip
    try:
        found_BK = _predicted(task, nobody)
    except (IndexError, RuntimeError) as error:
        raise AssertionError(
            "users or items beyond the tables cannot be predicted for: pass ids through "
            f"known_users and known_items ({str(error).splitlines()[0]})"
        ) from error
    require(bool(found_BK.isfinite().all()), "the ratings of unknown users are not finite")
    words = "unknown items get different ratings from unknown users with one history"
    same(found_BK[ROWS // 2 :], found_BK[-1:].expand(ROWS - ROWS // 2, -1), words)


@torch.no_grad()
def _predicted(task: Ratings, batch: Batch) -> torch.Tensor:
    """The predicted ratings of the targets, [B, K]."""
    output = task(batch)
    assert isinstance(output, RatingOutput)
    return output.predicted_BK


def check_state(subject: Subject) -> None:
    """Check that a checkpoint holds all of a model: loaded, it scores and goes on learning alike.

    Raises:
        AssertionError: the scores differ, or the weights after one more step.
    """
    first, second = subject.task(seed=1), subject.task(seed=7)
    second.load_state_dict(first.state_dict())
    batch = subject.batch()
    words = "a model with the weights of another scores otherwise: register what it holds"
    same(scores(first.eval(), batch), scores(second.eval(), batch), words)
    for task in (first, second):
        torch.manual_seed(3)  # of dropout and drawn items
        task.train()
        task(subject.training_batch()).loss_B.mean().backward()
        torch.optim.SGD(task.parameters(), lr=0.1).step()
    state = second.state_dict()
    for name, value in first.state_dict().items():
        words = f"{name} differs after one more step of a model that was loaded"
        same(value.float(), state[name].float(), words)
