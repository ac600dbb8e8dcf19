"""An item-item regression without self-similarity, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import linalg

from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer, distinct, summed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ease(Baseline):
    """The baseline `ease`: each item regressed on all others over the users' sets of items.

    Scores are x'B, where x holds 1 at the items of a row, whatever their order. With the training
    users' items X and P = (X'X + penalty I)^-1, B_ij = -P_ij / P_jj off the diagonal and 0 on it:
    Steck, Embarrassingly Shallow Autoencoders for Sparse Data (2019), equation 8.
    """

    matrices: ClassVar[int] = 4

    penalty: float = 500.0
    """L2 penalty on the coefficients, above 0."""

    def __post_init__(self) -> None:
        """Refuse an impossible penalty."""
        if not 0 < self.penalty < math.inf:
            raise ConfigError(f"ease.penalty is {self.penalty}, allowed is above 0")

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Invert the Gram matrix of the items."""
        import torch

        num_items = training.manifest.num_items
        items_UC = training.sequences.interactions(num_items)[:, 1:]
        gram_CC = np.zeros((num_items, num_items), order="F")
        (items_UC.T @ items_UC).toarray(out=gram_CC)
        gram_CC[np.diag_indices(num_items)] += self.penalty
        factor_CC, failed = linalg.lapack.dpotrf(gram_CC, lower=True, overwrite_a=True)
        assert not failed, "a Gram matrix with a penalty is positive definite"
        lower_CC, _ = linalg.lapack.dpotri(factor_CC, lower=True, overwrite_c=True)
        weights_VC = torch.zeros(num_items + 1, num_items, dtype=torch.float64)
        weights_CC = weights_VC[1:].numpy()
        weights_CC += np.tril(lower_CC)
        weights_CC += np.tril(lower_CC, -1).T
        weights_CC /= -np.diag(lower_CC)
        np.fill_diagonal(weights_CC, 0)

        def score(inputs: Inputs) -> Tensor:
            return summed(distinct(inputs.item_ids_BL), weights_VC)

        return score
