"""The losses: one file each, with `loss(logits_BC, target_ids_BK) -> [B]` and `initial_bias`.

Losses are per window; weighting and averaging belong to the loop. Logits come in float32.
"""

from typing import Literal, Protocol

import torch

from itrec_dist.losses import bce, ce, softmax

LossName = Literal["bce", "ce", "softmax"]


class Loss(Protocol):
    """What a module of this folder offers."""

    def loss(self, logits_BC: torch.Tensor, target_ids_BK: torch.Tensor) -> torch.Tensor:
        """Loss per window, [B], from logits [B, C] and target ids [B, K] in 1 .. C."""

    def initial_bias(self, target_counts_C: torch.Tensor, num_windows: int) -> torch.Tensor:
        """Output bias under which an untrained model predicts the training popularity, [C]."""


LOSSES: dict[LossName, Loss] = {"bce": bce, "ce": ce, "softmax": softmax}
