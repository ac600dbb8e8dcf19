"""From raw ratings to a shards folder: the steps of `itrec window`, in order.

Owns: the settings, running the files of `sql/next_items/`, what is refused between the steps, and
the manifest. Leaves reading raw input to data/sources/, writing files to data/shards/ and the
leakage audit to audit.py.
"""

import dataclasses
import itertools
import json
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
from itrec_dist.data.windowing.shards import (
    refuse_source,
    stage,
    undescribed,
    write_splits,
    write_tables,
)
from itrec_dist.errors import DataError
from itrec_dist.storage import atomic
from itrec_dist.tasks.next_items import audit as next_item_audit

Protocol = Literal["random_windows", "user_disjoint", "leave_last", "global_time"]

COUNTS_ALL_DATA = ("random_windows",)
"""Protocols whose catalogue is counted on all data, held-out events included."""

JUDGES_EVERY_USER = ("leave_last",)
"""Protocols whose every split should have windows of every kept user."""


@dataclass(frozen=True)
class WindowConfig:
    """How ratings become windows; the defaults are those of the paper."""

    top_items: int | None = 1000
    """Keep this many of the most frequent items; null keeps all."""
    min_user_events: int = 15
    """Keep users with at least this many events of kept items."""
    input_length: int = 10
    """Consecutive events that a model is shown, L."""
    target_length: int = 5
    """Events that follow them and are to be predicted, K."""
    stride: int = 10
    """Events from the start of one window to the start of the next of the same user and split."""
    protocol: Protocol = "random_windows"
    """How to split: windows at random (the paper), by user, each user's last events, or by date."""
    validation_fraction: float = 0.1
    """Share for validation: of windows, of users (user_disjoint) or of ratings (global_time);
    leave_last does not use it."""
    test_fraction: float = 0.0
    """Share for test, as above; the rest is for training; leave_last does not use it."""
    seed: int = 0
    """Deals windows or users to splits; leave_last and global_time do not use it."""
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
        counts = ("input_length", "target_length", "stride", "min_user_events", "num_shards")
        window_settings.check(self, (*counts, "threads", "top_items"), schema.PROTOCOLS)

    @property
    def widths(self) -> dict[str, int]:
        """Input and target lengths as SQL parameters."""
        return {"input_length": self.input_length, "target_length": self.target_length}


def window(
    source: str,
    path: Path,
    out: Path,
    config: WindowConfig,
    table: TableConfig | None = None,
    *,
    overwrite: bool = False,
) -> Manifest:
    """Cut the ratings at `path` into windows and write the shards folder `out`.

    `source` is a name of staging.FORMATS, or `table`, of which `table` tells the columns.

    Raises:
        ConfigError: there is no such source, or it takes no `table`.
        DataError: the input cannot be used, or nothing is left after a filter.
        OutputError: `out` is taken or cannot be written.
    """
    table = table or TableConfig()
    refuse_source(source, table)
    atomic.refuse_taken(out, marker=schema.MANIFEST_FILE, overwrite=overwrite)
    with (
        Database(config.memory_limit, config.threads) as database,
        atomic.new_directory(out, marker=schema.MANIFEST_FILE, overwrite=overwrite) as building,
    ):
        staged, origin = stage(database, source, path, table)
        staging.key_events(database, staged)
        steps = cut(database, config)
        manifest = _write(database, config, staged, building, steps)
        origin |= undescribed(database)
        manifest = dataclasses.replace(manifest, source=origin)
        atomic.write_json(building / schema.MANIFEST_FILE, manifest.to_json())
    return manifest


def cut(database: Database, config: WindowConfig) -> tuple[dict[str, Any], ...]:
    """From `events` to `sequences` and `targets`; return the steps for the manifest.

    Raises:
        DataError: nothing is left after a filter.
    """
    protocol = config.protocol
    _count(database, config)
    database.table("kept_users", "next_items/kept_users", min_user_events=config.min_user_events)
    database.table("sequences", "next_items/sequences")
    steps = _steps(database, config)
    database.drop("events")
    if protocol == "leave_last":
        database.table("ranges", "next_items/ranges/leave_last", target_length=config.target_length)
    else:
        database.table("ranges", f"next_items/ranges/{protocol}")
    database.table(
        "targets",
        "next_items/targets",
        **config.widths,
        stride=config.stride,
        seed=config.seed,
        **window_settings.fractions(config),
    )
    return steps


def _count(database: Database, config: WindowConfig) -> None:
    """Fill `counted` and `catalogue`."""
    protocol = config.protocol
    if protocol == "global_time":
        database.table("cuts", "shared/cuts", **window_settings.fractions(config))
        database.table("counted", "next_items/counted/global_time")
    elif protocol == "user_disjoint":
        database.table(
            "counted",
            "next_items/counted/user_disjoint",
            seed=config.seed,
            **window_settings.fractions(config),
        )
    else:
        database.table("counted", "next_items/counted/random_windows")
    database.table("catalogue", "next_items/catalogue", top_items=config.top_items)
    if protocol == "leave_last":
        _hold_out_last(database, config)


def _hold_out_last(database: Database, config: WindowConfig) -> None:
    """Repeat until the catalogue counts no event that it holds out.

    Each round can only count less, so this ends; MovieLens 1M takes two rounds.
    """
    counted = -1
    while True:
        database.table(
            "counted", "next_items/counted/leave_last", target_length=config.target_length
        )
        before, counted = counted, database.rows("next_items/num_counted")[0]["num_counted"]
        if counted == before:
            return
        database.table("catalogue", "next_items/catalogue", top_items=config.top_items)


def _steps(database: Database, config: WindowConfig) -> tuple[dict[str, Any], ...]:
    top = "all items" if config.top_items is None else f"the top {config.top_items:,} items"
    names = ("read", f"of {top}", f"of users with at least {config.min_user_events} of those")
    steps = window_settings.steps(names, database.rows("next_items/steps"))
    for before, after in itertools.pairwise(steps):
        if after["ratings"] == 0:
            raise DataError(
                f"nothing is left of {before['ratings']:,} ratings by {before['users']:,} users "
                f"after keeping those {after['name']} (protocol {config.protocol}): lower "
                "--min_user_events, raise --top_items, or give more data"
            )
    return steps


def _write(
    database: Database,
    config: WindowConfig,
    staged: staging.Staged,
    building: Path,
    steps: tuple[dict[str, Any], ...],
) -> Manifest:
    user_features = staging.vocabulary(database, "user", staged.user_features)
    item_features = staging.vocabulary(database, "item", staged.item_features)
    names = [feature.name for feature in user_features]
    num_users = database.table("users", "shared/users", features=names)
    database.table(
        "windows", "next_items/windows", **config.widths, last_target=config.target_length - 1
    )
    num_items = database.table("item_table", "shared/item_table")
    found = next_item_audit.audit(database, config.protocol, config.widths)
    coverage = database.rows(
        "next_items/coverage", **config.widths, is_for_all=config.protocol in JUDGES_EVERY_USER
    )
    moments = database.rows("next_items/rating_moments")[0]
    scale = database.rows("shared/rating_scale")[0]
    widths = Widths(config.input_length, config.target_length, len(names))
    digest = ContentDigest()
    write_tables(database, widths, building, digest)
    sizes = {r["split"]: r["num_windows"] for r in database.rows("next_items/split_sizes")}
    _refuse_no_training(database, config, sizes)
    splits = write_splits(database, sizes, config.num_shards, widths, building, digest)
    settings = window_settings.recorded(config)
    digest.add_text(json.dumps(settings, sort_keys=True))
    return Manifest(
        input_length=config.input_length,
        target_length=config.target_length,
        num_items=num_items,
        num_users=num_users,
        protocol=config.protocol,
        catalogue_from="all data" if config.protocol in COUNTS_ALL_DATA else "training data",
        has_ratings=staged.has_ratings,
        rating_mean=moments["rating_mean"] if staged.has_ratings else 0.0,
        rating_std=moments["rating_std"] or 1.0,  # dividing by it must be safe
        rating_min=scale["rating_min"] if staged.has_ratings else 0.0,
        rating_max=scale["rating_max"] if staged.has_ratings else 0.0,
        user_features=user_features,
        item_features=item_features,
        splits=splits,
        fingerprint=digest.hexdigest(),
        settings=settings,
        sql=dict(sorted(database.sql.items())),
        steps=steps,
        coverage=tuple(Coverage(**row) for row in coverage),
        audit=found,
        version=itrec_dist.__version__,
    )


def _refuse_no_training(database: Database, config: WindowConfig, sizes: dict[str, int]) -> None:
    if sizes.get(schema.TRAIN):
        return
    longest = database.rows("next_items/longest_history")[0]["num_events"]
    needed = config.input_length + config.target_length
    raise DataError(
        f"there is no training window: one needs {needed} events in a row (input_length "
        f"{config.input_length} + target_length {config.target_length}) before what protocol "
        f"{config.protocol} holds out, and the longest history has {longest}: shorten the windows "
        "or hold out less"
    )
