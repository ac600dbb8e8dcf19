"""Ratings from item features, without other users' ratings of the same item."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from itrec_dist.data.shards.arrays import Items
from itrec_dist.errors import ConfigError
from itrec_dist.tasks.ratings.baselines import Predictor, RatingsTrainingData

if TYPE_CHECKING:
    from torch import Tensor

_WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class Content:
    """The baseline `content`: item features regressed on all ratings, then on each user's own.

        mean + g . x_i + b_u + w_u . x_i

    x_i are the item's features (genres and decade in MovieLens) and words that occur in several
    titles; g is one ridge regression over all ratings, b_u and w_u one per user over its residuals,
    so that an item that nobody has rated is predicted like any other.
    Source: Pazzani and Billsus, Content-Based Recommendation Systems, section on linear models.
    """

    package: ClassVar[str | None] = None

    penalty: float = 10.0
    """L2 penalty on the coefficients shared by all users, above 0."""
    user_penalty: float = 20.0
    """L2 penalty on each user's coefficients, above 0."""
    user_damping: float = 5.0
    """L2 penalty on user biases, above 0."""
    min_titles: int = 10
    """Number of titles that a word must occur in to be a feature; 0 uses no words."""

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        least = min(self.penalty, self.user_penalty, self.user_damping)
        if not (least > 0 and self.min_titles >= 0):
            raise ConfigError(
                f"content.penalty is {self.penalty}, user_penalty {self.user_penalty}, "
                f"user_damping {self.user_damping} and min_titles {self.min_titles}: the first "
                "three must be above 0, min_titles at least 0"
            )

    def fit(self, training: RatingsTrainingData) -> Predictor:
        """Solve for all users together, then for each user."""
        import torch

        ratings = training.ratings
        item_VF = item_features(training.items, self.min_titles)
        V, F = item_VF.shape
        mean = ratings.ratings_R.double().mean()
        rest_R = ratings.ratings_R.double() - mean
        # Ratings of one item share its features, so sums over ratings become sums over items.
        count_V = torch.bincount(ratings.item_ids_R, minlength=V).double()
        sum_V = torch.zeros(V, dtype=torch.float64).index_add_(0, ratings.item_ids_R, rest_R)
        gram_FF = item_VF.t() @ (item_VF * count_V.unsqueeze(1))
        common_V = item_VF @ _ridge(gram_FF, item_VF.t() @ sum_V, self.penalty)
        rest_R = rest_R - common_V[ratings.item_ids_R]
        penalty_E = torch.full((F + 1,), self.user_penalty, dtype=torch.float64)
        penalty_E[-1] = self.user_damping
        with_one_VE = torch.cat([item_VF, torch.ones(V, 1, dtype=torch.float64)], dim=1)
        user_UE = torch.zeros(training.data.num_users + 1, F + 1, dtype=torch.float64)
        order_R = torch.argsort(ratings.user_ids_R, stable=True)
        counts = torch.bincount(ratings.user_ids_R, minlength=len(user_UE)).tolist()
        for user, rows in enumerate(order_R.split(counts)):
            if len(rows):
                x_NE = with_one_VE[ratings.item_ids_R[rows]]
                user_UE[user] = _ridge(x_NE.t() @ x_NE, x_NE.t() @ rest_R[rows], penalty_E)

        def predict(user_ids_B: Tensor, item_ids_B: Tensor) -> Tensor:
            user_B = torch.where(user_ids_B < len(user_UE), user_ids_B, 0)
            item_B = torch.where(item_ids_B < V, item_ids_B, 0)
            own_B = (user_UE[user_B] * with_one_VE[item_B]).sum(dim=1)
            return mean + common_V[item_B] + own_B

        return predict


def item_features(items: Items, min_titles: int) -> Tensor:
    """Features and title words of every item, float64 [V, F], rows of unit length or zero."""
    import torch

    words = [set(_WORD.findall(title.lower())) for title in items.titles]
    counts = Counter(word for of_title in words for word in of_title)
    kept = sorted(word for word, n in counts.items() if min_titles and n >= min_titles)
    column = {word: at for at, word in enumerate(kept)}
    word_VW = torch.zeros(len(items) + 1, len(kept), dtype=torch.float64)
    for row, of_title in enumerate(words, 1):
        word_VW[row, [column[word] for word in of_title if word in column]] = 1.0
    feature_VF = torch.from_numpy(items.feature_matrix()).double()
    return torch.nn.functional.normalize(torch.cat([feature_VF, word_VW], dim=1), dim=1)


def _ridge(gram_FF: Tensor, cross_F: Tensor, penalty: float | Tensor) -> Tensor:
    """(X'X + diag(penalty))^-1 X'y."""
    import torch

    penalised_FF = gram_FF.clone()
    penalised_FF.diagonal().add_(penalty)
    factor_FF = torch.linalg.cholesky(penalised_FF)
    return torch.cholesky_solve(cross_F.unsqueeze(1), factor_FF).squeeze(1)
