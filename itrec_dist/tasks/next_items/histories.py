"""Histories of items: a user's events, however many, and the events that follow as targets.

Every event of a training history is a target once, given those before it; a user is judged on the
events that a protocol holds out, given the newest events before them. Under random_windows those
are the targets of fixed windows, and training has the targets of the other windows alone. Owns the
settings and running the files of `sql/next_items/histories/`; see `TaskWindows` for the steps.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from itrec_dist.data.database import Database
from itrec_dist.data.event_features import EventFeature
from itrec_dist.data.manifest import Coverage, Manifest, SampleKind
from itrec_dist.data.shards.arrays import HISTORY_ROW_COLUMNS
from itrec_dist.data.shards.columns import Column
from itrec_dist.data.sources import staging
from itrec_dist.data.sources.staging import Staged
from itrec_dist.data.windowing import settings as window_settings
from itrec_dist.data.windowing.task_windows import Steps, TaskWindows
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.tasks.next_items import audit as next_item_audit
from itrec_dist.tasks.next_items import event_features, framing, repeats
from itrec_dist.tasks.next_items.repeats import Repeats

HistoryProtocol = Literal[
    "leave_one_out", "leave_last", "global_time", "user_disjoint", "random_windows"
]

FOLDER = "next_items/histories"
_HELD_OUT_BY_PLACE = ("leave_one_out", "leave_last")


@dataclass(frozen=True)
class HistoryConfig:
    """How events become histories; the defaults drop nobody."""

    protocol: HistoryProtocol = "leave_one_out"
    """How to split: each user's last event (leave_one_out) or last target_length events
    (leave_last) for test and those before them for validation, by date (global_time), by user
    (user_disjoint), or windows at random, as the paper does (random_windows). A user with too few
    events for that stays in training."""
    max_length: int = 200
    """Events that a model is shown at most, the newest ones; longer training histories are cut into
    several rows, so that every event is learned from."""
    target_length: int | None = 1
    """Events of a judged user that are to be predicted, at most; leave_one_out has 1. With
    global_time, null takes all of the horizon, or all until the next cut."""
    horizon: int | None = None
    """With global_time, the targets happen within this much time after a cut, in the unit of the
    timestamps (seconds in MovieLens, microseconds of dates); null sets no limit."""
    overlap: int = 0
    """Events that a row of a cut training history repeats from the row before, as context for its
    targets; at least one is repeated."""
    min_user_events: int = 1
    """Keep users with at least this many events; with random_windows, of kept items."""
    min_item_events: int = 1
    """Keep items with at least this many events."""
    core: Literal["single", "iterative"] = "single"
    """Drop infrequent items and then infrequent users once, or over and over until all that are
    left have enough events."""
    top_items: int | None = None
    """Keep this many of the items most frequent in training; null keeps all."""
    repeats: Repeats = "keep"
    """Several events of one user with one item: keep them all, the first or the last, or refuse
    the data."""
    title_words: int = 0
    """Make the words that stand in at least this many titles a feature of the items; 0 makes none.
    Models see it with their other item features."""
    validation_fraction: float = 0.1
    """Share for validation: of events (global_time), of users (user_disjoint) or of windows
    (random_windows); the others do not use it."""
    test_fraction: float = 0.1
    """Share for test, as above; the rest is for training."""
    seed: int = 0
    """Deals users (user_disjoint) or windows (random_windows) to splits; the other protocols do not
    use it."""
    window_inputs: int = 10
    """With random_windows, events before the targets of a window at least: the input_length of the
    fixed windows that are to be the same."""
    window_stride: int = 10
    """With random_windows, events between the targets of consecutive windows of a user, from the
    first to the first; not fewer than target_length."""
    num_shards: int = 8
    """Files of the training split; the other splits get files of about the same size."""
    memory_limit: str | None = None
    """Memory limit of DuckDB, such as 2GB, beyond which it works on disk (TMPDIR); the process
    takes up to 750 MB more. Null is DuckDB's default, 80 % of the machine's memory."""
    threads: int | None = None
    """Threads of DuckDB; null is one per core. The result does not depend on it."""

    def __post_init__(self) -> None:
        """Refuse settings that no data could satisfy.

        Raises:
            ConfigError: names the setting, what was given and what is allowed.
        """
        counts = ("max_length", "target_length", "min_user_events", "min_item_events", "num_shards")
        optional = ("threads", "top_items", "horizon", "window_inputs", "window_stride")
        window_settings.check(self, (*counts, *optional), get_args(HistoryProtocol))
        if self.title_words < 0:
            raise ConfigError(f"title_words is {self.title_words}: give 0 or more")
        if not 0 <= self.overlap < self.max_length:
            raise ConfigError(
                f"overlap is {self.overlap}: give 0 or more and less than max_length "
                f"({self.max_length})"
            )
        self._check_targets()

    def _check_targets(self) -> None:
        if self.target_length is None and self.protocol != "global_time":
            raise ConfigError(
                f"target_length is null and protocol {self.protocol} holds out a number of events: "
                "give that number, or protocol global_time for all events after a date"
            )
        if self.protocol == "leave_one_out" and self.target_length != 1:
            raise ConfigError(
                f"target_length is {self.target_length} and protocol leave_one_out has one target: "
                "give protocol leave_last for more"
            )
        if self.horizon is not None and self.protocol != "global_time":
            raise ConfigError(
                f"horizon is {self.horizon} and protocol {self.protocol} has no point in time to "
                "count from: give protocol global_time, or no horizon"
            )
        if self.protocol == "random_windows" and self.window_stride < (self.target_length or 0):
            raise ConfigError(
                f"window_stride is {self.window_stride} and target_length {self.target_length}, so "
                "that an event would be a target of training and of test: give a window_stride of "
                "at least target_length"
            )

    @property
    def input_length(self) -> int:
        """The longest input."""
        return self.max_length


class NextItemsHistories(TaskWindows[HistoryConfig]):
    """Histories of any length, whose targets are the events that follow."""

    task = "next_items"
    settings = HistoryConfig
    keeps_to_users = True
    protocols = get_args(HistoryProtocol)
    by_time = ("global_time",)
    catalogue_from_all = ("random_windows",)
    leakage = next_item_audit.HISTORY_LEAKAGE
    samples: ClassVar[SampleKind] = "histories"
    columns: ClassVar[tuple[Column, ...]] = HISTORY_ROW_COLUMNS
    rows_of_split: ClassVar[str] = f"{FOLDER}/split"
    rows_with_features: ClassVar[str] = f"{event_features.FOLDER}/split"
    description = (
        "Cut events into histories of any length and the events that follow: Parquet shards, item "
        "and user tables, a manifest and a leakage audit. The defaults drop nobody and hold out "
        "each user's last event."
    )

    def described(self, database: Database, staged: Staged, config: HistoryConfig) -> Staged:
        """With the words of titles, if they are asked for.

        Raises:
            DataError: there are none.
        """
        if not config.title_words:
            return staged
        return staging.add_title_words(database, staged, config.title_words)

    def may_repeat(self, config: HistoryConfig) -> bool:
        """Rows that agree in everything are repeats like others."""
        return config.repeats != "refuse"

    def cut(self, database: Database, config: HistoryConfig) -> Steps:
        """From `events` to `sequences` and `targets`.

        Raises:
            DataError: nothing is left after a filter, or an item repeats that may not.
        """
        steps = [("read", repeats.sizes(database)), *repeats.settle(database, config.repeats)]
        steps += _filtered(database, config)
        _count(database, config)
        # Windows are of users with enough events of kept items, like fixed ones.
        least = config.min_user_events if config.protocol == "random_windows" else 1
        framing.keep(database, least)
        steps += _of_the_catalogue(database, config)
        database.drop("events")
        _place(database, config)
        return _described(steps, config)

    def frame(self, database: Database, config: HistoryConfig) -> None:
        """The events of each row, and its targets."""
        database.fill("windows", framing.READS, framing.histories)
        if config.protocol == "random_windows":
            database.table("windows", f"{FOLDER}/learned/windows")

    def event_features(self, database: Database, staged: Staged) -> tuple[EventFeature, ...]:
        """See event_features.py."""
        return event_features.learned(database, staged.event_features)

    def target_length(self, database: Database, config: HistoryConfig) -> int:
        """As many as any row has, where the settings leave it open."""
        if config.target_length is not None:
            return config.target_length
        return int(database.rows(f"{FOLDER}/most_targets")[0]["num_targets"])

    def audit(self, database: Database, config: HistoryConfig) -> dict[str, Any]:
        """See audit.py."""
        lengths = {
            "max_length": config.max_length, "target_length": self.target_length(database, config)
        }  # fmt: skip
        return next_item_audit.audit_histories(database, config.protocol, lengths)

    def no_training(
        self,
        database: Database,
        config: HistoryConfig,
        sizes: Mapping[str, int],  # noqa: ARG002
    ) -> str:
        """Nobody has two events for training."""
        longest = database.rows("next_items/longest_history")[0]["num_events"]
        if config.protocol == "random_windows":
            return (
                f"there is no training window: one needs {_window_length(config)} events in a row "
                "(window_inputs + target_length), and the longest history has "
                f"{longest}: shorten the windows or hold out less"
            )
        return (
            "there is no training history: one needs two events of a user before what protocol "
            f"{config.protocol} holds out, and the longest history has {longest}: hold out less, "
            "or give more data"
        )

    def coverage(self, database: Database, config: HistoryConfig) -> tuple[Coverage, ...]:
        """Where the last events are held out every split should have every kept user."""
        is_for_all = config.protocol in _HELD_OUT_BY_PLACE
        rows = database.rows(f"{FOLDER}/coverage", is_for_all=is_for_all)
        return tuple(Coverage(**row) for row in rows)

    def coverage_remedy(self, manifest: Manifest) -> str:
        """More events of each user, or fewer held out."""
        if manifest.protocol == "global_time":
            return (
                "one is judged whose events lie on both sides of a cut, and within the horizon: "
                "new users cannot be judged from their history"
            )
        if manifest.protocol == "random_windows":
            return (
                "one needs window_inputs + target_length events in a row: lower them, or raise "
                "--min_user_events to leave out short histories"
            )
        needed = 2 * manifest.target_length + 1
        fewer = "lower --target_length, or " if manifest.target_length > 1 else ""
        return (
            f"one needs {needed} events to be judged and two to be learned from: {fewer}"
            "raise --min_user_events to leave out short histories"
        )

    def expects(self, manifest: Manifest, split: str) -> bool:
        """Last events are always held out for both splits."""
        return manifest.protocol in _HELD_OUT_BY_PLACE or super().expects(manifest, split)


histories = NextItemsHistories().write
"""Cut events into histories of items; see `TaskWindows.write`."""


def _filtered(database: Database, config: HistoryConfig) -> list[repeats.Sized]:
    """Drop infrequent items and users from `events`, once or until all have enough events."""
    least = {n: getattr(config, n) for n in ("min_item_events", "min_user_events")}
    if config.protocol == "random_windows":
        least["min_user_events"] = 1  # users are chosen after the catalogue
    if max(least.values()) == 1:
        return []
    before: Mapping[str, int] = {}
    sizes, rounds = repeats.sizes(database), 0
    while sizes != before and sizes["num_ratings"] and not (rounds and config.core == "single"):
        rounds, before = rounds + 1, sizes
        database.table(
            "frequent_items",
            f"{FOLDER}/frequent_items",
            min_item_events=least["min_item_events"],
        )
        database.table("events", f"{FOLDER}/filtered", min_user_events=least["min_user_events"])
        sizes = repeats.sizes(database)
    name = " and then ".join(
        f"of {kind}s with at least {least[f'min_{kind}_events']} events"
        for kind in ("item", "user")
        if least[f"min_{kind}_events"] > 1
    )
    if config.core == "iterative":
        name += f", until nothing changed (rounds: {rounds})"
    return [(name, sizes)]


def _count(database: Database, config: HistoryConfig) -> None:
    """Fill `counted` and `catalogue`, and `cuts` where time decides."""
    protocol = config.protocol
    fractions = window_settings.fractions(config)
    length = config.target_length
    if protocol == "global_time":
        database.table("moments", "shared/moments")
        database.table("cuts", "shared/cuts", **fractions)
        database.table("counted", "next_items/counted/global_time")
    elif protocol == "user_disjoint":
        database.table(
            "counted", f"{FOLDER}/counted/user_disjoint",
            seed=config.seed, target_length=length, **fractions,
        )  # fmt: skip
    else:
        database.table("counted", "next_items/counted/random_windows")
    framing.rank(database, FOLDER, config.top_items)
    if protocol not in _HELD_OUT_BY_PLACE:
        return
    before = -1
    while (counted := database.rows("next_items/num_counted")[0]["num_counted"]) != before:
        before = counted
        database.table("counted", f"{FOLDER}/counted/leave_last", target_length=length)
        framing.rank(database, FOLDER, config.top_items)


def _place(database: Database, config: HistoryConfig) -> None:
    """Fill `ranges`, `judged` and `targets`."""
    length = {"target_length": config.target_length}
    if config.protocol in _HELD_OUT_BY_PLACE:
        database.table("ranges", f"{FOLDER}/ranges/leave_last", **length)
        database.table("judged", f"{FOLDER}/judged/leave_last")
    elif config.protocol == "global_time":
        database.table("ranges", "next_items/ranges/global_time")
        database.table("judged", f"{FOLDER}/judged/global_time", horizon=config.horizon, **length)
    elif config.protocol == "random_windows":
        _deal_windows(database, config)
    else:
        database.table("ranges", "next_items/ranges/user_disjoint")
        database.table("judged", f"{FOLDER}/judged/user_disjoint", **length)
    context = max(1, config.overlap)
    database.table(
        "targets", f"{FOLDER}/targets",
        context=context, step=config.max_length + 1 - context, max_length=config.max_length,
    )  # fmt: skip
    if config.protocol == "random_windows":
        database.table("targets", f"{FOLDER}/learned/targets")


def _deal_windows(database: Database, config: HistoryConfig) -> None:
    """Fill `ranges`, `judged` and `learned_places` from the fixed windows of the same settings."""
    database.table("ranges", "next_items/ranges/random_windows")
    length = {"target_length": config.target_length}
    database.table(
        "fixed_windows", "next_items/targets",
        input_length=config.window_inputs, stride=config.window_stride, short_histories=False,
        seed=config.seed, **length, **window_settings.fractions(config),
    )  # fmt: skip
    database.table("ranges", f"{FOLDER}/ranges/random_windows", **length)
    database.table("judged", f"{FOLDER}/judged/random_windows", **length)
    database.table("learned_places", f"{FOLDER}/learned/places", **length)


def _window_length(config: HistoryConfig) -> int:
    assert config.target_length is not None, "only global_time leaves it open"
    return config.window_inputs + config.target_length


def _of_the_catalogue(database: Database, config: HistoryConfig) -> list[repeats.Sized]:
    """What was left out with the catalogue, and the users that were chosen after it."""
    if config.protocol == "random_windows":
        top = "all items" if config.top_items is None else f"the top {config.top_items:,} items"
        names = f"of {top}", f"of users with at least {config.min_user_events} of those"
        return list(zip(names, database.rows("next_items/steps"), strict=True))
    if config.top_items is None:
        return []
    name = f"of the top {config.top_items:,} items of training"
    return [(name, database.rows(f"{FOLDER}/sequence_sizes")[0])]


def _described(steps: list[repeats.Sized], config: HistoryConfig) -> Steps:
    """The steps as the manifest has them, with the share of what was read that each one left.

    Raises:
        DataError: one of them left nothing.
    """
    for (_, before), (name, after) in itertools.pairwise(steps):
        if after["num_ratings"] == 0:
            raise DataError(
                f"nothing is left of {before['num_ratings']:,} events by {before['num_users']:,} "
                f"users after keeping those {name} (protocol {config.protocol}): lower "
                "--min_user_events or --min_item_events, raise --top_items, or give more data"
            )
    read = steps[0][1]
    return tuple(
        step
        | {
            f"{what}_share": sizes[f"num_{what}"] / read[f"num_{what}"]
            for what in ("ratings", "users", "items")
        }
        for step, (_, sizes) in zip(
            window_settings.steps([n for n, _ in steps], [s for _, s in steps]), steps, strict=True
        )
    )
