"""Which configuration comes next: grid and random here, Optuna's in `tpe.py`.

A proposer is asked for assignments and told what became of them; it neither runs nor writes
anything, and knows no Ray. What was proposed in an earlier life of the sweep is told anew first.
"""

import itertools
from collections.abc import Iterator
from typing import Protocol

from itrec_dist.errors import ConfigError
from itrec_dist.sweep.config import SweepConfig
from itrec_dist.sweep.space import Assignment, Space

MOST_COMBINATIONS = 20_000


class Proposer(Protocol):
    """Chooses assignments, one after another."""

    def ask(self) -> Assignment | None:
        """The next assignment, None when there is none left."""

    def tell(self, assignment: Assignment, values: tuple[float, ...] | None) -> None:
        """What an assignment reached (the metric, then the cost if one is weighed), or None.

        Called once for each that was asked for, and first of all for those of an earlier life.
        """


class Planned:
    """Assignments that no outcome changes: of the grid, or of random draws."""

    def __init__(self, assignments: list[Assignment], known: int) -> None:
        """Begin after the first `known`, which were proposed before."""
        self._left: Iterator[Assignment] = iter(assignments[known:])

    def ask(self) -> Assignment | None:
        """The next one of the plan."""
        return next(self._left, None)

    def tell(self, assignment: Assignment, values: tuple[float, ...] | None) -> None:
        """Nothing follows from it."""


def num_trials(sweep: SweepConfig, space: Space) -> int:
    """How many trials the sweep has.

    Raises:
        ConfigError: a grid over a range without steps, or other trials than the grid has.
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
            f"the grid has more than {MOST_COMBINATIONS} combinations: take values out, or search "
            "at random"
        )
    if sweep.trials is not None and sweep.trials != count:
        raise ConfigError(
            f"trials={sweep.trials}, but the grid has {count} combinations: leave trials out, or "
            "set search.algorithm=random"
        )
    return count


def planned(sweep: SweepConfig, space: Space) -> list[Assignment] | None:
    """Every assignment of the sweep in order, None where outcomes decide."""
    count = num_trials(sweep, space)
    if sweep.search.algorithm == "tpe":
        return None
    if sweep.search.algorithm == "grid":
        return list(space.combinations())
    return list(itertools.islice(space.draws(sweep.search.seed), count))
