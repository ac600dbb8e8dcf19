"""What windowing did, in lines: filters, coverage, splits, leakage, and what to be warned of."""

from collections.abc import Mapping
from typing import Any

from itrec_dist import tasks
from itrec_dist.data import schema
from itrec_dist.data.manifest import ANY_SPLIT, Manifest

_SAMPLE = {"windows": "window", "histories": "history"}
"""One of each kind of samples, in words."""

MUCH = 0.1
"""A warning is given if more than this share of a split's users have no window."""


def lines(manifest: Manifest) -> list[str]:
    """All of it but the warnings, a table after the other."""
    windows = tasks.data_of(tasks.task_of(manifest)).of(manifest.samples)
    tables = (steps, coverage, splits, windows.leakage.lines)
    return [line for table in tables for line in (*table(manifest), "")]


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
    windows = tasks.data_of(tasks.task_of(manifest)).of(manifest.samples)
    texts = [*manifest.source.get("warnings", ())]
    for split in (schema.VALIDATION, schema.TEST):
        if windows.expects(manifest, split) and split not in manifest.splits:
            texts.append(
                f"the {split} split has no {manifest.samples}: the histories are too "
                "short, or the share is too small"
            )
    if few := _few_covered(manifest):
        texts.append(f"{few}: {windows.coverage_remedy(manifest)}")
    return texts + _undescribed(manifest)


def _undescribed(manifest: Manifest) -> list[str]:
    """Warnings about items and users that are missing from their tables."""
    texts = []
    unlike = ": none matches, so check that ids are written alike in both (7 is not 007)"
    has_titles = manifest.source.get("columns", {}).get("title") is not None
    items = manifest.source.get("undescribed_items", 0)
    if (manifest.item_features or has_titles) and items:
        texts.append(
            f"{items:,} of {manifest.num_items:,} items are in no item table: they are "
            "kept, with unknown features and their id as the title"
            + (unlike if items == manifest.num_items else "")
        )
    users = manifest.source.get("undescribed_users", 0)
    if manifest.user_features and users:
        texts.append(
            f"{users:,} of {manifest.num_users:,} users have no value of "
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
