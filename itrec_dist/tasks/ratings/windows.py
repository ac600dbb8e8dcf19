"""From raw ratings to shards for rating prediction: the steps of `itrec window ratings`.

Every rating is the target of one window, whose inputs are the user's latest *training* ratings
before it. So all models of a comparison, of sequences and of single ratings alike, are judged on
the same held-out ratings and may know the same others, and no model sees a rating of a user that
is later than the target among its inputs.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import itrec_dist
from itrec_dist.data import schema
from itrec_dist.data.database import Database
from itrec_dist.data.manifest import Coverage, Manifest
from itrec_dist.data.shards.columns import Widths
from itrec_dist.data.shards.writer import ContentDigest
from itrec_dist.data.sources import staging
from itrec_dist.data.sources.table import TableConfig
from itrec_dist.data.windowing import settings as window_settings
from itrec_dist.data.windowing import shards
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.storage import atomic
from itrec_dist.tasks.ratings import audit as rating_audit

RatingProtocol = Literal["random_ratings", "last_ratings", "ratings_by_time"]

JUDGES_EVERY_USER = ("last_ratings",)
"""Protocols whose every split should have ratings of every user."""

_STEPS = ("read", "to learn from")


@dataclass(frozen=True)
class RatingWindowConfig:
    """How ratings are held out and what stands beside them; the defaults are the literature's."""

    protocol: RatingProtocol = "random_ratings"
    """Which ratings are held out: any of them at random, each user's last, or the latest of all."""
    validation_fraction: float = 0.1
    """Share of the ratings for validation; of each user's ratings with last_ratings."""
    test_fraction: float = 0.1
    """Share of the ratings for test, as above; the rest is for training."""
    input_length: int = 10
    """Earlier training ratings of the same user that stand beside each rating, L; fewer where
    there are fewer."""
    scale: tuple[float, float] | None = None
    """Smallest and largest possible rating: others are refused; null takes those of the data."""
    seed: int = 0
    """Deals ratings to splits; last_ratings and ratings_by_time do not use it."""
    num_shards: int = 8
    """Files of the training split; the other splits get files of about the same size."""
    memory_limit: str | None = None
    """What DuckDB may hold in memory, such as 2GB; null is its default, 80 % of the machine."""
    threads: int | None = None
    """Threads of DuckDB; null is one per core. The result does not depend on it."""

    def __post_init__(self) -> None:
        """Refuse settings that no data could satisfy.

        Raises:
            ConfigError: names the setting, what was given and what is allowed.
        """
        counts = ("input_length", "num_shards", "threads")
        window_settings.check(self, counts, schema.RATING_PROTOCOLS)
        if self.scale is not None and not -math.inf < self.scale[0] < self.scale[1] < math.inf:
            raise ConfigError(
                f"scale is {list(self.scale)}: give the smallest possible rating and then the "
                "largest, as in [1, 5]"
            )


def window_ratings(
    source: str, path: Path, out: Path, config: RatingWindowConfig,
    table: TableConfig | None = None, *, overwrite: bool = False,
) -> Manifest:  # fmt: skip
    """Deal the ratings at `path` to splits and write the shards folder `out`.

    `source` is a name of staging.FORMATS, or `table`, of which `table` tells the columns.

    Raises:
        ConfigError: there is no such source, or it takes no `table`.
        DataError: the input cannot be used, has no ratings, or one outside the scale.
        OutputError: `out` is taken or cannot be written.
    """
    table = table or TableConfig()
    shards.refuse_source(source, table)
    atomic.refuse_taken(out, marker=schema.MANIFEST_FILE, overwrite=overwrite)
    with (
        Database(config.memory_limit, config.threads) as database,
        atomic.new_directory(out, marker=schema.MANIFEST_FILE, overwrite=overwrite) as building,
    ):
        staged, origin = shards.stage(database, source, path, table)
        _refuse_unfit(database, staged, config)
        staging.key_events(database, staged)
        _deal(database, config)
        manifest = _write(database, config, staged, building)
        origin |= shards.undescribed(database)
        manifest = dataclasses.replace(manifest, source=origin)
        atomic.write_json(building / schema.MANIFEST_FILE, manifest.to_json())
    return manifest


def _refuse_unfit(database: Database, staged: staging.Staged, config: RatingWindowConfig) -> None:
    if not staged.has_ratings:
        raise DataError(
            f"{staged.ratings_file} has no ratings to predict: name their column, or cut windows "
            "of items with itrec window"
        )
    if config.scale is None:
        return
    low, high = config.scale
    for row in database.rows("checks/ratings_outside_scale", lowest=low, highest=high):
        raise DataError(
            f"{staged.place(row['row_number'])} has the rating {row['rating']:g}, "
            f"the scale is {low:g} to {high:g}: correct the row, or give another --scale"
        )


def _deal(database: Database, config: RatingWindowConfig) -> None:
    """From `events` to `sequences`: which rating goes to which split, and what comes before it."""
    parameters: dict[str, Any] = {}
    if config.protocol == "ratings_by_time":
        database.table("cuts", "shared/cuts", **window_settings.fractions(config))
    else:
        parameters |= window_settings.fractions(config)
    if config.protocol == "random_ratings":
        parameters["seed"] = config.seed
    database.table("dealt", f"ratings/dealt/{config.protocol}", **parameters)
    database.drop("events")
    sizes = _sizes(database)
    if not sizes.get(schema.TRAIN):
        raise DataError(
            f"protocol {config.protocol} leaves none of {sum(sizes.values()):,} ratings to train "
            "on: hold out less, or give more data"
        )
    database.table("catalogue", "ratings/catalogue")
    database.table("kept_users", "ratings/kept_users")
    database.table("sequences", "ratings/sequences")


def _sizes(database: Database) -> dict[str, int]:
    return {r["split"]: r["num_windows"] for r in database.rows("ratings/split_sizes")}


def _write(
    database: Database, config: RatingWindowConfig, staged: staging.Staged, building: Path
) -> Manifest:
    told = (*staged.user_features, *staged.more_user_features)
    user_features = staging.vocabulary(database, "user", told)
    item_features = staging.vocabulary(database, "item", staged.item_features)
    names = [feature.name for feature in user_features]
    num_users = database.table("users", "shared/users", features=names)
    database.table(
        "windows", "ratings/windows",
        input_length=config.input_length, ratings_before=config.input_length - 1,
    )  # fmt: skip
    num_items = database.table("item_table", "shared/item_table")
    found = rating_audit.audit(database, config.protocol, config.input_length)
    coverage = database.rows("ratings/coverage", is_for_all=config.protocol in JUDGES_EVERY_USER)
    moments = database.rows("ratings/rating_moments")[0]
    scale = config.scale or (moments["rating_min"], moments["rating_max"])
    widths = Widths(config.input_length, 1, len(names))
    digest = ContentDigest()
    shards.write_tables(database, widths, building, digest)
    splits = shards.write_splits(
        database, _sizes(database), config.num_shards, widths, building, digest
    )
    settings = window_settings.recorded(config)
    digest.add_text(json.dumps(settings, sort_keys=True))
    return Manifest(
        input_length=config.input_length,
        target_length=1,
        num_items=num_items,
        num_users=num_users,
        protocol=config.protocol,
        catalogue_from="training data",
        has_ratings=True,
        rating_mean=moments["rating_mean"],
        rating_std=moments["rating_std"] or 1.0,  # dividing by it must be safe
        rating_min=scale[0],
        rating_max=scale[1],
        user_features=user_features,
        item_features=item_features,
        splits=splits,
        fingerprint=digest.hexdigest(),
        settings=settings,
        sql=dict(sorted(database.sql.items())),
        steps=window_settings.steps(_STEPS, database.rows("ratings/steps")),
        coverage=tuple(Coverage(**row) for row in coverage),
        audit=found,
        version=itrec_dist.__version__,
    )
