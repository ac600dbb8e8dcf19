"""MovieLens 10M."""

from dataclasses import dataclass

from itrec_dist.data.sources.movielens import MovieLens


@dataclass(frozen=True)
class ML10MConfig(MovieLens):
    """Fields separated by `::`, no users."""

    name = "ml-10m"
    sql = "ml_dat"
    ratings = "ratings.dat"
    items = "movies.dat"
