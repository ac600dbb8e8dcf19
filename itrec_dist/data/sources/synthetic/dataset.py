"""The settings of the generated data set, and the function that writes it."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from itrec_dist.data.sources.synthetic import catalogue, choosing, people, viewing
from itrec_dist.data.sources.synthetic.files import WRITERS, Format
from itrec_dist.errors import ConfigError, OutputError
from itrec_dist.storage import atomic, outputs
from itrec_dist.storage.uri import Uri

FEWEST_RATINGS = 20
MOST_USERS = 2_000_000  # all users are held in memory, about 450 bytes each
FIRST_LINE = "THIS DATA SET IS GENERATED. IT IS NOT MOVIELENS."  # of the README
# Bounds of memory: flags of a block's users x movies, as bytes or, of large catalogues, as bits.
_USERS_PER_BLOCK = 4096
_FLAGS_PER_BLOCK = 2**30


@dataclass(frozen=True)
class SyntheticConfig:
    """Size and seed of the generated data set."""

    users: int = 1800
    """Number of users, 1 to 2000000."""

    movies: int = 500
    """Number of movies, 80 to 1000000. Of more than 20000, each rated one is chosen among a few
    that are drawn by popularity, which gives the same structure in less time."""

    ratings_per_user: float = 80.0
    """Mean number of ratings per user: at least 20 (which every user has), at most a quarter of
    the movies. The numbers have a long tail that ends at half of the movies."""

    seed: int = 0
    """Seed of the generator: the same settings give the same files."""

    format: Format = "ml-1m"
    """The files of MovieLens-1M for --source ml-1m, or tables in Parquet for --source table."""

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


def generate(settings: SyntheticConfig, out: Uri | Path, *, overwrite: bool = False) -> Generated:
    """Write the files of `settings.format` and a `README` into the new folder `out`.

    The same settings give the same bytes (for one version of numpy). Time grows with the number
    of ratings, up to 20,000 movies also with the size of a genre. Ratings are written by blocks of
    users, so that memory grows with the numbers of users and movies alone.

    Raises:
        ConfigError: `out` is a URI, and the format is read from paths alone.
        EnvironmentProblem: `out` is a URI that cannot be reached.
        OutputError: `out` already exists, or cannot be written.
    """
    if isinstance(out, Uri) and settings.format == "ml-1m":
        raise ConfigError(
            "--source ml-1m reads a folder on this machine alone: give a path as out, or "
            "--format parquet"
        )
    outputs.check(out)
    marker = WRITERS[settings.format].ratings_file
    if overwrite:
        marker = _refuse_real_data(out) or marker
    with outputs.new_directory(out, marker=marker, overwrite=overwrite) as building:
        made = _write(settings, building)
        atomic.write_text(building / "README", _readme(settings, made))
    return made


def _write(settings: SyntheticConfig, folder: Path) -> Generated:
    of_movies, of_people, of_lengths, of_blocks = np.random.SeedSequence(settings.seed).spawn(4)
    movies = catalogue.invent(settings.movies, np.random.default_rng(of_movies))
    audience = people.invent(settings.users, np.random.default_rng(of_people))
    lengths = _lengths(settings, np.random.default_rng(of_lengths))
    is_large = settings.movies > choosing.MOST_WEIGHED
    shelves = choosing.Shelves(movies) if is_large else None
    users_per_block = _USERS_PER_BLOCK
    if is_large:
        users_per_block = min(_USERS_PER_BLOCK, _FLAGS_PER_BLOCK // settings.movies)
    writer = WRITERS[settings.format]
    writer.describe(folder, movies, audience)
    blocks = range(0, settings.users, users_per_block)
    seeds = of_blocks.spawn(len(blocks))
    with writer.ratings(folder) as ratings:
        for start, seed in zip(blocks, seeds, strict=True):
            stop = min(start + users_per_block, settings.users)
            events = viewing.watch(
                movies,
                audience.part(start, stop),
                lengths[start:stop],
                np.random.default_rng(seed),
                shelves,
            )
            ratings.write(events.in_file_order(start))
    return Generated(settings.users, settings.movies, int(lengths.sum()))


def _refuse_real_data(out: Uri | Path) -> str | None:
    """Refuse to overwrite real MovieLens files; the README distinguishes generated ones.

    Returns the name of the file of ratings in `out`, whichever its format.

    Raises:
        OutputError: `out` holds ratings that were not generated.
    """
    first = FIRST_LINE.encode()
    for writer in WRITERS.values():
        if outputs.beginning(outputs.below(out, writer.ratings_file), 0) is None:
            continue
        if outputs.beginning(outputs.below(out, "README"), len(first)) == first:
            return writer.ratings_file
        raise OutputError(
            f"{out} holds a {writer.ratings_file} that was not generated, and --overwrite does not "
            "replace it: choose another place"
        )
    return None


def _lengths(settings: SyntheticConfig, rng: np.random.Generator) -> np.ndarray:
    """Ratings per user: the minimum plus a log-normal tail, cut at half of the catalogue."""
    spread = 1.0
    mean_of_tail = settings.ratings_per_user - FEWEST_RATINGS
    if mean_of_tail == 0:
        return np.full(settings.users, FEWEST_RATINGS)
    location = math.log(mean_of_tail) - spread**2 / 2
    tail = rng.lognormal(location, spread, settings.users)
    return np.minimum(FEWEST_RATINGS + tail.astype(np.int64), settings.movies // 2)


def _readme(settings: SyntheticConfig, made: Generated) -> str:
    also, likeness = "", "Only the file\nformat is that of MovieLens-1M."
    if settings.format == "parquet":
        also, likeness = " --format parquet", "Only the\ncolumns are those of MovieLens-1M."
    likeness += " Figures measured on it say nothing about real recommendations."
    return f"""{FIRST_LINE}

No person rated these movies and no such movies exist. A program drew all of it from a seed, so
that software for MovieLens-1M can be tried where MovieLens itself is not at hand. {likeness}

Made by   itrec data make --users {settings.users} --movies {settings.movies} \
--ratings-per-user {settings.ratings_per_user:g} --seed {settings.seed}{also}
Users     {made.users}
Movies    {made.movies}
Ratings   {made.ratings}

{WRITERS[settings.format].columns}
The rows of a user stand together but not in time order. A stable sort by timestamp gives the true
order: movies rated at once share a timestamp, and their row order is the order of watching.

Planted structure: popularity by Zipf's law; series watched in order; runs of one leading genre,
ended early by a low rating, where the next leading genre follows from the ordered pair of the two
latest; tastes shifted by gender, age and occupation, which drift over a user's life.
"""
