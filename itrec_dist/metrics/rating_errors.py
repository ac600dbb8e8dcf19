"""Metrics of rating prediction, exact under any number of workers.

For predictions r' of ratings r:

    rmse    square root of the mean of (r' - r)^2
    mae     mean of |r' - r|

Errors are counted as whole multiples of 2^-24 of the rating scale's width (and squares of its
square), so that sums over batches and workers are exact in any order; the rounding is far below
the last digit that anybody prints. A prediction that is no finite number makes the figures NaN.
"""

import math
from typing import Any

import torch
from torch import Tensor

from itrec_dist.data.schema import Batch
from itrec_dist.errors import ShardsError
from itrec_dist.models.output import RatingOutput

RATING_METRICS = ("rmse", "mae")
"""Names of the figures; less is better."""

GROUP = "ratings"
"""The key of a Judgement under which they stand."""

RATING_MONITORS = ("loss", *(f"{GROUP}/{name}" for name in RATING_METRICS))
"""Figures of a Judgement that can choose the best epoch."""

_STEPS = 2.0**24  # 5e8 ratings before a sum leaves the whole numbers that float64 holds


class RatingJudge:
    """Judges one split: every target rating of every real window counts once."""

    def __init__(self, scale_width: float, device: torch.device) -> None:
        self._width = scale_width or 1.0
        # windows, ratings, squared and absolute errors, predictions that are no numbers
        self._counts = torch.zeros(5, dtype=torch.int64, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, batch: Batch, output: RatingOutput) -> None:
        """Count the real windows of a batch."""
        predicted_BK = output.predicted_BK
        is_real_B1 = batch.weight_B.unsqueeze(1) > 0
        error_BK = (predicted_BK.double() - batch.target_ratings_BK.double()) / self._width
        is_lost_BK = ~error_BK.isfinite() & is_real_B1
        error_BK = torch.where(is_real_B1 & ~is_lost_BK, error_BK, 0.0)
        num_windows = is_real_B1.sum()
        added = (
            num_windows, num_windows * predicted_BK.shape[1], _whole(error_BK.square()),
            _whole(error_BK.abs()), is_lost_BK.sum(),
        )  # fmt: skip
        self._counts += torch.stack(added)
        self._loss += (output.loss_B * batch.weight_B).sum()

    def state(self) -> Tensor:
        """Everything counted, flat float64: what workers add up."""
        return torch.cat([self._loss.reshape(1), self._counts.double()])

    def load(self, state: Tensor) -> None:
        """Replace everything by a state, such as the sum of all workers' states."""
        self._loss.copy_(state[0])
        self._counts.copy_(state[1:].round().to(torch.int64))

    def judgement(self) -> dict[str, Any]:
        """The figures as `evaluation.json` holds them.

        Raises:
            ShardsError: no window was counted.
        """
        num_windows, num_ratings, squares, distances, lost = self._counts.tolist()
        if num_windows == 0:
            raise ShardsError("there is nothing to judge: the split holds no window with a target")
        mse = squares / _STEPS / num_ratings * self._width**2
        mae = distances / _STEPS / num_ratings * self._width
        figures = (math.sqrt(mse), mae) if not lost else (math.nan, math.nan)
        return {
            "loss": float(self._loss) / num_windows,
            "num_windows": num_windows,
            GROUP: dict(zip(RATING_METRICS, figures, strict=True)),
        }


def _whole(values: Tensor) -> Tensor:
    return (values * _STEPS).round().to(torch.int64).sum()
