"""Matrix factorisation of implicit feedback by another library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ials(Baseline):
    """The baseline `ials`: `AlternatingLeastSquares` of the package implicit.

    The users' sets of training items are factorised by weighted least squares: Hu, Koren and
    Volinsky, Collaborative Filtering for Implicit Feedback Datasets (2008). A row is scored by the
    factors of a user with its items, whatever their order.
    """

    package: ClassVar[str | None] = "implicit"

    width: int = 64
    """Width of the factors."""
    alpha: float = 1.0
    """Weight of an item that a user has, relative to one that they have not, above 0."""
    penalty: float = 0.01
    """L2 penalty on the factors, at least 0."""
    rounds: int = 15
    """Times that the factors of users and items are solved for."""
    seed: int = 0
    """Seed of the initial factors."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        if not (min(self.width, self.rounds) >= 1 and self.alpha > 0 and self.penalty >= 0):
            raise ConfigError(
                f"ials.width is {self.width}, rounds {self.rounds}, alpha {self.alpha} and penalty "
                f"{self.penalty}: give at least 1, at least 1, above 0 and at least 0"
            )

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Fit the library's model."""
        import torch
        from implicit.cpu.als import AlternatingLeastSquares
        from scipy.sparse import csr_matrix
        from threadpoolctl import threadpool_limits

        num_items = training.manifest.num_items
        items_UV = csr_matrix(training.sequences.interactions(num_items), dtype=np.float32)
        model = AlternatingLeastSquares(
            factors=self.width, regularization=self.penalty, alpha=self.alpha,
            iterations=self.rounds, random_state=self.seed,
        )  # fmt: skip
        with threadpool_limits(1, "blas"):  # the library has threads of its own
            model.fit(items_UV, show_progress=False)

        def score(inputs: Inputs) -> Tensor:
            items_BV = csr_matrix(inputs.multi_hot(num_items), dtype=np.float32)
            with threadpool_limits(1, "blas"):
                users_BD = model.recalculate_user(np.arange(len(inputs)), items_BV)
            scores_BV = users_BD.astype(np.float64) @ model.item_factors.T.astype(np.float64)
            return torch.from_numpy(scores_BV[:, 1:])

        return score
