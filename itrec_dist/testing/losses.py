"""What losses promise: those of ranked items and those of predicted ratings."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from itrec_dist.errors import ConfigError
from itrec_dist.losses.loss import CountingLoss, RankingLoss, RatingLoss
from itrec_dist.models.item_table import ItemTable, Queries
from itrec_dist.testing.claims import require, same

if TYPE_CHECKING:
    from itrec_dist.losses.config import LossConfig

_N, _C, _D = 24, 10, 8  # queries, items, width
_STEPS = 80


def check_loss(loss: LossConfig) -> None:
    """Check all that losses promise.

    Padding adds nothing, the gradients are finite, and stepping along them leads to the targets: a
    loss of items ranks them high, a loss of ratings predicts them.

    Args:
        loss: the settings of the loss, which are the loss.

    Raises:
        AssertionError: a promise is broken; the message says which.
        ConfigError: it is a loss of neither kind.

    Examples:
        >>> testing.check_loss(MyLossConfig(negatives=4))
    """
    require(is_dataclass(loss), "the settings of a loss are a frozen dataclass")
    if isinstance(loss, RatingLoss):
        _check_ratings(loss)
        return
    counts_C = torch.arange(1, _C + 1)
    made = loss.for_counts(counts_C) if isinstance(loss, CountingLoss) else loss
    if not isinstance(made, RankingLoss):
        raise ConfigError(
            f"{type(loss).__name__} is no loss: it has neither per_query and initial_bias, for "
            "ranked items, nor per_window, for ratings"
        )
    _check_padding(made)
    _check_learning(made)
    bias_C = made.initial_bias(counts_C, int(counts_C.sum()))
    require(bias_C.shape == (_C,), f"initial_bias has the shape {tuple(bias_C.shape)}, not [C]")
    require(bool(bias_C.isfinite().all()), "initial_bias is not finite")


def _drawn() -> tuple[nn.Parameter, nn.Parameter, torch.Tensor]:
    """Hidden states, item vectors and targets."""
    torch.manual_seed(5)
    hidden_ND, weight_CD = torch.randn(_N, _D) / 4, torch.randn(_C, _D)
    return nn.Parameter(hidden_ND), nn.Parameter(weight_CD), torch.randint(1, _C + 1, (_N, 1))


def _losses(
    loss: RankingLoss, hidden_ND: torch.Tensor, weight_CD: torch.Tensor, targets_NK: torch.Tensor
) -> torch.Tensor:
    torch.manual_seed(9)  # a loss may draw items
    losses_N = loss.per_query(Queries(hidden_ND), targets_NK, ItemTable(weight_CD, None))
    shape = tuple(losses_N.shape)
    require(shape == (_N,), f"per_query gives the shape {shape}, not a loss for each query, [N]")
    return losses_N


def _check_padding(loss: RankingLoss) -> None:
    hidden_ND, weight_CD, targets_N1 = _drawn()
    padded_NK = torch.cat([targets_N1, torch.zeros_like(targets_N1)], dim=1)
    padded_NK[0] = 0
    with torch.no_grad():
        alone_N = _losses(loss, hidden_ND, weight_CD, targets_N1)
        padded_N = _losses(loss, hidden_ND, weight_CD, padded_NK)
    require(float(padded_N[0].abs()) == 0, "the loss of a query without a target is not 0")
    # Those that draw items may draw others where there is another place for a target.
    draws = not torch.equal(alone_N, _drawn_anew(loss, hidden_ND, weight_CD, targets_N1))
    if not draws:
        same(alone_N[1:], padded_N[1:], "a target that is padding changes the loss")


@torch.no_grad()
def _drawn_anew(
    loss: RankingLoss, hidden_ND: torch.Tensor, weight_CD: torch.Tensor, targets_NK: torch.Tensor
) -> torch.Tensor:
    torch.manual_seed(10)
    with torch.enable_grad():  # as in training, where items are drawn
        return loss.per_query(Queries(hidden_ND), targets_NK, ItemTable(weight_CD, None)).detach()


def _check_learning(loss: RankingLoss) -> None:
    hidden_ND, weight_CD, targets_N1 = _drawn()
    optimizer = torch.optim.Adam([hidden_ND, weight_CD], lr=0.1)
    before = _rank(hidden_ND, weight_CD, targets_N1)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        losses_N = loss.per_query(Queries(hidden_ND), targets_N1, ItemTable(weight_CD, None))
        require(bool(losses_N.isfinite().all()), "the loss is not finite")
        require(losses_N.requires_grad, "the loss has no gradient")
        losses_N.mean().backward()
        for name, parameter in (("queries", hidden_ND), ("item vectors", weight_CD)):
            gradient = parameter.grad
            words = f"the loss has no finite gradient with regard to the {name}"
            require(gradient is not None and bool(gradient.isfinite().all()), words)
        optimizer.step()
    after = _rank(hidden_ND, weight_CD, targets_N1)
    require(
        after < 1.5,
        f"{_STEPS} steps along the gradients lead the targets from rank {before:.1f} of {_C} to "
        f"{after:.1f}, in the mean, and not to the first",
    )


@torch.no_grad()
def _rank(hidden_ND: torch.Tensor, weight_CD: torch.Tensor, targets_N1: torch.Tensor) -> float:
    """The mean rank of the targets, 1 is the best."""
    scores_NC = hidden_ND @ weight_CD.T
    own_N1 = scores_NC.gather(1, targets_N1 - 1)
    return float((scores_NC > own_N1).sum(dim=1).float().mean()) + 1


def _check_ratings(loss: RatingLoss) -> None:
    torch.manual_seed(5)
    ratings_BK = torch.randint(1, 6, (_N, 2)).float()
    predicted_BK = nn.Parameter(torch.full_like(ratings_BK, 3.0))
    optimizer = torch.optim.Adam([predicted_BK], lr=0.1)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        losses_B = loss.per_window(predicted_BK, ratings_BK)
        shape = tuple(losses_B.shape)
        require(shape == (_N,), f"per_window gives the shape {shape}, not that of windows, [B]")
        require(bool(losses_B.isfinite().all()), "the loss is not finite")
        losses_B.mean().backward()
        gradient = predicted_BK.grad
        words = "the loss has no finite gradient with regard to the predictions"
        require(gradient is not None and bool(gradient.isfinite().all()), words)
        optimizer.step()
    error = float((predicted_BK.detach() - ratings_BK).abs().mean())
    require(
        error < 0.5,
        f"{_STEPS} steps along the gradients lead to predictions that are {error:.2f} off, in the "
        "mean, and not to the ratings",
    )
