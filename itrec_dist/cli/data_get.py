"""`itrec data get`: download a public data set from its publisher."""

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from itrec_dist.config import Parser
from itrec_dist.data.sources import download

MIRROR_VARIABLE = "ITREC_MOVIELENS_URL"


def parser() -> Parser:
    """The options: which release and where to."""
    made = Parser(
        "itrec data get",
        "Download a MovieLens release from GroupLens, check it and unpack it into DIR/NAME. "
        f"The environment variable {MIRROR_VARIABLE} names a mirror to use instead of "
        f"{download.PUBLISHER_URL}.",
    )
    releases = "; ".join(f"{s.name} ({s.holds})" for s in download.RELEASES.values())
    made.add_argument("name", type=str, help=f"The release: {releases}.")
    made.add_argument(
        "--to", type=Path, required=True, metavar="DIR", help="Where the folder NAME is made."
    )
    made.add_argument(
        "--overwrite",
        action="store_true",
        help="Replace DIR/NAME if it holds an earlier copy.",
    )
    return made


def run(parsed: Any) -> int:
    """Download, then print the terms and the next command."""
    release = download.release(parsed.name)
    server = download.Server(url=os.environ.get(MIRROR_VARIABLE) or download.PUBLISHER_URL)
    with _progress(release.archive) as progress:
        place = download.fetch(
            release.name, parsed.to, overwrite=parsed.overwrite, server=server, progress=progress
        )
    checked = "the pinned MD5" if release.md5 else "the MD5 that the server publishes beside it"
    print(f"wrote {place} ({release.archive} matches {checked})")
    print(textwrap.fill(f"terms: {release.terms}. The README there is what counts.", 98))
    print(f"next: itrec window --source {release.format} --input {place} --out SHARDS")
    return 0


@contextmanager
def _progress(title: str) -> Iterator[download.Progress]:
    """A live bar on a terminal, otherwise a line per tenth, both on standard error."""
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
