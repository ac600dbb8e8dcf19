"""The losses: one file each.

Those of ranking offer `loss(logits_BC, target_ids_BK) -> [B]` and `initial_bias`, those of rating
prediction `loss(predicted_BK, ratings_BK) -> [B]`. Losses are per window; weighting and averaging
belong to the loop. Logits come in float32.
"""

from typing import Literal, Protocol

import torch

from itrec_dist.losses import bce, ce, mse, softmax

LossName = Literal["bce", "ce", "softmax", "mse", "contrast"]


class Loss(Protocol):
    """What a module of this folder offers for the ranking of a catalogue."""

    def loss(self, logits_BC: torch.Tensor, target_ids_BK: torch.Tensor) -> torch.Tensor:
        """Loss per window, [B], from logits [B, C] and target ids [B, K] in 1 .. C."""

    def initial_bias(self, target_counts_C: torch.Tensor, num_windows: int) -> torch.Tensor:
        """Output bias under which an untrained model predicts the training popularity, [C]."""


class RatingLoss(Protocol):
    """What a module of this folder offers for predicted ratings."""

    def loss(self, predicted_BK: torch.Tensor, ratings_BK: torch.Tensor) -> torch.Tensor:
        """Loss per window, [B], from the predicted and the given ratings of its targets."""


LOSSES: dict[LossName, Loss] = {"bce": bce, "ce": ce, "softmax": softmax}
RATING_LOSSES: dict[LossName, RatingLoss] = {"mse": mse}
