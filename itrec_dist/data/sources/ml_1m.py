"""MovieLens 1M, also the format of the generated data."""

from dataclasses import dataclass

from itrec_dist.data.sources.movielens import MovieLens


@dataclass(frozen=True)
class ML1MConfig(MovieLens):
    """Fields separated by `::`, users with gender, age and occupation."""

    name = "ml-1m"
    sql = "ml_dat"
    ratings = "ratings.dat"
    items = "movies.dat"
    users = "users.dat"
    item_encodings = ("utf-8", "latin-1")
