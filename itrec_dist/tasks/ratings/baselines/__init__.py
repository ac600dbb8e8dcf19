"""The non-neural baselines of rating prediction: one file each, found by its name.

A file `some_name.py` here holds one frozen dataclass `SomeName`, whose fields are its settings,
with `fit(training) -> Predictor`. Nothing else has to be told about it. A baseline sees the
training ratings and the item table alone; its predictions are clipped to the scale as those of
models are. One that stands on a package which itrec-dist does not need names it as `package`, and
is left out where that is not installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from itrec_dist.config.registry import Registry
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards.arrays import Items
from itrec_dist.errors import EnvironmentProblem

if TYPE_CHECKING:
    from torch import Tensor

    from itrec_dist.data.training_ratings import TrainingRatings

Predictor = Callable[["Tensor", "Tensor"], "Tensor"]
"""`user_ids_B, item_ids_B -> ratings_B`, int64 to float64; ids of nobody it knows are allowed."""


@dataclass(frozen=True)
class Training:
    """What a rating baseline may learn from."""

    ratings: TrainingRatings
    data: Manifest
    items: Items


class RatingBaseline(Protocol):
    """Settings that can be fitted."""

    package: ClassVar[str | None]
    """What it imports besides, and the extra of itrec-dist that brings it is `references`."""

    def fit(self, training: Training) -> Predictor:
        """Learn from the training ratings."""


BASELINES: Registry[type[RatingBaseline]] = Registry(
    "rating baseline", "itrec_dist.tasks.ratings.baselines", group="itrec_dist.baselines.ratings"
)
"""Name -> class."""


def is_installed(baseline: RatingBaseline | type[RatingBaseline]) -> bool:
    """Whether the package is there that a baseline stands on."""
    return baseline.package is None or importlib.util.find_spec(baseline.package) is not None


def installed() -> dict[str, RatingBaseline]:
    """Every baseline that can be fitted here, with its own settings, by name."""
    return {name: kind() for name, kind in BASELINES.items() if is_installed(kind)}


def missing() -> list[str]:
    """The baselines whose package is not installed here, by name."""
    return [name for name, kind in BASELINES.items() if not is_installed(kind)]


def refuse_missing(name: str, baseline: RatingBaseline) -> None:
    """Refuse a baseline whose package is not installed.

    Raises:
        EnvironmentProblem: says how to install it.
    """
    if not is_installed(baseline):
        raise EnvironmentProblem(
            f"the rating baseline {name} needs the package {baseline.package}, which is not "
            "installed: pip install 'itrec-dist[references]', or leave it out with --only"
        )
