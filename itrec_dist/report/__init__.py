"""Reports over run directories: one HTML page that opens offline, and tables as Markdown.

A report prints only what run directories hold. `runs.py` reads them, `arms.py` groups them,
`sections/`, `tables.py`, `curves.py`, `samples.py` and `provenance.py` say what they show,
`page.py` makes the page.
"""

from collections.abc import Sequence
from pathlib import Path

from itrec_dist.errors import OutputError
from itrec_dist.report import page
from itrec_dist.report.runs import find, read
from itrec_dist.storage import atomic
from itrec_dist.sweep import RECIPE

MARK = '<meta name="generator" content="itrec report"'


def write(
    runs: Sequence[Path],
    out: Path | None = None,
    title: str | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write one self-contained HTML page over run directories, or folders that hold some.

    Without `out` the page is report.html inside the single folder given, or in the nearest folder
    that holds all runs. A page that this function wrote earlier is replaced only with `overwrite`;
    any other file is never replaced.

    Returns:
        The page's path.

    Raises:
        CheckpointError: there is no run, or a damaged one.
        OutputError: the place is taken, or cannot be written.
    """
    found = [read(path) for path in find(runs)]
    place = page.default_place(runs, found) if out is None else out
    _refuse_taken(place, overwrite)
    _write(place, page.render(found, title or _title(place, runs)))
    return place


def write_sweep(
    sweep: Path, out: Path | None = None, title: str | None = None, *, overwrite: bool = False
) -> Path:
    """Write the page over a sweep directory, and its tables as Markdown and CSV beside it.

    Raises:
        CheckpointError: it is no sweep directory, or a damaged one.
        OutputError: the place is taken, or cannot be written.
    """
    from itrec_dist.report.sweep import (
        page as sweep_page,
    )
    from itrec_dist.report.sweep import (
        runs as sweep_runs,
    )
    from itrec_dist.report.sweep import (
        tables as sweep_tables,
    )

    found = sweep_runs.read(sweep)
    place = found.directory.report if out is None else out
    _refuse_taken(place, overwrite)
    _write(place, sweep_page.render(found, title or f"Sweep: {sweep.resolve().name}"))
    _write(found.directory.results_md, sweep_tables.as_markdown(found))
    _write(found.directory.results_csv, sweep_tables.as_csv(found))
    return place


def is_sweep(place: Path) -> bool:
    """Whether a folder is a sweep directory."""
    return (place / RECIPE).is_file()


def _write(place: Path, text: str) -> None:
    try:
        atomic.write_text(place, text)
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}") from error


def _title(place: Path, runs: Sequence[Path]) -> str:
    folder = runs[0].resolve() if len(runs) == 1 else place.resolve().parent
    return f"Report: {folder.name}"


def _refuse_taken(place: Path, overwrite: bool) -> None:
    if place.is_dir():
        raise OutputError(f"{place} is a folder, a file is needed: name it, such as report.html")
    if not place.exists():
        return
    atomic.refuse_existing(place, overwrite=overwrite)
    with place.open("rb") as file:
        head = file.read(4096)
    if MARK.encode() not in head:
        raise OutputError(
            f"{place} is no report, and --overwrite replaces reports only: choose another --out"
        )
