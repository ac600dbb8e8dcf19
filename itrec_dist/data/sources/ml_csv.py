"""MovieLens 20M, 25M, 32M and latest."""

from dataclasses import dataclass

from itrec_dist.data.sources.movielens import MovieLens


@dataclass(frozen=True)
class MLCSVConfig(MovieLens):
    """CSV with a header, no users."""

    name = "ml-csv"
    sql = "ml_csv"
    ratings = "ratings.csv"
    items = "movies.csv"
    headers = (
        ("ratings.csv", "userId,movieId,rating,timestamp"),
        ("movies.csv", "movieId,title,genres"),
    )
