"""What metrics promise: of rankings and of predicted ratings."""

from __future__ import annotations

import math

import torch

from itrec_dist.errors import ConfigError
from itrec_dist.metrics.metric import Metric, RankingMetric, RatingMetric
from itrec_dist.metrics.ranking import RankingMetrics
from itrec_dist.testing.claims import require

_B, _C, _K = 30, 40, 5  # windows, items, places
_WIDTH = 4.0  # of the rating scale


def check_metric(metric: type[Metric]) -> None:
    """Check all that metrics promise.

    It is described, and finite for the best, the worst and other rankings; better ones have better
    figures; and one that says that it is a mean over windows is that.

    Args:
        metric: the class.

    Raises:
        AssertionError: a promise is broken; the message says which.
        ConfigError: it is no metric of rankings or of ratings.

    Examples:
        >>> testing.check_metric(F1Metric)
    """
    made = metric()
    for name in ("name", "label"):
        is_text = isinstance(getattr(made, name, None), str) and bool(getattr(made, name))
        require(is_text, f"{metric.__name__} has no {name}, which tables and settings show")
    require(not set("@/, ") & set(made.name), f"{made.name!r} is not one word without @ and /")
    if isinstance(made, RankingMetric):
        _check_ranking(made)
    elif isinstance(made, RatingMetric):
        _check_ratings(made)
    else:
        raise ConfigError(f"{metric.__name__} is neither a RankingMetric nor a RatingMetric")


def _figure(metric: RankingMetric, top_BN: torch.Tensor, targets_BT: torch.Tensor, k: int) -> float:
    """The figure as the judge computes it."""
    counted = RankingMetrics(torch.arange(_C) + 1, targets_BT.shape[1], (k,), [metric])
    counted.update(top_BN, targets_BT, torch.ones(len(top_BN)))
    found = float(metric.compute(counted.counts(), k))
    require(math.isfinite(found), f"{metric.name}@{k} is {found}, which is no finite number")
    return found


def _check_ranking(metric: RankingMetric) -> None:
    draw = torch.Generator().manual_seed(4)
    order_BC = torch.stack([torch.randperm(_C, generator=draw) + 1 for _ in range(_B)])
    targets_BT = order_BC[:, :3].clone()
    targets_BT[::4, 1:] = 0  # some windows have one target
    for k in (1, _K):
        best = _figure(metric, order_BC, targets_BT, k)
        some = _figure(metric, order_BC.roll(2, dims=1), targets_BT, k)
        worst = _figure(metric, order_BC.flip(1), targets_BT, k)
        if metric.higher_is_better is not None:
            sign = 1 if metric.higher_is_better else -1
            require(
                sign * best > sign * worst and sign * best >= sign * some >= sign * worst,
                f"{metric.name}@{k} is {best:.4g} where all targets come first, {some:.4g} where "
                f"they come later and {worst:.4g} where they come last, which is no order of "
                f"higher_is_better={metric.higher_is_better}",
            )
    if metric.is_mean:
        shown_BC = order_BC.roll(2, dims=1)  # some of the targets are within the first places
        rows = [
            _figure(metric, shown_BC[row : row + 1], targets_BT[row : row + 1], _K - 1)
            for row in range(_B)
        ]
        whole = _figure(metric, shown_BC, targets_BT, _K - 1)
        require(
            math.isclose(whole, sum(rows) / _B, rel_tol=1e-6, abs_tol=1e-9),
            f"{metric.name} is {whole:.6g} of all windows and {sum(rows) / _B:.6g} in the mean "
            "over them: leave out is_mean",
        )


def _check_ratings(metric: RatingMetric) -> None:
    draw = torch.Generator().manual_seed(4)
    error_BK = (torch.rand(_B, 2, generator=draw) - 0.5).double()
    figures = []
    for size in (0.0, 0.3, 1.0):
        term_BK = metric.term(error_BK * size, _WIDTH)
        shape = tuple(term_BK.shape)
        require(shape == (_B, 2), f"term gives the shape {shape}, not that of the ratings, [B, K]")
        figures.append(float(metric.compute(float(term_BK.double().mean()), _WIDTH)))
    require(all(map(math.isfinite, figures)), f"{metric.name} is {figures}, not finite")
    if metric.higher_is_better is not None:
        sign = 1 if metric.higher_is_better else -1
        exact, near, far = (sign * figure for figure in figures)
        require(
            exact > far and exact >= near >= far,
            f"{metric.name} is {figures} of exact, near and far predictions, which is no order of "
            f"higher_is_better={metric.higher_is_better}",
        )
