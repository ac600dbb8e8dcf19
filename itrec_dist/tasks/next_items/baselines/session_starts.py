"""The most frequent first events of sessions, the same for every user."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from itrec_dist.data.manifest import SampleKind
from itrec_dist.data.shards.arrays import HistoryRows
from itrec_dist.errors import ConfigError
from itrec_dist.tasks.next_items.baselines import Baseline, NextItemsTrainingData
from itrec_dist.tasks.next_items.baselines.trending import ticks_per_second
from itrec_dist.tasks.next_items.scoring import Inputs, Scorer

if TYPE_CHECKING:
    from torch import Tensor

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class SessionStarts(Baseline):
    """The baseline `session_starts`: how often an item was the first one after a pause.

    A split by date asks what a user does on coming back, and that differs from what follows within
    a session. The first event of a user is nobody's target and does not count; all targets count
    where no pause is so long.
    """

    samples: ClassVar[tuple[SampleKind, ...]] = ("histories",)
    uses_times: ClassVar[bool] = True

    pause_hours: float = 1.0
    """Hours since the event before from which a session is a new one, above 0. The unit of
    timestamps is found as for trending."""

    def __post_init__(self) -> None:
        """Refuse an impossible number."""
        if not 0 < self.pause_hours < math.inf:
            raise ConfigError(
                f"session_starts.pause_hours is {self.pause_hours}, allowed is above 0"
            )

    def fit(self, training: NextItemsTrainingData) -> Scorer:
        """Count the targets that follow a pause."""
        import torch

        rows = training.rows
        assert isinstance(rows, HistoryRows), "as `samples` says"
        # A row's first event is no target, so that the pauses between rows do not matter.
        pauses_N = np.diff(rows.times.values, prepend=0)
        least = self.pause_hours * _SECONDS_PER_HOUR * ticks_per_second(rows.times.values)
        is_target_N = rows.is_learned
        is_start_N = is_target_N & (pauses_N >= least)
        counted_N = is_start_N if is_start_N.any() else is_target_N
        num_values = training.manifest.num_items + 1
        counts_V = np.bincount(rows.item_ids.values[counted_N], minlength=num_values)
        counts_C = torch.tensor(counts_V[1:], dtype=torch.float64)

        def score(inputs: Inputs) -> Tensor:
            return counts_C.expand(len(inputs), -1)

        return score
