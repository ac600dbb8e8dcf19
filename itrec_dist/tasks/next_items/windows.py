"""Windows of items: consecutive events as inputs, and the events that follow as targets.

Owns the settings and runs the files of `sql/next_items/`; see `TaskWindows` for the steps.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from itrec_dist.data.database import Database
from itrec_dist.data.manifest import Coverage, Manifest
from itrec_dist.data.windowing import settings as window_settings
from itrec_dist.data.windowing.task_windows import Steps, TaskWindows
from itrec_dist.errors import DataError
from itrec_dist.tasks.next_items import audit as next_item_audit
from itrec_dist.tasks.next_items import framing, repeats
from itrec_dist.tasks.next_items.repeats import Repeats

Protocol = Literal["random_windows", "user_disjoint", "leave_last", "global_time"]


@dataclass(frozen=True)
class WindowConfig:
    """Windows: filters, lengths and splits; the defaults are those of the ITE paper."""

    top_items: int | None = 1000
    """Number of most frequent items to keep; null keeps all."""
    min_user_events: int = 15
    """Keep users with at least this many events of kept items."""
    input_length: int = 10
    """Number of consecutive events that a model gets as inputs, L."""
    target_length: int = 5
    """Number of following events to be predicted, K."""
    repeats: Repeats | None = None
    """Several events of one user with one item: keep them all, the first or the last, or refuse
    the data; null keeps them unless they are at the same time, which it refuses."""
    stride: int = 10
    """Events between the starts of consecutive windows of the same user and split."""
    short_histories: bool = False
    """Also cut windows with fewer inputs, padded on the left: in training of the beginnings of all
    histories, so that a model learns what it is asked for new users, and in the other splits for
    users with less history. False cuts full windows alone, as the paper does."""
    protocol: Protocol = "random_windows"
    """How to split: windows at random (the paper), by user, each user's last events, or by date."""
    validation_fraction: float = 0.1
    """Share for validation: of windows, of users (user_disjoint) or of events (global_time); not
    used by leave_last."""
    test_fraction: float = 0.0
    """Share for test, as above; the rest is for training. Not used by leave_last."""
    seed: int = 0
    """Seed of the random split; not used by leave_last and global_time."""
    num_shards: int = 8
    """Number of files of the training split; the other splits get files of about the same size."""
    memory_limit: str | None = None
    """Memory limit of DuckDB, such as 2GB, beyond which it works on disk (TMPDIR); the process
    takes up to 750 MB more. Null is DuckDB's default, 80 % of the machine's memory."""
    threads: int | None = None
    """Threads of DuckDB; null is one per core. The result does not depend on them."""

    def __post_init__(self) -> None:
        """Refuse settings that no data could satisfy.

        Raises:
            ConfigError: the message names the setting, what was given and what is allowed.
        """
        counts = ("input_length", "target_length", "stride", "min_user_events", "num_shards")
        window_settings.check(self, (*counts, "threads", "top_items"), get_args(Protocol))

    @property
    def widths(self) -> dict[str, int]:
        """Input and target lengths as SQL parameters."""
        return {"input_length": self.input_length, "target_length": self.target_length}


class NextItemsWindows(TaskWindows[WindowConfig]):
    """Windows of consecutive events, whose targets are the events that follow the inputs."""

    task = "next_items"
    settings = WindowConfig
    keeps_to_users = True
    protocols = get_args(Protocol)
    by_time = ("global_time",)
    leakage = next_item_audit.LEAKAGE
    catalogue_from_all = ("random_windows",)
    description = (
        "Cut events into windows of inputs and targets: Parquet shards, item and user tables, "
        "a manifest and a leakage audit. The defaults are the paper's settings."
    )

    def may_repeat(self, config: WindowConfig) -> bool:
        """Rows that agree in everything are repeats like others, where repeats were thought of."""
        return config.repeats not in (None, "refuse")

    def cut(self, database: Database, config: WindowConfig) -> Steps:
        """Fill the tables from `events` to `sequences` and `targets`.

        Raises:
            DataError: nothing is left after a filter, or an item repeats that may not.
        """
        protocol = config.protocol
        read = repeats.sizes(database)
        sized = repeats.settle(database, config.repeats)
        _count(database, config)
        framing.keep(database, config.min_user_events)
        steps = _steps(database, config, [("read", read), *sized])
        database.drop("events")
        if protocol == "leave_last":
            database.table(
                "ranges", "next_items/ranges/leave_last", target_length=config.target_length
            )
        else:
            database.table("ranges", f"next_items/ranges/{protocol}")
        database.table(
            "targets",
            "next_items/targets",
            **config.widths,
            stride=config.stride,
            short_histories=config.short_histories,
            seed=config.seed,
            **window_settings.fractions(config),
        )
        return steps

    def frame(self, database: Database, config: WindowConfig) -> None:
        """The inputs before each target, and the targets."""
        fill = partial(
            framing.windows, input_length=config.input_length, target_length=config.target_length
        )
        database.fill("windows", framing.READS, fill)

    def audit(self, database: Database, config: WindowConfig) -> dict[str, Any]:
        """See audit.py."""
        return next_item_audit.audit(database, config.protocol, config.widths)

    def no_training(
        self,
        database: Database,
        config: WindowConfig,
        sizes: Mapping[str, int],  # noqa: ARG002
    ) -> str:
        """Compare the length of a window with the longest history."""
        longest = database.rows("next_items/longest_history")[0]["num_events"]
        inputs = "1 input" if config.short_histories else f"input_length {config.input_length}"
        needed = config.target_length + (1 if config.short_histories else config.input_length)
        return (
            f"there is no training window: one needs {needed} events in a row ({inputs} + "
            f"target_length {config.target_length}) before what protocol {config.protocol} holds "
            f"out, and the longest history has {longest}: shorten the windows or hold out less"
        )

    def coverage(self, database: Database, config: WindowConfig) -> tuple[Coverage, ...]:
        """With leave_last, every split should include every kept user."""
        rows = database.rows(
            "next_items/coverage", **config.widths, is_for_all=config.protocol == "leave_last"
        )
        return tuple(Coverage(**row) for row in rows)

    def coverage_remedy(self, manifest: Manifest) -> str:
        """Shorter windows, or users with longer histories."""
        if manifest.settings.get("short_histories"):
            return (
                f"one needs {1 + manifest.target_length} events in a row (an input + "
                "target_length): lower --target_length, or raise --min_user_events to leave out "
                "short histories"
            )
        needed = manifest.input_length + manifest.target_length
        lengths = ["--input_length", "--target_length"][: min(manifest.target_length, 2)]
        return (
            f"one needs {needed} events in a row (input_length + target_length): lower "
            f"{' or '.join(lengths)}, cut padded windows too with --short_histories true, or raise "
            "--min_user_events to leave out short histories"
        )

    def expects(self, manifest: Manifest, split: str) -> bool:
        """leave_last always holds out validation and test."""
        return manifest.protocol == "leave_last" or super().expects(manifest, split)


window = NextItemsWindows().write
"""Cut events into windows of items; see `TaskWindows.write`."""


def _count(database: Database, config: WindowConfig) -> None:
    """Fill `counted` and `catalogue`."""
    protocol = config.protocol
    if protocol == "global_time":
        database.table("moments", "shared/moments")
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
    framing.rank(database, "next_items", config.top_items)
    if protocol == "leave_last":
        _count_without_held_out(database, config)


def _count_without_held_out(database: Database, config: WindowConfig) -> None:
    """Repeat until the catalogue counts no held-out event.

    Each round counts fewer events or the same, so this ends; MovieLens 1M takes two rounds.
    """
    counted = -1
    while True:
        database.table(
            "counted", "next_items/counted/leave_last", target_length=config.target_length
        )
        before, counted = counted, database.rows("next_items/num_counted")[0]["num_counted"]
        if counted == before:
            return
        framing.rank(database, "next_items", config.top_items)


def _steps(database: Database, config: WindowConfig, earlier: list[repeats.Sized]) -> Steps:
    """All steps: the given ones, of which the last left `events`, and the filters after them."""
    top = "all items" if config.top_items is None else f"the top {config.top_items:,} items"
    names = [
        *(name for name, _ in earlier),
        f"of {top}",
        f"of users with at least {config.min_user_events} of those",
    ]
    counts = [counted for _, counted in earlier] + database.rows("next_items/steps")
    steps = window_settings.steps(names, counts)
    for before, after in itertools.pairwise(steps):
        if after["ratings"] == 0:
            raise DataError(
                f"nothing is left of {before['ratings']:,} events by {before['users']:,} users "
                f"after keeping those {after['name']} (protocol {config.protocol}): lower "
                "--min_user_events, raise --top_items, or give more data"
            )
    return steps
