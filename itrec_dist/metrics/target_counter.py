"""Counts the targets of a split, and those that no ranking could find.

All counts are whole numbers, exact under any number of workers.
"""

import torch
from torch import Tensor

from itrec_dist.data.schema import PAD
from itrec_dist.metrics.targets import TargetCounts


def distinct(target_ids_BK: Tensor, weight_B: Tensor) -> tuple[Tensor, Tensor]:
    """The targets of each window in ascending order, and which of them count, [B, K] each.

    Padding, repeats and the rows of weight 0 do not count.
    """
    targets_BK = target_ids_BK.to(torch.int64).sort(dim=1).values
    is_target_BK = targets_BK != PAD
    is_target_BK[:, 1:] &= targets_BK[:, 1:] != targets_BK[:, :-1]
    return targets_BK, is_target_BK & (weight_B > 0)[:, None]


class TargetCounter:
    """Counts the targets of a split; `popularity_C` is how often each item is one in training."""

    def __init__(self, popularity_C: Tensor) -> None:
        """Start at zero."""
        self._is_trained_V = torch.nn.functional.pad(popularity_C > 0, (1, 0))
        self._counts = torch.zeros(3, dtype=torch.int64, device=popularity_C.device)

    def update(self, targets_BK: Tensor, is_target_BK: Tensor, left_out_ids_BS: Tensor) -> None:
        """Count the targets of windows, as from `distinct`."""
        is_left_out_BK = torch.stack(
            [(left_out_ids_BS == ids_B1).any(dim=1) for ids_B1 in targets_BK.split(1, dim=1)], dim=1
        )
        self._counts += torch.stack(
            [
                is_target_BK.sum(),
                (is_target_BK & ~self._is_trained_V[targets_BK]).sum(),
                (is_target_BK & is_left_out_BK).sum(),
            ]
        )

    def state(self) -> Tensor:
        """All counts, flat float64, to be summed over workers."""
        return self._counts.double()

    def load(self, state: Tensor) -> None:
        """Replace all counts by a state, such as the sum of all workers' states."""
        self._counts.copy_(state.round().to(torch.int64))

    def counts(self) -> TargetCounts | None:
        """The counts so far; None if nothing was counted."""
        found = TargetCounts(*(int(count) for count in self._counts.tolist()))
        return found if found.num_targets else None
