"""The non-neural baselines: one file each, found by its name.

A file `some_name.py` here holds one frozen dataclass `SomeName`, whose fields are its settings,
with `fit(training) -> Scorer`. Nothing else has to be told about it.

A baseline sees training windows alone, and scores a window from its inputs alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from itrec_dist.config.registry import Registry
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards.arrays import Items, Windows
from itrec_dist.errors import EnvironmentProblem
from itrec_dist.system import limits

if TYPE_CHECKING:
    from torch import Tensor

Scorer = Callable[["Tensor"], "Tensor"]
"""`item_ids_BL -> scores_BC`, int64 to float64: the higher, the sooner recommended."""


@dataclass(frozen=True)
class Training:
    """What a baseline may learn from."""

    shards: Path
    manifest: Manifest
    windows: Windows
    items: Items


class Baseline(Protocol):
    """Settings that can be fitted."""

    matrices: ClassVar[int]
    """How many float64 matrices of items by items it holds at once."""

    def fit(self, training: Training) -> Scorer:
        """Learn from the training windows."""


BASELINES: Registry[type[Baseline]] = Registry(
    "baseline", "itrec_dist.tasks.next_items.baselines", group="itrec_dist.baselines.next_items"
)
"""Name -> class."""


def refuse_too_large(name: str, num_items: int) -> None:
    """Refuse a baseline whose matrices the memory cannot hold, before anything is computed.

    Raises:
        EnvironmentProblem: they need more than the memory that is free now.
    """
    needed = BASELINES[name].matrices * 8 * num_items**2
    total, available = limits.memory()
    free = available if available is not None else total
    if free is not None and needed > free:
        raise EnvironmentProblem(
            f"the baseline {name} over {num_items:,} items needs {needed / 2**30:.1f} GiB of "
            f"memory, {free / 2**30:.1f} GiB are free: leave it out with --only, or window the "
            "data with fewer --top_items"
        )
