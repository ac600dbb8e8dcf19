"""Windows of ratings: every rating is the target of one window.

Its inputs are the user's latest *training* ratings before it. So all models of a comparison,
sequential or not, are judged on the same held-out ratings and trained on the same others, and no
rating later than the target is ever an input.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from itrec_dist.data.database import Database
from itrec_dist.data.manifest import Coverage, Manifest
from itrec_dist.data.sources import staging
from itrec_dist.data.windowing import settings as window_settings
from itrec_dist.data.windowing.task_windows import Steps, TaskWindows
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.tasks.ratings import audit as rating_audit

RatingProtocol = Literal["random_ratings", "last_ratings", "ratings_by_time"]

_STEPS = ("read", "to learn from")


@dataclass(frozen=True)
class RatingWindowConfig:
    """Windows: held-out ratings and their inputs; the defaults are those of the literature."""

    protocol: RatingProtocol = "random_ratings"
    """Which ratings are held out: any of them at random, each user's last, or the latest of all."""
    validation_fraction: float = 0.1
    """Share of the ratings for validation; of each user's ratings with last_ratings."""
    test_fraction: float = 0.1
    """Share of the ratings for test, as above; the rest is for training."""
    input_length: int = 10
    """Number of earlier training ratings of the same user given with each rating, L; padded if
    there are fewer."""
    scale: tuple[float, float] | None = None
    """Smallest and largest possible rating, as in [1, 5]; others are refused. null takes the
    extremes of the data."""
    seed: int = 0
    """Seed of the random split; not used by last_ratings and ratings_by_time."""
    num_shards: int = 8
    """Number of files of the training split; the other splits get files of about the same size."""
    memory_limit: str | None = None
    """Memory limit of DuckDB, such as 2GB; null is its default, 80 % of the machine's memory."""
    threads: int | None = None
    """Threads of DuckDB; null is one per core. The result does not depend on them."""

    def __post_init__(self) -> None:
        """Refuse settings that no data could satisfy.

        Raises:
            ConfigError: the message names the setting, what was given and what is allowed.
        """
        counts = ("input_length", "num_shards", "threads")
        window_settings.check(self, counts, get_args(RatingProtocol))
        if self.scale is not None and not -math.inf < self.scale[0] < self.scale[1] < math.inf:
            raise ConfigError(
                f"scale is {list(self.scale)}: give the smallest possible rating and then the "
                "largest, as in [1, 5]"
            )

    @property
    def target_length(self) -> int:
        """One rating is predicted at a time."""
        return 1


class RatingsWindows(TaskWindows[RatingWindowConfig]):
    """Windows whose target is one rating."""

    task = "ratings"
    settings = RatingWindowConfig
    protocols = get_args(RatingProtocol)
    by_time = ("ratings_by_time",)
    leakage = rating_audit.LEAKAGE
    rating_moments = "ratings/rating_moments"
    description = (
        "Hold out ratings to be predicted, and write each rating with the training ratings that "
        "its user gave before: Parquet shards, item and user tables, a manifest and a leakage "
        "audit. Rating models are trained and compared on these."
    )

    def check(self, database: Database, staged: staging.Staged, config: RatingWindowConfig) -> None:
        """Refuse events without ratings, and ratings outside the given scale."""
        if not staged.has_ratings:
            raise DataError(
                f"{staged.ratings_file} has no ratings to predict: name their column, or cut "
                "windows of items with itrec window"
            )
        if config.scale is None:
            return
        low, high = config.scale
        for row in database.rows("checks/ratings_outside_scale", lowest=low, highest=high):
            raise DataError(
                f"{staged.place(row['row_number'])} has the rating "
                f"{row['rating']:g}, the scale is {low:g} to {high:g}: correct the row, or give "
                "another --scale"
            )

    def cut(self, database: Database, config: RatingWindowConfig) -> Steps:
        """From `events` to `dealt`, each rating's split, and `sequences`."""
        parameters: dict[str, Any] = {}
        if config.protocol == "ratings_by_time":
            database.table("moments", "shared/moments")
            database.table("cuts", "shared/cuts", **window_settings.fractions(config))
        else:
            parameters |= window_settings.fractions(config)
        if config.protocol == "random_ratings":
            parameters["seed"] = config.seed
        database.table("dealt", f"ratings/dealt/{config.protocol}", **parameters)
        database.drop("events")
        database.table("catalogue", "ratings/catalogue")
        database.table("kept_users", "ratings/kept_users")
        database.table("sequences", "ratings/sequences")
        return window_settings.steps(_STEPS, database.rows("ratings/steps"))

    def frame(self, database: Database, config: RatingWindowConfig) -> None:
        """The training ratings before each rating, and the rating itself."""
        length = config.input_length
        database.table("windows", "ratings/windows", input_length=length, ratings_before=length - 1)

    def audit(self, database: Database, config: RatingWindowConfig) -> dict[str, Any]:
        """See audit.py."""
        return rating_audit.audit(database, config.protocol, config.input_length)

    def user_features(self, staged: staging.Staged) -> tuple[tuple[str, staging.FeatureKind], ...]:
        """Also the region, which the paper's models do not use."""
        return (*staged.user_features, *staged.more_user_features)

    def rating_scale(self, config: RatingWindowConfig) -> tuple[float, float] | None:
        """The scale from the settings."""
        return config.scale

    def coverage(self, database: Database, config: RatingWindowConfig) -> tuple[Coverage, ...]:
        """With last_ratings, every split should include every user."""
        is_for_all = config.protocol == "last_ratings"
        rows = database.rows("ratings/coverage", is_for_all=is_for_all)
        return tuple(Coverage(**row) for row in rows)

    def coverage_remedy(self, manifest: Manifest) -> str:  # noqa: ARG002
        """Every rating has a window, so users are missing only if the held-out share is small."""
        return "raise the share that is held out, or give only users with more ratings"


window_ratings = RatingsWindows().write
"""Cut windows of ratings; see `TaskWindows.write`."""
