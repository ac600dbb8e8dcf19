"""Reports on run directories: one HTML page that works offline, and tables as Markdown.

A report prints only what run directories contain. `runs.py` reads them, `arms.py` groups them,
`sections/`, `tables.py`, `curves.py`, `samples.py` and `provenance.py` compute the content, and
`page.py` renders the page.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from itrec_dist.errors import OutputError
from itrec_dist.reports import page, reference
from itrec_dist.reports.runs import find, read
from itrec_dist.storage import outputs
from itrec_dist.storage.uri import Uri

MARK = '<meta name="generator" content="itrec report"'


def write(
    runs: Sequence[Path],
    out: Uri | Path | None = None,
    title: str | None = None,
    *,
    against: Path | None = None,
    copies: Mapping[Path, Uri | None] = MappingProxyType({}),
    overwrite: bool = False,
) -> Uri | Path:
    """Write one self-contained HTML page on run directories, or on folders that contain them.

    All others are compared with the run `against`, which joins them (`reference.py`). `copies` has
    the URIs of those that are copied from one.

    Without `out` the page is report.html inside the single folder given, or in the nearest folder
    that contains all runs. A page that this function wrote earlier is replaced only with
    `overwrite`; any other file is never replaced.

    Returns:
        The page's path or URI.

    Raises:
        CheckpointError: there is no run, or a damaged one.
        ConfigError: nothing can be compared with `against`.
        OutputError: the file exists, or cannot be written.
    """
    parsed = [read(path) for path in find(runs)]
    place: Uri | Path = page.default_place(runs, parsed) if out is None else out
    _check_free(place, overwrite)
    if against is not None:
        parsed = reference.compared(parsed, against, copies)
    _write(place, page.render(parsed, title or _title(place, runs)))
    return place


def write_sweep(
    sweep: Uri | Path, out: Uri | Path | None = None, title: str | None = None, *,
    overwrite: bool = False,
) -> Uri | Path:  # fmt: skip
    """Write the page on a sweep directory, and its tables as Markdown and CSV in that directory.

    Raises:
        CheckpointError: it is not a sweep directory, or a damaged one.
        EnvironmentProblem: a URI cannot be reached.
        OutputError: the file exists, or cannot be written.
    """
    from itrec_dist.reports.sweep import (
        page as sweep_page,
    )
    from itrec_dist.reports.sweep import (
        runs as sweep_runs,
    )
    from itrec_dist.reports.sweep import (
        tables as sweep_tables,
    )

    content = sweep_runs.read(sweep)
    directory = content.directory
    place = outputs.below(directory.place, directory.report.name) if out is None else out
    _check_free(place, overwrite)
    _write(place, sweep_page.render(content, title or f"Sweep: {directory.path.name}"))
    for table, text in (
        (directory.results_md, sweep_tables.as_markdown(content)),
        (directory.results_csv, sweep_tables.as_csv(content)),
    ):
        _write(outputs.below(directory.place, table.name), text)
    return place


def _write(place: Uri | Path, text: str) -> None:
    try:
        with outputs.new_file(place) as building:
            building.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}") from error


def _title(place: Uri | Path, runs: Sequence[Path]) -> str:
    beside = Path(place) if isinstance(place, Uri) else place.resolve()
    folder = runs[0].resolve() if len(runs) == 1 else beside.parent
    return f"Report: {folder.name}"


def _check_free(place: Uri | Path, overwrite: bool) -> None:
    if isinstance(place, Path) and place.is_dir():
        raise OutputError(f"{place} is a folder, a file is needed: name it, such as report.html")
    outputs.refuse_existing(place, overwrite=overwrite)
    head = outputs.beginning(place, 4096)
    if head is not None and MARK.encode() not in head:
        raise OutputError(
            f"{place} is not a report, and --overwrite replaces only reports: choose another --out"
        )
