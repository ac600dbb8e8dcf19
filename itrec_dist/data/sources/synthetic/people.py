"""Invented users: demographics and the tastes that follow from them."""

from dataclasses import dataclass, fields

import numpy as np

from itrec_dist.data.sources.synthetic import catalogue

AGES = np.array([1, 18, 25, 35, 45, 50, 56])
_AGE_SHARES = np.array([0.04, 0.18, 0.35, 0.20, 0.09, 0.08, 0.06])
_SHARE_OF_WOMEN = 0.3
_NUM_OCCUPATIONS = 21


@dataclass(frozen=True)
class People:
    """U users as parallel columns. Tastes are log-weights that drift from `start` to `end`."""

    is_woman: np.ndarray
    age_group: np.ndarray
    """(U,) position in AGES."""
    occupation: np.ndarray
    zip_code: np.ndarray
    leading_start: np.ndarray
    """(U, leading genres)"""
    leading_end: np.ndarray
    other_taste: np.ndarray
    """(U, other genres + 1), the last column for none; constant over time."""
    era_start: np.ndarray
    """(U,) favourite year of release."""
    era_end: np.ndarray
    mildness: np.ndarray
    """(U,) stars that this user adds to every rating."""

    def part(self, start: int, stop: int) -> "People":
        """Users `start` to `stop`."""
        return People(*(getattr(self, field.name)[start:stop] for field in fields(self)))

    def ordered(self, users: np.ndarray) -> "People":
        """The given users, in their order."""
        return People(*(getattr(self, field.name)[users] for field in fields(self)))

    def lines(self) -> list[str]:
        """The rows of `users.dat`, ids from 1."""
        columns = zip(
            self.is_woman, AGES[self.age_group], self.occupation, self.zip_code, strict=True
        )
        return [
            f"{i}::{'F' if woman else 'M'}::{age}::{occupation}::{zip_code:05d}"
            for i, (woman, age, occupation, zip_code) in enumerate(columns, start=1)
        ]


def invent(num_users: int, rng: np.random.Generator) -> People:
    """Draw `num_users` users, and the tastes of their groups, from the same generator."""
    is_woman = rng.random(num_users) < _SHARE_OF_WOMEN
    age_group = rng.choice(len(AGES), num_users, p=_AGE_SHARES)
    occupation = rng.integers(0, _NUM_OCCUPATIONS, num_users)
    num_leading, num_other = len(catalogue.LEADING), len(catalogue.OTHERS) + 1

    def of_groups(width: int) -> np.ndarray:
        return np.asarray(
            rng.normal(0, 0.7, (2, width))[is_woman.astype(int)]
            + rng.normal(0, 0.7, (len(AGES), width))[age_group]
            + rng.normal(0, 0.4, (_NUM_OCCUPATIONS, width))[occupation]
        )

    leading = of_groups(num_leading)
    # Older viewers prefer older movies; everyone drifts towards another era over time.
    era = 1990 - 0.5 * AGES[age_group] + rng.normal(0, 8, num_users)
    return People(
        is_woman=is_woman,
        age_group=age_group,
        occupation=occupation,
        zip_code=rng.integers(501, 99951, num_users),
        leading_start=leading + rng.normal(0, 0.7, leading.shape),
        leading_end=leading + rng.normal(0, 0.7, leading.shape),
        other_taste=of_groups(num_other) + rng.normal(0, 0.4, (num_users, num_other)),
        era_start=era,
        era_end=era + rng.normal(0, 15, num_users),
        mildness=rng.normal(0, 0.3, num_users),
    )
