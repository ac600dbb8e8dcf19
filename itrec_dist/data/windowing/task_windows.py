"""The steps from raw ratings to a shards folder, the same for every task.

Owns their order: check, stage, key the events, cut, make vocabularies and tables, audit, write the
splits and the manifest. What differs between tasks is defined by subclasses of `TaskWindows`.
"""

import copy
import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import itrec_dist
from itrec_dist.data import schema, sources
from itrec_dist.data.database import Database
from itrec_dist.data.doors.files import Place
from itrec_dist.data.event_features import EventFeature
from itrec_dist.data.manifest import ORDER, Coverage, Manifest, SampleKind
from itrec_dist.data.shards.arrays import WINDOW_COLUMNS
from itrec_dist.data.shards.columns import Column, Widths
from itrec_dist.data.shards.writer import ContentDigest
from itrec_dist.data.sources import staging
from itrec_dist.data.sources.source import Source
from itrec_dist.data.windowing import shards, totals
from itrec_dist.data.windowing.buckets import BucketedDatabase, Cluster
from itrec_dist.data.windowing.leakage import Leakage
from itrec_dist.data.windowing.settings import WindowSettings, recorded
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.storage import atomic, outputs
from itrec_dist.storage.uri import Uri

S = TypeVar("S", bound=WindowSettings)
Steps = tuple[dict[str, Any], ...]
"""What remains after each filter, as the manifest's `steps`."""


class TaskWindows(ABC, Generic[S]):
    """How one task cuts ratings into windows.

    A subclass has a folder of SQL files, `sql/TASK/`, and fills these tables from `events`:

    * `cut`: `catalogue`, `kept_users` and `sequences`, with the columns that `sql/shared/` reads;
    * `frame`: `windows`, with the columns of `sql/shared/split.sql` and `split`.
    """

    task: str = ""
    """The task's name; set on lookup for a task of another package."""
    settings: ClassVar[type]
    """Frozen dataclass of the settings: the options of `itrec window`, recorded in the manifest;
    it has at least the fields of `WindowSettings`."""
    protocols: ClassVar[tuple[str, ...]]
    """Its split protocols; a protocol belongs to one task."""
    leakage: ClassVar[Leakage]
    """The counts and promises of its audit."""
    description: ClassVar[str]
    """A sentence or two for `itrec window --help`."""
    sql_folder: ClassVar[Path | None] = None
    """Folder of a task outside itrec_dist, searched before the shipped `sql/`."""
    rating_moments: ClassVar[str] = "shared/rating_moments"
    """SQL file for `rating_mean` and `rating_std` of the ratings that models are trained on."""
    catalogue_from_all: ClassVar[tuple[str, ...]] = ()
    """Protocols whose catalogue is counted on all data, including held-out events."""
    by_time: ClassVar[tuple[str, ...]] = ()
    """Protocols that cut at a point in time, for which an order of events does not do."""
    samples: ClassVar[SampleKind] = "windows"
    """Whether the rows of its splits are windows of fixed length or histories of any length."""
    columns: ClassVar[tuple[Column, ...]] = WINDOW_COLUMNS
    """The columns of the rows of its splits."""
    rows_of_split: ClassVar[str] = "shared/split"
    """SQL file that gives the rows of one split, with those columns, from `windows`."""

    rows_with_features: ClassVar[str] = ""
    """The same with the features of events, of samples that take them."""

    keeps_to_users: ClassVar[bool] = False
    """Whether the SQL that reads or makes tables of events keeps to the events of each user, as
    `BucketedDatabase` needs."""
    cluster: Callable[[], Cluster] | None = None
    """Connects to where tables of events are held; None holds them in this process."""

    @abstractmethod
    def cut(self, database: Database, config: S) -> Steps:
        """Fill `catalogue`, `kept_users` and `sequences` from `events`; return the steps.

        Raises:
            DataError: nothing is left.
        """

    @abstractmethod
    def frame(self, database: Database, config: S) -> None:
        """Fill `windows`, given the tables of `cut` and `users`.

        It has a column `split` and those that `arrays.Windows` declares, including the times, in
        the order of window_id.
        """

    @abstractmethod
    def audit(self, database: Database, config: S) -> dict[str, Any]:
        """The leakage counts of every evaluation split, by split.

        Raises:
            AssertionError: a window is wrong, or a promise is broken.
        """

    def check(self, database: Database, staged: staging.Staged, config: S) -> None:
        """Refuse staged data that no windows can be cut from.

        Raises:
            DataError: the message says what is missing.
        """

    def target_length(self, database: Database, config: S) -> int:  # noqa: ARG002
        """The targets of a row at most, K; called when `windows` is filled."""
        assert config.target_length is not None, "a task that allows it says how many there are"
        return config.target_length

    def described(
        self,
        database: Database,  # noqa: ARG002
        staged: staging.Staged,
        config: S,  # noqa: ARG002
    ) -> staging.Staged:
        """Add item and user features to those of the source."""
        return staged

    def may_repeat(self, config: S) -> bool:  # noqa: ARG002
        """Whether a user may have two ratings of one item at the same time."""
        return False

    def no_training(
        self,
        database: Database,  # noqa: ARG002
        config: S,
        sizes: Mapping[str, int],
    ) -> str:
        """Why there is no training window, and what to do about it."""
        return (
            f"protocol {config.protocol} leaves none of {sum(sizes.values()):,} windows to train "
            "on: hold out less, or give more data"
        )

    def user_features(self, staged: staging.Staged) -> tuple[tuple[str, staging.FeatureKind], ...]:
        """The staged user features that windows carry, in order."""
        return staged.user_features

    def event_features(
        self,
        database: Database,  # noqa: ARG002
        staged: staging.Staged,
    ) -> tuple[EventFeature, ...]:
        """Number the values of the staged columns of events, and fill `user_codes` with them."""
        assert not staged.event_features, "they have been refused"
        return ()

    def rating_scale(self, config: S) -> tuple[float, float] | None:  # noqa: ARG002
        """Lowest and highest possible rating; None takes those of the data."""
        return None

    def coverage(self, database: Database, config: S) -> tuple[Coverage, ...]:  # noqa: ARG002
        """Users and events without a window: of all splits together, then of each; may be empty."""
        return ()

    def coverage_remedy(self, manifest: Manifest) -> str:  # noqa: ARG002
        """What to do if many users have no window, as part of a message."""
        return "hold out a larger share, or give only users with more events"

    def expects(self, manifest: Manifest, split: str) -> bool:
        """Whether the settings request windows in this evaluation split."""
        return bool(manifest.settings.get(f"{split}_fraction"))

    def on(self, cluster: Callable[[], Cluster]) -> Self:
        """A copy that works on a cluster, which is connected to when all else was checked.

        Raises:
            ConfigError: the task's windows cannot be cut there.
        """
        if not self.keeps_to_users:
            raise ConfigError(
                f"windows of the task {self.task} are cut in one process: leave out --distributed"
            )
        copied = copy.copy(self)
        copied.cluster = cluster
        return copied

    def write(
        self,
        source: str,
        path: Place | Sequence[Place],
        out: Uri | Path,
        config: S,
        settings: Source | None = None,
        *,
        overwrite: bool = False,
    ) -> Manifest:
        """Cut the ratings at `path` into windows and write the shards folder `out`.

        `source` is the name of a source, `settings` its settings; None takes the defaults. Some
        sources also take a URI, or several inputs.

        Raises:
            ConfigError: there is no such source, the settings belong to another one, or it does not
                take such an input.
            DataError: the input cannot be used, or nothing is left after a filter.
            EnvironmentProblem: `out` is a URI that cannot be reached.
            OutputError: `out` already exists or cannot be written.
        """
        chosen = sources.chosen(source, settings)
        given = sources.given(source, chosen, path)
        self._refuse_event_columns(chosen)
        folders = [f for f in (self.sql_folder, chosen.sql_folder) if f is not None]
        with (
            outputs.new_directory(
                out, marker=schema.MANIFEST_FILE, overwrite=overwrite
            ) as building,
            self._database(config, folders) as database,
        ):
            staging.register_no_vectors(database)
            staged = chosen.stage(database, given)
            self._refuse_without_times(staged, config)
            staged = self.described(database, staged, config)
            self.check(database, staged, config)
            staging.key_events(database, staged, may_repeat=self.may_repeat(config))
            steps = self.cut(database, config)
            manifest = self._write_shards(database, config, staged, building)
            origin = {
                "format": source,
                "path": sources.shown(given),
                "files": list(staged.files),
                **chosen.recorded(),
                **shards.undescribed(database),
                **({"warnings": list(staged.warnings)} if staged.warnings else {}),
            }
            manifest = dataclasses.replace(manifest, source=origin, steps=steps)
            atomic.write_json(building / schema.MANIFEST_FILE, manifest.to_json())
        return manifest

    def _database(self, config: S, folders: Sequence[Path]) -> Database:
        if self.cluster is None:
            return Database(config.memory_limit, config.threads, folders)
        return BucketedDatabase(self.cluster(), config.memory_limit, config.threads, folders)

    def _refuse_without_times(self, staged: staging.Staged, config: S) -> None:
        if staged.time_unit == ORDER and config.protocol in self.by_time:
            others = ", ".join(p for p in self.protocols if p not in self.by_time)
            raise ConfigError(
                f"protocol {config.protocol} cuts at a point in time, and {staged.ratings_file} is "
                f"read with an order of events alone: give --columns.timestamp, or one of {others}"
            )

    def _refuse_event_columns(self, source: Source) -> None:
        if source.event_columns and self.samples != "histories":
            raise ConfigError(
                f"columns of events ({', '.join(source.event_columns)}) are "
                "features of histories alone: give --samples histories, or leave out "
                "--event_features and --event_numbers"
            )
        if source.event_columns and self.cluster is not None:
            raise ConfigError(
                f"columns of events ({', '.join(source.event_columns)}) are numbered in one "
                "process: leave out --distributed, or --event_features and --event_numbers"
            )

    def _split_rows(self, widths: Widths, sizes: Mapping[str, int], config: S) -> shards.SplitRows:
        """Which SQL file gives the rows, and with what."""
        name, parameters = self.rows_of_split, {}
        if widths.event_features:
            name, parameters = self.rows_with_features, {"num_features": widths.event_features}
        columns = widths.schema(self.columns)
        return shards.SplitRows(name, columns, sizes, config.num_shards, parameters)

    def _write_shards(
        self, database: Database, config: S, staged: staging.Staged, building: Path
    ) -> Manifest:
        """Write tables and splits; source and steps are added to the manifest later."""
        user_features = staging.vocabulary(database, "user", self.user_features(staged))
        item_features = staging.vocabulary(database, "item", staged.item_features)
        names = [feature.name for feature in user_features]
        num_users = database.table("users", "shared/users", features=names)
        self.frame(database, config)
        database.table("target_counts", "shared/target_counts")
        num_items = database.table("item_table", "shared/item_table")
        sizes = totals.split_sizes(database)
        if not sizes.get(schema.TRAIN):
            raise DataError(self.no_training(database, config, sizes))
        target_length = self.target_length(database, config)
        audit = self.audit(database, config)
        coverage = self.coverage(database, config)
        rating_mean, rating_std = totals.moments(database.rows(self.rating_moments))
        found = totals.scale(database.rows("shared/rating_scale"))
        lowest, highest = self.rating_scale(config) or found
        event_features = self.event_features(database, staged)
        widths = Widths(config.input_length, target_length, len(names), len(event_features))
        digest = ContentDigest()
        vector_width = shards.write_tables(database, widths, building, digest)
        if event_features:
            digest.add_text(json.dumps([dataclasses.asdict(f) for f in event_features]))
        rows = self._split_rows(widths, sizes, config)
        splits = shards.write_splits(database, rows, building, digest)
        settings = recorded(config)
        digest.add_text(json.dumps(settings, sort_keys=True))
        counts_all = config.protocol in self.catalogue_from_all
        return Manifest(
            task=self.task,
            input_length=config.input_length,
            target_length=target_length,
            num_items=num_items,
            num_users=num_users,
            protocol=config.protocol,
            catalogue_from="all data" if counts_all else "training data",
            has_ratings=staged.has_ratings,
            rating_mean=rating_mean if staged.has_ratings else 0.0,
            rating_std=rating_std or 1.0,  # a divisor, must not be 0
            has_times=staged.time_unit != ORDER,
            time_unit=staged.time_unit,
            rating_min=lowest if staged.has_ratings else 0.0,
            rating_max=highest if staged.has_ratings else 0.0,
            user_features=user_features,
            item_features=item_features,
            event_features=event_features,
            item_vector_width=vector_width,
            splits=splits,
            fingerprint=digest.hexdigest(),
            settings=settings,
            sql=dict(sorted(database.sql.items())),
            coverage=coverage,
            audit=audit,
            samples=self.samples,
            max_length=config.input_length if self.samples == "histories" else 0,
            version=itrec_dist.__version__,
        )
