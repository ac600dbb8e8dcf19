"""`itrec window`: cuts events into the windows of a task.

The options are the same for every task and source, plus the settings of the task's windows and of
the source.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from itrec_dist import config
from itrec_dist.data import schema, sources
from itrec_dist.data.manifest import ANY_SPLIT, Manifest
from itrec_dist.storage.uri import Uri, shown

_SAMPLE = {"windows": "window", "histories": "history"}
"""One of each kind of samples, in words."""

MUCH = 0.1
"""A warning is printed if more than this share of a split's users have no window."""


class _WindowParser(config.Parser):
    """A parser for one task and source; switches to others if the arguments name them."""

    def __init__(self, task: str, source: str, samples: str, description: str) -> None:
        super().__init__("itrec window", description)
        self._chosen = (task, source, samples)

    def parse(self, arguments: Sequence[str]) -> Any:
        """Parse with the settings of the task, source and samples that the arguments name.

        A first argument without dashes names a task too: `itrec window ratings`.

        Raises:
            ConfigError: see `config.Parser.parse`; or there is no such task or source.
        """
        if arguments and not arguments[0].startswith("-"):
            arguments = [f"--task={arguments[0]}", *arguments[1:]]
        names = ("task", "source", "samples")
        named = tuple(_last(arguments, n) or c for n, c in zip(names, self._chosen, strict=True))
        if named != self._chosen:
            return parser(*named).parse(arguments)
        return super().parse(arguments)


def parser(
    task: str | None = None, source: str = sources.WITH_SETTINGS, samples: str = "windows"
) -> config.Parser:
    """The command's options, with the settings of the task's samples and of the source.

    Raises:
        ConfigError: the task has no such samples.
    """
    from itrec_dist import tasks

    task = task or tasks.DEFAULT
    windows = tasks.data_of(task).of(samples)
    made = _WindowParser(task, source, samples, windows.description)
    made.add_config_file()
    made.add_argument(
        "--task",
        type=str,
        default=task,
        help=f"Task to window for: {', '.join(tasks.WITH_WINDOWS)}, a task of an installed "
        "package, or module:Class; it decides which other options there are",
    )
    made.add_argument(
        "--samples",
        type=str,
        default=samples,
        help="Kind of samples: windows of fixed length, or (next_items only) histories of any "
        "length; it decides which other options there are",
    )
    made.add_argument(
        "--source",
        type=str,
        required=True,
        help=f"Format of --input: {', '.join(sources.SOURCES)}, or one of your own as module:Class",
    )
    made.add_argument(
        "--input",
        type=Uri | Path,
        nargs="+",
        required=True,
        help="Folder or file of events; with --source table also several, a database, or URIs of "
        "s3, gs, abfs, hdfs, https",
    )
    made.add_argument("--out", type=Path, required=True, help="Shards folder to write")
    made.add_argument(
        "--overwrite", action="store_true", help="Replace --out if it holds earlier shards"
    )
    made.add_class_arguments(windows.settings)
    made.add_class_arguments(sources.settings_of(source))
    return made


def _last(arguments: Sequence[str], setting: str) -> str | None:
    """The last value that an option or a recipe gives; unreadable recipes are reported later."""
    last = None
    for argument, after in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        flag, equals, value = argument.partition("=")
        value = value if equals else after
        if flag == f"--{setting}":
            last = value
        elif flag == "--config":
            try:
                content = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError):
                continue
            if isinstance(content, dict) and isinstance(content.get(setting), str):
                last = content[setting]
    return last


def run(parsed: Any) -> int:
    """Window, then print filters, coverage, splits and leakage."""
    from itrec_dist import tasks

    started = time.perf_counter()
    windows = tasks.data_of(parsed.task).of(parsed.samples)
    settings: Any = config.pick(windows.settings, parsed)
    of_source = config.pick(sources.settings_of(parsed.source), parsed)
    given = ", ".join(shown(str(place)) for place in parsed.input)
    print(f"windowing {given} ({parsed.source}, {settings.protocol})", flush=True)
    manifest = windows.write(
        parsed.source, parsed.input, parsed.out, settings, of_source, overwrite=parsed.overwrite
    )
    tables = (steps, coverage, splits, windows.leakage.lines)
    lines = [line for table in tables for line in (*table(manifest), "")]
    print("\n".join([*lines, *warnings(manifest)]))
    print(f"wrote {parsed.out} in {time.perf_counter() - started:.1f} s")
    return 0


def steps(manifest: Manifest) -> list[str]:
    """What is left after each filter, in lines."""
    what = _events(manifest)
    rows = [f"{what:>14}{'users':>11}{'items':>10}"]
    for before, step in zip((None, *manifest.steps), manifest.steps, strict=False):
        counts = f"{step['ratings']:>14,}{step['users']:>11,}{step['items']:>10,}"
        rows.append(f"{counts}  {step['name']}{_dropped(before, step, what)}")
    return rows


def _events(manifest: Manifest) -> str:
    """What the rows of the source are called."""
    return "ratings" if manifest.has_ratings else "events"


def _dropped(before: Mapping[str, Any] | None, after: Mapping[str, Any], events: str) -> str:
    """The shares of events and users that a filter dropped, in words."""
    if before is None:
        return ""
    shares = [
        f"{1 - after[what] / before[what]:.1%} of the {name}"
        for what, name in (("ratings", events), ("users", "users"))
        if after[what] < before[what]
    ]
    return f", dropping {' and '.join(shares)}" if shares else ""


def coverage(manifest: Manifest) -> list[str]:
    """How many users and events have no window, in lines."""
    none = f"no {_SAMPLE[manifest.samples]}"
    rows = [f"{'users':>14}{none:>11}{'events':>14}{none:>14}"]
    for row in manifest.coverage:
        users = f"{row.num_users:>14,}{row.num_users_without:>11,}"
        events = f"{row.num_events:>14,}{row.num_events_without:>14,}"
        name = "all splits" if row.split == ANY_SPLIT else row.split
        rows.append(f"{users}{events}  {name}")
    return rows


def splits(manifest: Manifest) -> list[str]:
    """Samples, files and size of each split, in lines."""
    rows = [f"{manifest.samples:>14}{'shards':>11}{'MB':>10}"]
    for split in manifest.splits:
        files = manifest.splits[split]
        size = sum(file.bytes for file in files) / 1e6
        counts = f"{manifest.num_windows(split):>14,}{len(files):>11,}{size:>10.1f}"
        rows.append(f"{counts}  {split}")
    rows.append(f"{sum(map(manifest.num_windows, manifest.splits)):>14,}{'':>21}  in all")
    return rows


def warnings(manifest: Manifest) -> list[str]:
    """What a user should know before training on these windows, in lines."""
    from itrec_dist import tasks

    windows = tasks.data_of(tasks.task_of(manifest)).of(manifest.samples)
    texts = [f"warning: {doubt}" for doubt in manifest.source.get("warnings", ())]
    for split in (schema.VALIDATION, schema.TEST):
        if windows.expects(manifest, split) and split not in manifest.splits:
            texts.append(
                f"warning: the {split} split has no {manifest.samples}: the histories are too "
                "short, or the share is too small"
            )
    if few := _few_covered(manifest):
        texts.append(f"warning: {few}: {windows.coverage_remedy(manifest)}")
    return texts + _undescribed(manifest)


def _undescribed(manifest: Manifest) -> list[str]:
    """Warnings about items and users that are missing from their tables."""
    texts = []
    unlike = ": none matches, so check that ids are written alike in both (7 is not 007)"
    has_titles = manifest.source.get("columns", {}).get("title") is not None
    items = manifest.source["undescribed_items"]
    if (manifest.item_features or has_titles) and items:
        texts.append(
            f"warning: {items:,} of {manifest.num_items:,} items are in no item table: they are "
            "kept, with unknown features and their id as the title"
            + (unlike if items == manifest.num_items else "")
        )
    users = manifest.source["undescribed_users"]
    if manifest.user_features and users:
        texts.append(
            f"warning: {users:,} of {manifest.num_users:,} users have no value of "
            f"{', '.join(f.name for f in manifest.user_features)}: they are kept with unknown "
            "features" + (unlike if users == manifest.num_users else "")
        )
    return texts


def _few_covered(manifest: Manifest) -> str:
    """The splits in which many users have no window, in words; empty if there is none."""
    few = [row for row in manifest.coverage if row.num_users_without > MUCH * row.num_users]
    sample = _SAMPLE[manifest.samples]
    names = {ANY_SPLIT: f"{sample} at all", schema.TRAIN: f"training {sample}"}
    counts = [
        f"{row.num_users_without:,} of {row.num_users:,}{' users have' if row is few[0] else ''} "
        f"no {names.get(row.split, f'{row.split} {sample}')}"
        for row in few
    ]
    return ", ".join(counts)
