"""The interface through which `itrec baselines` fits and judges the baselines of any task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from itrec_dist.config.registry import Registry
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards.arrays import Windows
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import MetricChoice

T_contra = TypeVar("T_contra", contravariant=True)
F_co = TypeVar("F_co", covariant=True)
B = TypeVar("B", bound="Fittable[Any, Any]")
T = TypeVar("T")
F = TypeVar("F")


class Fittable(Protocol[T_contra, F_co]):
    """A baseline: a frozen dataclass of its settings."""

    def fit(self, training: T_contra) -> F_co:
        """Fit the baseline to the training windows."""


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
    def judge(self, fitted: F, windows: Windows, training: T, choice: MetricChoice) -> Judgement:
        """The figures of a fitted baseline on the windows of one split."""

    def installed(self) -> dict[str, B]:
        """The baselines whose packages are installed, with default settings, by name."""
        return {name: kind() for name, kind in self.registry.items()}

    def missing(self) -> list[str]:
        """The names of the baselines whose packages are not installed."""
        return []

    def refusal(self, name: str, data: Manifest) -> str:  # noqa: ARG002
        """Why a baseline means nothing on this data, as a sentence; empty if it does."""
        return ""

    def check(self, name: str, baseline: B, data: Manifest) -> None:
        """Refuse a baseline that cannot be fitted to this data, before anything is computed.

        Raises:
            EnvironmentProblem: too little memory, or a package is missing.
        """

    def batch_size(self, data: Manifest) -> int | None:  # noqa: ARG002
        """Number of windows that `judge` scores at a time; None for all."""
        return None
