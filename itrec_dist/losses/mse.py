"""Squared error of predicted ratings."""

import torch


def loss(predicted_BK: torch.Tensor, ratings_BK: torch.Tensor) -> torch.Tensor:
    """Mean over a window's targets of the squared error, [B]."""
    return (predicted_BK.float() - ratings_BK).square().mean(dim=1)
