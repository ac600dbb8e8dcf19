"""Proposes the next configuration: grid and random search here, Optuna's in `tpe.py`.

A proposer hands out assignments and receives their results; it neither runs nor writes anything,
and does not depend on Ray. After a restart it first receives the earlier results again.
"""

import itertools
from collections.abc import Iterator
from typing import Protocol

from itrec_dist.errors import ConfigError
from itrec_dist.sweeps.config import SweepConfig
from itrec_dist.sweeps.space import Assignment, Space

MOST_COMBINATIONS = 20_000


class Proposer(Protocol):
    """Proposes assignments, with Optuna's ask-and-tell interface."""

    def ask(self) -> Assignment | None:
        """The next assignment, None if there is none left."""

    def tell(self, assignment: Assignment, values: tuple[float, ...] | None) -> None:
        """Report the result of an assignment: the metric, and the cost if any; None if it failed.

        Called once for each assignment, and first of all for those of earlier driver sessions.
        """


class Planned:
    """Assignments that do not depend on results: of a grid, or of random draws."""

    def __init__(self, assignments: list[Assignment], known: int) -> None:
        """Start after the first `known` assignments, which were proposed before."""
        self._left: Iterator[Assignment] = iter(assignments[known:])

    def ask(self) -> Assignment | None:
        """The next assignment of the list."""
        return next(self._left, None)

    def tell(self, assignment: Assignment, values: tuple[float, ...] | None) -> None:
        """Ignore the result."""


def num_trials(sweep: SweepConfig, space: Space) -> int:
    """The number of trials of a sweep.

    Raises:
        ConfigError: a grid over a range without steps, or `trials` differs from the grid's size.
    """
    if sweep.search.algorithm != "grid":
        assert sweep.trials is not None
        return sweep.trials
    if space.endless:
        raise ConfigError(
            f"search.algorithm=grid cannot list the values of {', '.join(space.endless)}: give it "
            "a step, list its values, or search at random"
        )
    count = sum(1 for _ in itertools.islice(space.combinations(), MOST_COMBINATIONS + 1))
    if count > MOST_COMBINATIONS:
        raise ConfigError(
            f"the grid has more than {MOST_COMBINATIONS} combinations: remove values, or search "
            "at random"
        )
    if sweep.trials is not None and sweep.trials != count:
        raise ConfigError(
            f"trials={sweep.trials}, but the grid has {count} combinations: leave trials out, or "
            "set search.algorithm=random"
        )
    return count


def planned(sweep: SweepConfig, space: Space) -> list[Assignment] | None:
    """Every assignment of the sweep in order, None if they depend on results."""
    count = num_trials(sweep, space)
    if sweep.search.algorithm == "tpe":
        return None
    if sweep.search.algorithm == "grid":
        return list(space.combinations())
    return list(itertools.islice(space.draws(sweep.search.seed), count))
