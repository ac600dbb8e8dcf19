"""The settings of the generated data set, and the function that writes it."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from itrec_dist.data.sources.synthetic import catalogue, people, viewing
from itrec_dist.errors import ConfigError, OutputError
from itrec_dist.storage import atomic

FEWEST_RATINGS = 20
MOST_USERS = 2_000_000  # all users are held in memory, about 450 bytes each
MARKER = "ratings.dat"
FIRST_LINE = "THIS DATA SET IS GENERATED. IT IS NOT MOVIELENS."  # of the README
_USERS_PER_BLOCK = 4096  # bounds memory: one block's users x movies flags at a time


@dataclass(frozen=True)
class SyntheticConfig:
    """Size and seed of the generated data set."""

    users: int = 1800
    """Number of users, 1 to 2000000."""

    movies: int = 500
    """Number of movies, 80 to 20000."""

    ratings_per_user: float = 80.0
    """Mean number of ratings per user: at least 20 (which every user has), at most a quarter of
    the movies. The numbers have a long tail that ends at half of the movies."""

    seed: int = 0
    """Seed of the generator: the same settings give the same files."""

    def __post_init__(self) -> None:
        if self.users < 1:
            raise ConfigError(f"users must be at least 1, not {self.users}: ask for more users")
        if self.users > MOST_USERS:
            raise ConfigError(f"users must be at most {MOST_USERS}, not {self.users}: ask for less")
        fewest, most = 4 * FEWEST_RATINGS, catalogue.MOST_MOVIES
        if not fewest <= self.movies <= most:
            raise ConfigError(
                f"movies must be between {fewest} and {most}, not {self.movies}: "
                "choose a number in that range"
            )
        if not FEWEST_RATINGS <= self.ratings_per_user <= self.movies / 4:
            raise ConfigError(
                f"ratings_per_user must be between {FEWEST_RATINGS} and a quarter of the movies "
                f"({self.movies / 4:g}), not {self.ratings_per_user:g}: "
                "change it or ask for more movies"
            )
        if self.seed < 0:
            raise ConfigError(f"seed must be 0 or more, not {self.seed}: choose another seed")


@dataclass(frozen=True)
class Generated:
    """Sizes of the generated data set."""

    users: int
    movies: int
    ratings: int


def generate(settings: SyntheticConfig, out: Path, *, overwrite: bool = False) -> Generated:
    """Write `users.dat`, `movies.dat`, `ratings.dat` and `README` into the new folder `out`.

    The same settings give the same bytes (for one version of numpy). Time grows with the number
    of ratings times the size of a genre; memory is bounded by blocks of users.

    Raises:
        OutputError: `out` already exists, or cannot be written.
    """
    if overwrite:
        _refuse_real_data(out)
    with atomic.new_directory(out, marker=MARKER, overwrite=overwrite) as building:
        of_movies, of_people, of_lengths, of_blocks = np.random.SeedSequence(settings.seed).spawn(4)
        movies = catalogue.invent(settings.movies, np.random.default_rng(of_movies))
        audience = people.invent(settings.users, np.random.default_rng(of_people))
        lengths = _lengths(settings, np.random.default_rng(of_lengths))
        _write_lines(building / "movies.dat", movies.lines())
        _write_lines(building / "users.dat", audience.lines())
        blocks = range(0, settings.users, _USERS_PER_BLOCK)
        seeds = of_blocks.spawn(len(blocks))
        with (building / "ratings.dat").open("wb") as file:
            for start, seed in zip(blocks, seeds, strict=True):
                stop = min(start + _USERS_PER_BLOCK, settings.users)
                events = viewing.watch(
                    movies,
                    audience.part(start, stop),
                    lengths[start:stop],
                    np.random.default_rng(seed),
                )
                file.write(events.in_file_order(start).encode("ascii"))
        made = Generated(settings.users, settings.movies, int(lengths.sum()))
        atomic.write_text(building / "README", _readme(settings, made))
    return made


def _refuse_real_data(out: Path) -> None:
    """Refuse to overwrite real MovieLens files; the README distinguishes generated ones.

    Raises:
        OutputError: `out` holds ratings that were not generated.
    """
    readme = out / "README"
    if not (out / MARKER).exists() or (readme.is_file() and _is_generated(readme)):
        return
    raise OutputError(
        f"{out} holds a {MARKER} that was not generated, and --overwrite does not replace it: "
        "choose another place"
    )


def _is_generated(readme: Path) -> bool:
    return readme.read_bytes().startswith(FIRST_LINE.encode())


def _lengths(settings: SyntheticConfig, rng: np.random.Generator) -> np.ndarray:
    """Ratings per user: the minimum plus a log-normal tail, cut at half of the catalogue."""
    spread = 1.0
    mean_of_tail = settings.ratings_per_user - FEWEST_RATINGS
    if mean_of_tail == 0:
        return np.full(settings.users, FEWEST_RATINGS)
    location = math.log(mean_of_tail) - spread**2 / 2
    tail = rng.lognormal(location, spread, settings.users)
    return np.minimum(FEWEST_RATINGS + tail.astype(np.int64), settings.movies // 2)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("iso-8859-1"))


def _readme(settings: SyntheticConfig, made: Generated) -> str:
    return f"""{FIRST_LINE}

No person rated these movies and no such movies exist. A program drew all of it from a seed, so
that software for MovieLens-1M can be tried where MovieLens itself is not at hand. Only the file
format is that of MovieLens-1M. Figures measured on it say nothing about real recommendations.

Made by   itrec data make --users {settings.users} --movies {settings.movies} \
--ratings-per-user {settings.ratings_per_user:g} --seed {settings.seed}
Users     {made.users}
Movies    {made.movies}
Ratings   {made.ratings}

users.dat     UserID::Gender::Age::Occupation::Zip-code   (age: the lowest of its group)
movies.dat    MovieID::Title (Year)::Genre|Genre          (ISO-8859-1; first: leading genre)
ratings.dat   UserID::MovieID::Rating::Timestamp          (1 to 5; seconds since 1970)

The rows of a user stand together but not in time order. A stable sort by timestamp gives the true
order: movies rated at once share a timestamp, and their row order is the order of watching.

Planted structure: popularity by Zipf's law; series watched in order; runs of one leading genre,
ended early by a low rating, where the next leading genre follows from the ordered pair of the two
latest; tastes shifted by gender, age and occupation, which drift over a user's life.
"""
