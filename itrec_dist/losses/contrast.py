"""True neighbours against sampled negatives: the loss of item2vec, computed inside the model.

The model holds the vectors of the negatives and samples the same ones in every evaluation, so the
number of negatives is a setting of `model.kind=item2vec`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ContrastConfig:
    """True neighbours against sampled negatives."""

    kind: Literal["contrast"] = "contrast"
    """Kind of loss."""
