"""Reports from a program, and what `itrec report` does with its options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.errors import ConfigError
from itrec_dist.storage.uri import Uri

if TYPE_CHECKING:
    from itrec_dist.api.run import Run


def report(
    runs: Run | str | Path | Sequence[Run | str | Path],
    out: str | Path | None = None,
    *,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one HTML page on runs, which works offline.

    Args:
        runs: runs, or folders or URIs that contain them at any depth; or one sweep.
        out: file to write; None writes report.html into the folder that contains them all.
        title: the page's title.
        overwrite: whether to replace an earlier report.

    Returns:
        The page's path.

    Raises:
        CheckpointError: there is no run, or a damaged one.
        OutputError: the file exists, or cannot be written.

    Examples:
        >>> itrec.report([run, "runs/baselines"], "report.html")
    """
    given = runs if isinstance(runs, (list, tuple)) else [runs]
    return reported([_place(one) for one in given], None if out is None else Path(out), title,
                    overwrite=overwrite)  # fmt: skip


def reported(
    places: Sequence[Path | Uri], out: Path | None, title: str | None, *, overwrite: bool
) -> Path:
    """Do what the options of `itrec report` say.

    Raises:
        ItrecError: see `report`.
    """
    from itrec_dist import reports
    from itrec_dist.runs.fetched import local_runs

    first = places[0]
    if len(places) == 1 and isinstance(first, Path) and reports.is_sweep(first):
        return reports.write_sweep(first, out, title, overwrite=overwrite)
    if out is None and any(isinstance(place, Uri) for place in places):
        raise ConfigError("a report is written to this machine: give --out FILE.html with a URI")
    runs = [run for place in places for run in local_runs(place)]
    return reports.write(runs, out, title, overwrite=overwrite)


def _place(run: Any) -> Path | Uri:
    place = getattr(run, "path", run)
    return Uri(place) if isinstance(place, str) and "://" in place else Path(place)
