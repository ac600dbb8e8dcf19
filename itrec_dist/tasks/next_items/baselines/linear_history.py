"""Linear regression from a user's decayed history to the next event, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import linalg

from itrec_dist.data.manifest import SampleKind
from itrec_dist.data.shards.arrays import Int64
from itrec_dist.data.training_sequences import Sequences
from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer, recency_weights, summed

if TYPE_CHECKING:
    from torch import Tensor

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LinearHistory(Baseline):
    """The baseline `linear_history`: regression from the decayed history to the next event.

    Every event of a training history but the first, or every one that is learned from, is a row of
    the regression: x holds decay^age
    at the items before it, the latest having age 0 (an item that occurs twice gets the sum), and y
    holds 1 at the event's item. Scores are x'W with W = (X'X + penalty I)^-1 X'Y, in float64.
    `ridge` is its counterpart for windows.
    """

    matrices: ClassVar[int] = 3
    samples: ClassVar[tuple[SampleKind, ...]] = ("histories",)

    penalty: float = 50.0
    """L2 penalty on the coefficients, above 0."""
    decay: float = 0.8
    """Weight of an event relative to the event after it, above 0 and at most 1."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if not 0 < self.penalty < math.inf:
            raise ConfigError(f"linear_history.penalty is {self.penalty}, allowed is above 0")
        if not 0 < self.decay <= 1:
            raise ConfigError(
                f"linear_history.decay is {self.decay}, allowed is above 0 and at most 1"
            )

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Accumulate X'X and X'Y, and solve."""
        import torch

        num_items = training.manifest.num_items
        gram_CC, cross_CC = normal_equations(training.sequences, num_items, self.decay)
        gram_CC[np.diag_indices(num_items)] += self.penalty
        # Both are stored by columns, as LAPACK has them, and are overwritten.
        factor = linalg.cho_factor(gram_CC, lower=True, overwrite_a=True, check_finite=False)
        solved_CC = linalg.cho_solve(factor, cross_CC, overwrite_b=True, check_finite=False)
        del gram_CC, factor
        weights_VC = torch.zeros(num_items + 1, num_items, dtype=torch.float64)
        weights_VC[1:] = torch.from_numpy(solved_CC)

        def score(inputs: Inputs) -> Tensor:
            weights_BL = recency_weights(inputs.item_ids_BL, self.decay)
            return summed(inputs.item_ids_BL, weights_VC, weights_BL)

        return score


def normal_equations(sequences: Sequences, num_items: int, decay: float) -> tuple[Matrix, Matrix]:
    """The lower triangle of X'X, and X'Y, [C, C] each and stored by columns, without making X.

    Two events at places a <= b of a history are together in the rows of all later events t, with
    the weights decay^(t - 1 - a) and decay^(t - 1 - b). The sum of their products over t is
    decay^(b - a) times that of decay^(2 (t - 1 - b)), which is geometric and depends on b alone.
    """
    ids = sequences.item_ids.values.astype(np.int64) - 1
    repeats = _sums_of_squares(sequences, decay)
    gram_CC, cross_CC = (np.zeros((num_items, num_items), order="F") for _ in range(2))
    gram, cross = gram_CC.reshape(-1, order="A"), cross_CC.reshape(-1, order="A")
    np.add.at(gram, ids * (num_items + 1), repeats)
    for distance, earlier, later in sequences.pairs():
        first, second = ids[earlier], ids[later]
        learned = sequences.counted(later)
        np.add.at(cross, (second * num_items + first)[learned], decay ** (distance - 1))
        lower = np.minimum(first, second) * num_items + np.maximum(first, second)
        # A pair of one item stands on the diagonal, for both of its orders.
        shares = np.where(first == second, 2.0, 1.0) * decay**distance
        np.add.at(gram, lower, shares * repeats[later])
    return gram_CC, cross_CC


def _sums_of_squares(sequences: Sequences, decay: float) -> Matrix:
    """For each event, the sum of its squared weights over the rows of the events after it."""
    if sequences.is_counted is not None:
        return _sums_over_counted(sequences, sequences.is_counted, decay)
    lengths = sequences.item_ids.lengths
    ends = np.repeat(sequences.item_ids.offsets[1:], lengths)
    num_after: Int64 = ends - 1 - np.arange(len(ends))
    if decay == 1:
        return num_after.astype(np.float64)
    sums = (1 - decay ** (2.0 * num_after)) / (1 - decay**2)
    return sums.astype(np.float64)


def _sums_over_counted(
    sequences: Sequences, is_counted: npt.NDArray[np.bool_], decay: float
) -> Matrix:
    """The same where only some events have a row: from the last event of every sequence back."""
    lengths, offsets = sequences.item_ids.lengths, sequences.item_ids.offsets
    sums = np.zeros(len(is_counted))
    for from_end in range(2, int(lengths.max(initial=0)) + 1):
        place = offsets[1:][lengths >= from_end] - from_end
        sums[place] = is_counted[place + 1] + decay**2 * sums[place + 1]
    return sums
