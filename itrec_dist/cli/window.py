"""`itrec window`: ratings to windows."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from itrec_dist import config
from itrec_dist.data import schema
from itrec_dist.data.manifest import ANY_SPLIT, Manifest
from itrec_dist.data.windowing.leakage import Leakage

MUCH = 0.1
"""Share of a split's users without a window from which on a warning is printed."""


def parser() -> config.Parser:
    """Source, input, place of the output, and every field of WindowConfig."""
    from itrec_dist.tasks.next_items.windows import WindowConfig

    return parser_of(
        WindowConfig,
        "itrec window",
        "Cut ratings into windows of inputs and targets: Parquet shards, item and user tables, "
        "a manifest and a leakage audit. The defaults are the paper's settings.",
    )


def parser_of(settings: type, command: str, told: str) -> config.Parser:
    """Options of a command that makes shards: the same ones, and every field of its settings."""
    from itrec_dist.data.sources.movielens import FORMATS
    from itrec_dist.data.sources.table import TableConfig

    parser = config.Parser(command, told)
    parser.add_config_file()
    parser.add_argument("--source", type=str, required=True, help=f"{', '.join(FORMATS)} or table")
    parser.add_argument("--input", type=Path, required=True, help="folder or file of ratings")
    parser.add_argument("--out", type=Path, required=True, help="shards folder to write")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace --out if it holds earlier shards"
    )
    parser.add_class_arguments(settings)
    parser.add_class_arguments(TableConfig)
    return parser


def run(parsed: Any) -> int:
    """Window, then print what was kept, what was written and what the split lets through."""
    from itrec_dist.tasks.next_items import audit as next_item_audit
    from itrec_dist.tasks.next_items import windows as next_item_windows

    return make(
        parsed, next_item_windows.WindowConfig, next_item_windows.window, next_item_audit.LEAKAGE
    )


def make(parsed: Any, kind: type, cut: Callable[..., Manifest], leakage: Leakage) -> int:
    """Make shards by `cut` with settings of a kind, and print what became of the ratings."""
    from itrec_dist.data.sources import table as sources_table

    started = time.perf_counter()
    settings: Any = config.pick(kind, parsed)
    table = config.pick(sources_table.TableConfig, parsed)
    print(f"windowing {parsed.input} ({parsed.source}, {settings.protocol})", flush=True)
    manifest = cut(
        parsed.source, parsed.input, parsed.out, settings, table, overwrite=parsed.overwrite
    )
    tables = (steps, coverage, splits, leakage.lines)
    lines = [line for table in tables for line in (*table(manifest), "")]
    print("\n".join([*lines, *warnings(manifest)]))
    print(f"wrote {parsed.out} in {time.perf_counter() - started:.1f} s")
    return 0


def steps(manifest: Manifest) -> list[str]:
    """What each filter left, in lines."""
    rows = [f"{'ratings':>14}{'users':>11}{'items':>10}"]
    for step in manifest.steps:
        counts = f"{step['ratings']:>14,}{step['users']:>11,}{step['items']:>10,}"
        rows.append(f"{counts}  {step['name']}")
    return rows


def coverage(manifest: Manifest) -> list[str]:
    """How many users and events have no window, in lines."""
    rows = [f"{'users':>14}{'no window':>11}{'events':>14}{'no window':>14}"]
    for row in manifest.coverage:
        users = f"{row.num_users:>14,}{row.num_users_without:>11,}"
        events = f"{row.num_events:>14,}{row.num_events_without:>14,}"
        name = "all splits" if row.split == ANY_SPLIT else row.split
        rows.append(f"{users}{events}  {name}")
    return rows


def splits(manifest: Manifest) -> list[str]:
    """Windows, files and size of every split, in lines."""
    rows = [f"{'windows':>14}{'shards':>11}{'MB':>10}"]
    for split in manifest.splits:
        files = manifest.splits[split]
        size = sum(file.bytes for file in files) / 1e6
        counts = f"{manifest.num_windows(split):>14,}{len(files):>11,}{size:>10.1f}"
        rows.append(f"{counts}  {split}")
    rows.append(f"{sum(map(manifest.num_windows, manifest.splits)):>14,}{'':>21}  in all")
    return rows


def warnings(manifest: Manifest) -> list[str]:
    """What a person should know before training on these windows, in lines."""
    texts = []
    for split in (schema.VALIDATION, schema.TEST):
        wanted = manifest.settings[f"{split}_fraction"] or manifest.protocol == "leave_last"
        if wanted and split not in manifest.splits:
            texts.append(
                f"warning: the {split} split has no windows: the histories are too short, or the "
                f"share is too small"
            )
    texts += _too_few_covered(manifest)
    return texts + _undescribed(manifest)


def _undescribed(manifest: Manifest) -> list[str]:
    """Warnings of items and users that their tables do not describe."""
    texts = []
    unlike = ": none matches, so look whether ids are written alike in both, such as 7 and 007"
    has_titles = manifest.source.get("columns", {}).get("title") is not None
    items = manifest.source["undescribed_items"]
    if (manifest.item_features or has_titles) and items:
        texts.append(
            f"warning: {items:,} of {manifest.num_items:,} items stand in no item table: they are "
            "kept with unknown features and their id for a title"
            + unlike
            * (items == manifest.num_items)
        )
    users = manifest.source["undescribed_users"]
    if manifest.user_features and users:
        texts.append(
            f"warning: {users:,} of {manifest.num_users:,} users have no value of "
            f"{', '.join(f.name for f in manifest.user_features)}: they are kept with unknown "
            "features" + unlike * (users == manifest.num_users)
        )
    return texts


def _too_few_covered(manifest: Manifest) -> list[str]:
    """One warning that names every split in which many users have no window."""
    few = [row for row in manifest.coverage if row.num_users_without > MUCH * row.num_users]
    if not few:
        return []
    names = {ANY_SPLIT: "window at all", schema.TRAIN: "training window"}
    counts = [
        f"{row.num_users_without:,} of {row.num_users:,}{' users have' if row is few[0] else ''} "
        f"no {names.get(row.split, row.split + ' window')}"
        for row in few
    ]
    if manifest.protocol in schema.RATING_PROTOCOLS:
        remedy = "raise the share that is held out, or give only users with more ratings"
    else:
        needed = manifest.input_length + manifest.target_length
        lengths = ["--input_length", "--target_length"][: min(manifest.target_length, 2)]
        remedy = (
            f"one needs {needed} events in a row (input_length + target_length): lower "
            f"{' or '.join(lengths)}, or raise --min_user_events to leave out short histories"
        )
    return [f"warning: {', '.join(counts)}: {remedy}"]
