"""The most frequent targets of the latest training windows, the same for every user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.baselines import NextItemsTrainingData, Scorer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RecentPopularity:
    """The baseline `recent_popularity`: occurrences as a target in the latest training windows.

    Windows are ordered by the time of their first target, then by window id. What counts as recent
    is fixed at the end of training, for all evaluated windows.
    """

    matrices: ClassVar[int] = 0
    uses_times: ClassVar[bool] = True

    share: float = 0.1
    """Fraction of the training windows that counts as recent, above 0 and at most 1."""

    def __post_init__(self) -> None:
        """Refuse an impossible share."""
        if not 0 < self.share <= 1:
            raise ConfigError(
                f"recent_popularity.share is {self.share}, allowed is above 0 and at most 1"
            )

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Count the targets of the latest windows."""
        import torch

        windows = training.windows
        latest_first = np.lexsort((windows.window_ids, windows.target_time))[::-1]
        recent = latest_first[: int(np.ceil(self.share * len(windows)))]
        num_values = training.manifest.num_items + 1
        counts_V = np.bincount(windows.target_ids[recent].reshape(-1), minlength=num_values)
        counts_C = torch.tensor(counts_V[1:], dtype=torch.float64)

        def score(item_ids_BL: Tensor) -> Tensor:
            return counts_C.expand(len(item_ids_BL), -1)

        return score
