"""True against drawn neighbours: the loss of item2vec, which is computed in the model.

The model has the drawn items' vectors and draws the same ones in every judged epoch, so the number
of negatives stays a setting of `model.kind=item2vec`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ContrastConfig:
    """True against drawn neighbours."""

    kind: Literal["contrast"] = "contrast"
    """Kind of loss."""
