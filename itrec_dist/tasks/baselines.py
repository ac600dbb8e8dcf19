"""The baselines of a task, as `itrec baselines` fits and judges them whatever the task."""

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
        """Learn from the training windows."""


class TaskBaselines(ABC, Generic[B, T, F]):
    """The baselines of one task: B the settings of one, T the training data, F a fitted one."""

    registry: ClassVar[Registry[Any]]
    """Name -> class of the settings."""

    @abstractmethod
    def training(self, shards: Path, data: Manifest) -> T:
        """Read what the baselines learn from.

        Raises:
            ShardsError: the shards are damaged, or cannot be judged.
        """

    @abstractmethod
    def judge(self, fitted: F, windows: Windows, training: T, choice: MetricChoice) -> Judgement:
        """The figures of a fitted baseline on the windows of one split."""

    def usual(self) -> dict[str, B]:
        """The baselines that can be fitted here, with default settings, by name."""
        return {name: kind() for name, kind in self.registry.items()}

    def missing(self) -> list[str]:
        """The names of the baselines whose package is not installed."""
        return []

    def refuse(self, name: str, baseline: B, data: Manifest) -> None:
        """Refuse a baseline that cannot be fitted on such data, before anything is computed.

        Raises:
            EnvironmentProblem: memory or a package is missing.
        """

    def batch_size(self, data: Manifest) -> int | None:  # noqa: ARG002
        """Windows that `judge` scores at a time; None is all."""
        return None
