"""Squared error of predicted ratings."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class MseConfig:
    """Loss: squared error."""

    kind: Literal["mse"] = "mse"
    """Kind of loss."""

    def per_window(self, predicted_BK: Tensor, ratings_BK: Tensor) -> Tensor:
        """Mean over a window's targets of the squared error, [B]."""
        return (predicted_BK.float() - ratings_BK).square().mean(dim=1)
