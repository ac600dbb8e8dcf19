"""Generates what users watch, how they rate it and when: the planted sequence structure.

Leaves the choice of a movie of a genre to choosing.py. All users take each step together, the
longest sequences first, so a step is a few array operations over the users still active.
"""

from dataclasses import dataclass

import numpy as np

from itrec_dist.data.sources.synthetic import choosing
from itrec_dist.data.sources.synthetic.catalogue import LEADING, NO_MOVIE, Movies
from itrec_dist.data.sources.synthetic.choosing import Choice, Shelves
from itrec_dist.data.sources.synthetic.people import People

FOLLOWS_RULE = 0.9
"""Probability that a new run takes the genre determined by the two latest runs."""

LOW_RATING = 2
"""A rating at or below this value ends the run."""

_RUN_LENGTHS = (2, 3, 4)
_MEAN_STARS = 3.75
_FIRST_SECOND, _LAST_SECOND = 956_700_000, 1_046_400_000  # April 2000 to February 2003
_MEAN_SESSION, _MEAN_PAGE = 25, 3


@dataclass(frozen=True)
class Events:
    """E ratings as parallel columns, grouped by user, in the true order."""

    user: np.ndarray
    """(E,) index of the user in the block."""
    movie_id: np.ndarray
    stars: np.ndarray
    second: np.ndarray

    def in_file_order(self, first_user: int) -> tuple[np.ndarray, ...]:
        """(E,) users, movies, stars and seconds: a user's pages out of time order.

        A page is the ratings of a user with the same timestamp, whose rows stay in order. Its
        position comes from a hash of the timestamp, so no further random numbers are needed.
        """
        page_place = (self.second.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(
            40
        )
        order = np.lexsort((self.second, page_place, self.user))  # stable
        columns = (self.user + 1 + first_user, self.movie_id, self.stars, self.second)
        return tuple(column[order] for column in columns)


def watch(
    movies: Movies,
    people: People,
    lengths: np.ndarray,
    rng: np.random.Generator,
    shelves: Shelves | None = None,
) -> Events:
    """Draw `lengths` movies and ratings for every user, no movie twice.

    `shelves` are those of a catalogue of more than `choosing.MOST_WEIGHED` movies.
    """
    longest_first = np.argsort(-lengths, kind="stable")
    life = _Life(movies, people.ordered(longest_first), rng, shelves)
    num_users, num_steps = len(lengths), int(lengths.max())
    movie = np.full((num_users, num_steps), NO_MOVIE, dtype=np.int32)
    stars = np.zeros((num_users, num_steps), dtype=np.int8)
    sorted_lengths = lengths[longest_first]
    for step in range(num_steps):
        active = int(np.searchsorted(-sorted_lengths, -step, side="left"))
        age = step / sorted_lengths[:active]
        users = longest_first[:active]
        movie[users, step], stars[users, step] = life.step(age)
    user, step_of = np.nonzero(movie != NO_MOVIE)
    return Events(
        user=user,
        movie_id=movies.ids[movie[user, step_of]],
        stars=stars[user, step_of],
        second=_seconds(lengths, rng),
    )


def rule(num_genres: int) -> np.ndarray:
    """(G, G) next leading genre after a run of the first genre and then one of the second.

    A column is a permutation of the other genres: the second genre alone carries no information.
    The table is the same for every seed.
    """
    rng = np.random.default_rng(20_010_917)
    table = np.zeros((num_genres, num_genres), dtype=np.int64)
    genres = np.arange(num_genres)
    for second in genres:
        others = genres[genres != second]
        table[others, second] = rng.permutation(others)
        table[second, second] = rng.choice(others)
    return table


class _Life:
    """The state of all users of a block, longest history first; active ones are a prefix."""

    def __init__(
        self, movies: Movies, people: People, rng: np.random.Generator, shelves: Shelves | None
    ) -> None:
        self.movies, self.people, self.rng = movies, people, rng
        num_users = len(people.mildness)
        self.choice: Choice = (
            choosing.WholeGenres(movies, people, rng)
            if shelves is None
            else choosing.Candidates(movies, people, rng, shelves)
        )
        of_genre = np.bincount(movies.leading, minlength=len(LEADING))
        self.num_unseen = np.tile(of_genre, (num_users, 1))
        self.rule = rule(len(LEADING))
        self.before_genre, self.genre = rng.integers(0, len(LEADING), (2, num_users))
        self.left_in_run = np.zeros(num_users, dtype=np.int64)
        self.latest = np.full(num_users, NO_MOVIE - 1)

    def step(self, age: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(A,) movies and (A,) stars of the first A users; `age` (A,): elapsed share of life."""
        active = len(age)
        people = self.people
        taste = people.leading_start[:active] * (1 - age[:, None])
        taste += people.leading_end[:active] * age[:, None]
        self._begin_runs(taste)
        genre = self.genre[:active]
        movie = self.choice.choose(genre, age, self.latest[:active])
        stars = self._rate(movie, taste[np.arange(active), genre])
        self.choice.mark(movie)
        self.num_unseen[np.arange(active), genre] -= 1
        self.latest[:active] = movie
        self.left_in_run[:active] -= 1
        self.left_in_run[:active][stars <= LOW_RATING] = 0
        return movie, stars

    def _begin_runs(self, taste: np.ndarray) -> None:
        active = len(taste)
        begins = np.flatnonzero(self.left_in_run[:active] == 0)
        ruled = self.rule[self.before_genre[begins], self.genre[begins]]
        wanted = np.argmax(taste[begins] + self.rng.gumbel(size=(len(begins), len(LEADING))), 1)
        follows = self.rng.random(len(begins)) < FOLLOWS_RULE
        self.before_genre[begins] = self.genre[begins]
        self.genre[begins] = np.where(follows, ruled, wanted)
        self.left_in_run[begins] = self.rng.choice(_RUN_LENGTHS, len(begins))
        used_up = np.flatnonzero(self.num_unseen[np.arange(active), self.genre[:active]] == 0)
        self.genre[used_up] = self.num_unseen[used_up].argmax(1)

    def _rate(self, movie: np.ndarray, taste_of_genre: np.ndarray) -> np.ndarray:
        stars = _MEAN_STARS + self.movies.quality[movie] + 0.3 * taste_of_genre
        stars += self.people.mildness[: len(movie)] + self.rng.normal(0, 0.6, len(movie))
        return np.asarray(np.clip(np.rint(stars), 1, 5), dtype=np.int8)


def _seconds(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(E,) timestamps, grouped by user: sessions of pages, with one timestamp per page."""
    total = int(lengths.sum())
    first_of_user = np.zeros(total, dtype=bool)
    first_of_user[np.cumsum(lengths) - lengths] = True
    opens_session = (rng.random(total) < 1 / _MEAN_SESSION) & ~first_of_user
    opens_page = (rng.random(total) < 1 / _MEAN_PAGE) | opens_session
    gap = np.where(opens_page, rng.integers(8, 120, total), 0)
    days = rng.lognormal(0, 1.5, total).clip(0.1, 60)
    gap += np.where(opens_session, days * 86_400, 0).astype(np.int64)
    joined = rng.integers(_FIRST_SECOND, _LAST_SECOND, len(lengths))
    gap[first_of_user] = 0
    since_all = np.cumsum(gap)
    since_joined = since_all - np.repeat(since_all[first_of_user], lengths)
    return np.asarray(np.repeat(joined, lengths) + since_joined)
