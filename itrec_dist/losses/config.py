"""The interface of a loss's settings to the rest of the package."""

from typing import Protocol


class LossConfig(Protocol):
    """The settings of one kind of loss: a frozen dataclass with the field `kind`.

    The same object is the loss, a `RankingLoss` or a `RatingLoss`, or makes it, a `CountingLoss`.
    """

    @property
    def kind(self) -> str:
        """Its name in recipes, the same in every instance."""
