"""What a check claims: an AssertionError with a sentence if it does not hold."""

import torch


def require(is_true: bool, words: str) -> None:
    """Claim something."""
    if not is_true:
        raise AssertionError(words)


def same(one: torch.Tensor, other: torch.Tensor, words: str) -> None:
    """Claim that two tensors differ by no more than the order of a sum does."""
    if not is_close(one, other):
        largest = float((one - other).abs().max())
        raise AssertionError(f"{words} (largest difference {largest:.3g})")


def is_close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether they differ by no more than that."""
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)
