"""MovieLens 100K."""

from dataclasses import dataclass

from itrec_dist.data.sources.movielens import MovieLens


@dataclass(frozen=True)
class ML100KConfig(MovieLens):
    """Fields separated by tabs or `|`, genres as 0 and 1, users with gender, age and occupation."""

    name = "ml-100k"
    sql = "ml_100k"
    ratings = "u.data"
    items = "u.item"
    users = "u.user"
    item_encodings = ("utf-8", "latin-1")
