"""Chooses what users watch next: by weighing a whole genre, or candidates from a large catalogue.

Both leave out what a user has seen, and keep in memory which movies that are.
"""

from typing import Protocol

import numpy as np

from itrec_dist.data.sources.synthetic.catalogue import LEADING, NO_MOVIE, Movies
from itrec_dist.data.sources.synthetic.people import People

MOST_WEIGHED = 20_000
"""Movies of the largest catalogue of which whole genres are weighed."""

_ERA_WIDTH_YEARS = 10.0
_BEFORE_ITS_PART, _AFTER_ITS_PART, _AT_ONCE = -4.0, 1.0, 3.0  # log-weights of a later part
_CANDIDATES = 16


class Choice(Protocol):
    """Draws movies for the users of a block, of whom the first A are active."""

    def choose(self, genre: np.ndarray, age: np.ndarray, latest: np.ndarray) -> np.ndarray:
        """(A,) unseen movies of `genre` (A,), given each user's age and latest movie, (A,) both."""

    def mark(self, movie: np.ndarray) -> None:
        """Note that the first A users have seen `movie` (A,)."""


class WholeGenres:
    """Weighs every movie of a genre."""

    def __init__(self, movies: Movies, people: People, rng: np.random.Generator) -> None:
        self.movies, self.people, self.rng = movies, people, rng
        self.members = _members(movies.leading)
        self.seen = np.zeros((len(people.mildness), len(movies.ids) + 1), dtype=bool)
        self.seen[:, NO_MOVIE] = True  # the last column: fillers of `members` are never chosen

    def choose(self, genre: np.ndarray, age: np.ndarray, latest: np.ndarray) -> np.ndarray:
        """See `Choice`."""
        rows = np.arange(len(age))[:, None]
        choices = self.members[genre]  # (A, movies of the largest genre)
        weight = self.movies.log_popularity[choices]
        _add_taste(weight, self.movies, self.people, choices, age)
        before = self.movies.part_before[choices]
        is_later_part = before != NO_MOVIE
        knows = self.seen[rows, before]
        weight += is_later_part * np.where(knows, _AFTER_ITS_PART, _BEFORE_ITS_PART)
        weight += _AT_ONCE * (before == latest[:, None])
        weight += self.rng.gumbel(size=weight.shape)
        weight[self.seen[rows, choices]] = -np.inf
        return np.asarray(choices[rows[:, 0], weight.argmax(1)])

    def mark(self, movie: np.ndarray) -> None:
        """See `Choice`."""
        self.seen[np.arange(len(movie)), movie] = True


class Shelves:
    """Movies of each genre in proportion to their popularity, to draw candidates from."""

    def __init__(self, movies: Movies) -> None:
        self.members = [np.flatnonzero(movies.leading == genre) for genre in range(len(LEADING))]
        self.size = 2 ** len(movies.ids).bit_length()  # several places per movie of the genre
        self.movie = np.empty((len(LEADING), self.size), dtype=np.int32)
        places = (np.arange(self.size) + 0.5) / self.size
        for shelf, group in zip(self.movie, self.members, strict=True):
            share = np.cumsum(np.exp(movies.log_popularity[group]))
            shelf[:] = group[np.searchsorted(share, places * share[-1])]
        self.part_after = np.full(len(movies.ids) + 1, NO_MOVIE)
        later = np.flatnonzero(movies.part_before != NO_MOVIE)
        self.part_after[movies.part_before[later]] = later


class Candidates:
    """Weighs a few movies drawn by popularity, and the next part of the series watched latest.

    A drawn movie has been weighed by its popularity already; what is left is the user's taste.
    """

    def __init__(
        self, movies: Movies, people: People, rng: np.random.Generator, shelves: Shelves
    ) -> None:
        self.movies, self.people, self.rng, self.shelves = movies, people, rng, shelves
        self.seen = np.zeros((len(people.mildness), len(movies.ids) // 8 + 1), dtype=np.uint8)
        """One bit per movie."""

    def choose(self, genre: np.ndarray, age: np.ndarray, latest: np.ndarray) -> np.ndarray:
        """See `Choice`."""
        movies, active = self.movies, len(age)
        drawn = self.rng.integers(0, self.shelves.size, (active, _CANDIDATES), dtype=np.int32)
        choices = np.empty((active, _CANDIDATES + 1), dtype=np.int64)
        choices[:, 1:] = self.shelves.movie[genre[:, None], drawn]
        after = np.where(latest >= 0, self.shelves.part_after[latest], NO_MOVIE)
        is_next = (after != NO_MOVIE) & (movies.leading[after] == genre)
        choices[:, 0] = np.where(is_next, after, choices[:, 1])
        weight = np.zeros(choices.shape)
        _add_taste(weight, movies, self.people, choices, age)
        weight[:, 0] += is_next * (_AT_ONCE + _AFTER_ITS_PART)
        before = movies.part_before[choices[:, 1:]]
        weight[:, 1:] += _BEFORE_ITS_PART * ((before != NO_MOVIE) & ~self._has_seen(before))
        chance = self.rng.standard_exponential(weight.shape, dtype=np.float32)
        weight -= np.log(np.maximum(chance, np.finfo(np.float32).tiny))  # some are drawn as 0
        weight[self._has_seen(choices)] = -np.inf
        best = weight.argmax(1)
        rows = np.arange(active)
        movie = choices[rows, best]
        for row in np.flatnonzero(np.isneginf(weight[rows, best])):
            movie[row] = self._any_unseen(int(row), int(genre[row]))
        return np.asarray(movie)

    def mark(self, movie: np.ndarray) -> None:
        """See `Choice`."""
        self.seen[np.arange(len(movie)), movie >> 3] |= (1 << (movie & 7)).astype(np.uint8)

    def _has_seen(self, movie: np.ndarray) -> np.ndarray:
        """(A, N) whether each user has seen the movies (A, N)."""
        rows = np.arange(len(movie))[:, None]
        return np.asarray(self.seen[rows, movie >> 3] >> (movie & 7).astype(np.uint8) & 1 != 0)

    def _any_unseen(self, row: int, genre: int) -> int:
        """A movie of the genre for a user who has seen all candidates, each equally likely."""
        group = self.shelves.members[genre]
        is_seen = self.seen[row, group >> 3] >> (group & 7).astype(np.uint8) & 1 != 0
        return int(self.rng.choice(group[~is_seen]))


def _members(leading: np.ndarray) -> np.ndarray:
    """(G, movies of the largest genre) movie indices, padded with NO_MOVIE."""
    groups = [np.flatnonzero(leading == genre) for genre in range(len(LEADING))]
    table = np.full((len(groups), max(map(len, groups))), NO_MOVIE)
    for row, group in zip(table, groups, strict=True):
        row[: len(group)] = group
    return table


def _add_taste(
    weight: np.ndarray, movies: Movies, people: People, choices: np.ndarray, age: np.ndarray
) -> None:
    """Add the users' log-weights of second genres and eras to those of `choices`, (A, N) both."""
    weight += people.other_taste[np.arange(len(age))[:, None], movies.other[choices]]
    era = people.era_start[: len(age)] * (1 - age) + people.era_end[: len(age)] * age
    weight -= 0.5 * ((movies.years[choices] - era[:, None]) / _ERA_WIDTH_YEARS) ** 2
