"""MovieLens 1M, whose format the generated data has too."""

from dataclasses import dataclass

from itrec_dist.data.sources.movielens import MovieLens


@dataclass(frozen=True)
class ML1MConfig(MovieLens):
    """Fields between `::`, users with gender, age and occupation."""

    name = "ml-1m"
    sql = "ml_dat"
    ratings = "ratings.dat"
    items = "movies.dat"
    users = "users.dat"
    item_encodings = ("utf-8", "latin-1")
