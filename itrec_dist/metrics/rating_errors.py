"""The judge of rating prediction, exact under any number of workers.

A metric's terms are summed as whole multiples of 2^-24, with errors relative to the width of the
rating scale, so that sums over batches and workers are exact in any order; the rounding is far
below any printed digit. A prediction that is not finite makes the figures NaN. The figures are
defined by the metrics.
"""

import math

import torch
from torch import Tensor

from itrec_dist import metrics
from itrec_dist.data.schema import Batch
from itrec_dist.errors import ShardsError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import RATINGS, MetricChoice, RatingMetric
from itrec_dist.models.output import RatingOutput

_STEPS = 2.0**24  # 5e8 ratings before a sum leaves the whole numbers that float64 holds


class RatingJudge:
    """Judges one split: every target rating of every real window counts once."""

    def __init__(
        self, scale_width: float, device: torch.device, choice: MetricChoice | None = None
    ) -> None:
        """Start at zero; `choice` gives additional metrics."""
        self._width = scale_width or 1.0
        self._metrics = metrics.chosen(RatingMetric, choice or MetricChoice())
        # windows, ratings, predictions that are not finite, the sum of each metric's terms
        self._counts = torch.zeros(3 + len(self._metrics), dtype=torch.int64, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, batch: Batch, output: RatingOutput) -> None:
        """Count the real windows of a batch."""
        predicted_BK = output.predicted_BK
        is_real_B1 = batch.weight_B.unsqueeze(1) > 0
        error_BK = (predicted_BK.double() - batch.target_ratings_BK.double()) / self._width
        is_not_finite_BK = ~error_BK.isfinite() & is_real_B1
        is_counted_BK = is_real_B1 & ~is_not_finite_BK
        error_BK = torch.where(is_counted_BK, error_BK, 0.0)
        num_windows = is_real_B1.sum()
        terms = [
            _whole(torch.where(is_counted_BK, metric.term(error_BK, self._width), 0.0))
            for metric in self._metrics
        ]
        num_ratings = num_windows * predicted_BK.shape[1]
        self._counts += torch.stack([num_windows, num_ratings, is_not_finite_BK.sum(), *terms])
        self._loss += (output.loss_B * batch.weight_B).sum()

    def state(self) -> Tensor:
        """All counts, flat float64, to be summed over workers."""
        return torch.cat([self._loss.reshape(1), self._counts.double()])

    def load(self, state: Tensor) -> None:
        """Replace all counts by a state, such as the sum of all workers' states."""
        self._loss.copy_(state[0])
        self._counts.copy_(state[1:].round().to(torch.int64))

    def judgement(self) -> Judgement:
        """The figures.

        Raises:
            ShardsError: no window was counted.
        """
        num_windows, num_ratings, lost, *terms = self._counts.tolist()
        if num_windows == 0:
            raise ShardsError("there is nothing to judge: the split holds no window with a target")
        figures = {
            metric.name: math.nan
            if lost
            else metric.compute(term / _STEPS / num_ratings, self._width)
            for metric, term in zip(self._metrics, terms, strict=True)
        }
        return Judgement(float(self._loss) / num_windows, num_windows, {RATINGS: figures})


def _whole(values: Tensor) -> Tensor:
    return (values.double() * _STEPS).round().to(torch.int64).sum()
