"""`itrec data get`: download a public data set from its publisher."""

import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from itrec_dist.data.sources import download
from itrec_dist.options.data_get import parser

__all__ = ["parser", "run"]


def run(parsed: Any) -> int:
    """Download, then print the terms and the next command."""
    from itrec_dist.api.datasets import downloaded

    release = download.release(parsed.name)
    with _progress(release.archive) as progress:
        place = downloaded(parsed, progress)
    checked = "the pinned MD5" if release.md5 else "the MD5 that the server publishes beside it"
    print(f"wrote {place} ({release.archive} matches {checked})")
    print(textwrap.fill(f"terms: {release.terms}. The README in the folder is binding.", 98))
    print(f"next: itrec window --source {release.format} --input {place} --out SHARDS")
    return 0


@contextmanager
def _progress(title: str) -> Iterator[download.Progress]:
    """A live bar on a terminal, otherwise a line per 10 %, both on standard error."""
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda received, expected: bar.update(task, completed=received, total=expected)


def _lines(title: str) -> Callable[[int, int | None], None]:
    printed = -1

    def show(received: int, expected: int | None) -> None:
        nonlocal printed
        reached = received * 10 // expected if expected else received // 10_000_000
        if reached == printed:
            return
        printed = reached
        of_all = f" of {expected / 1e6:.1f}" if expected else ""
        print(f"{title}: {received / 1e6:.1f}{of_all} MB", file=sys.stderr, flush=True)

    return show
