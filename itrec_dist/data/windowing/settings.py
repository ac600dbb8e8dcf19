"""Window settings: what those of all tasks share, their checks, and their record."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from itrec_dist import config as configuration
from itrec_dist.errors import ConfigError

_RECORDED_IF_GIVEN = ("repeats", "short_histories")  # shards of before them keep their fingerprint
_RECORDED_WITH = {"window_inputs": "random_windows", "window_stride": "random_windows"}
"""Settings of histories -> the protocol that alone uses them, for the same reason."""
_OF_THE_MACHINE = ("memory_limit", "threads")  # settings that do not affect the result


class WindowSettings(Protocol):
    """The fields that every task's window settings have; each class is a frozen dataclass."""

    @property
    def protocol(self) -> str:
        """Name of the split protocol."""

    @property
    def input_length(self) -> int:
        """Number of input positions of a window, L."""

    @property
    def target_length(self) -> int | None:
        """Number of targets of a window, K; None takes as many as there are."""

    @property
    def num_shards(self) -> int:
        """Number of files of the training split."""

    @property
    def memory_limit(self) -> str | None:
        """Memory limit of DuckDB, such as 2GB; None is its default."""

    @property
    def threads(self) -> int | None:
        """Threads of DuckDB; None is one per core."""


class HoldsOut(WindowSettings, Protocol):
    """Settings that hold out shares for validation and test."""

    @property
    def validation_fraction(self) -> float:
        """Share for validation, at least 0 and less than 1."""

    @property
    def test_fraction(self) -> float:
        """Share for test, as above."""


def check(settings: HoldsOut, at_least_1: Iterable[str], protocols: Sequence[str]) -> None:
    """Refuse counts below 1, unknown protocols and shares that leave nothing to train on.

    Raises:
        ConfigError: the message names the setting, what was given and what is allowed.
    """
    for name in at_least_1:
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}: give at least 1")
    if settings.protocol not in protocols:
        allowed = ", ".join(protocols)
        raise ConfigError(f"there is no protocol {settings.protocol!r}: give one of {allowed}")
    for name, share in fractions(settings).items():
        if not 0 <= share < 1:
            raise ConfigError(f"{name} is {share}: give 0 or more and less than 1")
    if settings.validation_fraction + settings.test_fraction >= 1:
        raise ConfigError(
            f"validation_fraction {settings.validation_fraction} and test_fraction "
            f"{settings.test_fraction} leave nothing to train on: give a sum below 1"
        )


def fractions(settings: HoldsOut) -> dict[str, float]:
    """Validation and test shares as SQL parameters."""
    return {
        "validation_fraction": settings.validation_fraction,
        "test_fraction": settings.test_fraction,
    }


def recorded(settings: WindowSettings) -> dict[str, Any]:
    """The settings that the windows depend on, as recorded in the manifest."""
    values = configuration.to_dict(settings)
    return {
        name: value
        for name, value in values.items()
        if name not in _OF_THE_MACHINE
        and not (name in _RECORDED_IF_GIVEN and not value)
        and _RECORDED_WITH.get(name, settings.protocol) == settings.protocol
    }


def steps(names: Sequence[str], counted: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The manifest's steps, from their names and rows of SQL."""
    return tuple(
        {
            "name": name,
            "ratings": row["num_ratings"],
            "users": row["num_users"],
            "items": row["num_items"],
        }
        for name, row in zip(names, counted, strict=True)
    )
