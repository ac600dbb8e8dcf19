"""What a task returns for a batch: losses in training, and predictions in evaluation.

Not frozen: torch.compile builds these objects inside the compiled forward.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Output:
    """The loss of each window, [B], float32."""

    loss_B: Tensor


@dataclass
class LossOutput(Output):
    """Only losses: what every task returns in training."""


@dataclass
class RankingOutput(Output):
    """The best items of each window, best first, as ids: int64 [B, N], PAD where none is left."""

    top_ids_BN: Tensor
    """Of the whole catalogue."""
    unseen_ids_BN: Tensor
    """Of the catalogue without what the user has seen; see models/seen.py."""
    left_out_ids_BS: Tensor | None = None
    """The items left out of the second ranking, padded with PAD; None where it is not known."""


@dataclass
class RatingOutput(Output):
    """The predicted ratings of each window's targets, on the scale."""

    predicted_BK: Tensor
