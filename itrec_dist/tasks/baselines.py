"""The interface through which `itrec baselines` fits and judges the baselines of any task."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from itrec_dist.config.registry import Registry
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards.arrays import HistoryRows, Windows
from itrec_dist.data.shards.splits import read_split
from itrec_dist.errors import EnvironmentProblem
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import MetricChoice

Rows = Windows | HistoryRows
"""A split in memory, of either kind of samples."""

T_contra = TypeVar("T_contra", contravariant=True)
F_co = TypeVar("F_co", covariant=True)
B = TypeVar("B", bound="Fittable[Any, Any]")
T = TypeVar("T")
F = TypeVar("F")


class Fittable(Protocol[T_contra, F_co]):
    """A baseline: a frozen dataclass of its settings.

    One that needs an optional package names it as `package`, and is skipped where that is not
    installed.
    """

    def fit(self, training: T_contra) -> F_co:
        """Fit the baseline to the training rows."""


def is_installed(baseline: object) -> bool:
    """Whether the package that a baseline, or its class, needs is installed."""
    package = getattr(baseline, "package", None)
    return package is None or importlib.util.find_spec(package) is not None


class TaskBaselines(ABC, Generic[B, T, F]):
    """The baselines of one task: B the settings of one, T the training data, F a fitted one."""

    registry: ClassVar[Registry[Any]]
    """Name -> class of the settings."""

    @abstractmethod
    def training(self, shards: Path, data: Manifest) -> T:
        """Read the data that the baselines are fitted to.

        Raises:
            ShardsError: the shards are damaged, or cannot be judged.
        """

    @abstractmethod
    def judge(self, fitted: F, rows: Any, training: T, choice: MetricChoice) -> Judgement:
        """The figures of a fitted baseline on the rows of one split, as `read` gives them."""

    def read(self, shards: Path, data: Manifest, split: str) -> Rows:
        """Read a split that is judged.

        Raises:
            ShardsError: the shards are damaged, or hold another kind of samples.
        """
        return read_split(shards, data, split)

    def default(self, data: Manifest) -> dict[str, B]:  # noqa: ARG002
        """The baselines to judge on this data unless some are named, by name."""
        return {name: kind() for name, kind in self.registry.items() if is_installed(kind)}

    def missing(self) -> list[str]:
        """The names of the baselines whose packages are not installed."""
        return [name for name, kind in self.registry.items() if not is_installed(kind)]

    def check(self, name: str, baseline: B, data: Manifest) -> None:  # noqa: ARG002
        """Refuse a baseline that cannot be fitted to this data, before anything is computed.

        Raises:
            EnvironmentProblem: too little memory, or a package is missing.
        """
        if not is_installed(baseline):
            package = getattr(baseline, "package", None)
            raise EnvironmentProblem(
                f"the {self.registry.what} {name} needs the package {package}, which is not "
                "installed: pip install 'itrec-dist[references]', or leave it out with --only"
            )

    def batch_size(self, data: Manifest) -> int | None:  # noqa: ARG002
        """Number of rows that `judge` scores at a time; None for all."""
        return None
