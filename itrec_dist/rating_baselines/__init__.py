"""The non-neural baselines of rating prediction: one file each, found by its name.

A file `some_name.py` here holds one frozen dataclass `SomeName`, whose fields are its settings,
with `fit(ratings, data) -> Predictor`. Nothing else has to be told about it. A baseline sees the
training ratings alone; its predictions are clipped to the scale as those of models are.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from itrec_dist.errors import ConfigError
from itrec_dist.manifest import Manifest

if TYPE_CHECKING:
    from torch import Tensor

    from itrec_dist.ratings import TrainingRatings

Predictor = Callable[["Tensor", "Tensor"], "Tensor"]
"""`user_ids_B, item_ids_B -> ratings_B`, int64 to float64; ids of nobody it knows are allowed."""


class RatingBaseline(Protocol):
    """Settings that can be fitted."""

    def fit(self, ratings: TrainingRatings, data: Manifest) -> Predictor:
        """Learn from the training ratings."""


def names() -> list[str]:
    """Every rating baseline, by name."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> type[RatingBaseline]:
    """The class of a rating baseline.

    Raises:
        ConfigError: there is none of that name; the message names those there are.
    """
    if name not in names():
        raise ConfigError(f"there is no rating baseline {name!r}; there are: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    found: type[RatingBaseline] = getattr(module, name.title().replace("_", ""))
    return found
