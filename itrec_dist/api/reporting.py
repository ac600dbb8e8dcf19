"""Reports from a program, and what `itrec report` does with its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.errors import ConfigError
from itrec_dist.storage.uri import Uri, parse_place

if TYPE_CHECKING:
    from itrec_dist.api.run import Run


def report(
    runs: Run | str | Path | Sequence[Run | str | Path],
    out: str | Path | None = None,
    *,
    title: str | None = None,
    against: Run | str | Path | None = None,
    overwrite: bool = False,
) -> Uri | Path:
    """Write one HTML page on runs, which works offline.

    Args:
        runs: runs, or folders or URIs that contain them at any depth; or one sweep.
        out: file to write, or its URI; None writes report.html into the sweep, or into the folder
            that contains all runs.
        title: the page's title.
        against: a run or its URI, of a model or of a baseline, that the others are compared with
            by paired tests on the same test windows; a run that was only trained is evaluated for
            it once.
        overwrite: whether to replace an earlier report.

    Returns:
        The page's path or URI.

    Raises:
        CheckpointError: there is no run, or a damaged one.
        ConfigError: nothing can be compared with `against`.
        OutputError: the file exists, or cannot be written.

    Examples:
        >>> itrec.report([run, "runs/baselines"], "report.html")
        >>> itrec.report(run, "report.html", against="runs/baselines/linear_history")
    """
    given = runs if isinstance(runs, (list, tuple)) else [runs]
    if not given:
        raise ConfigError("there is nothing to report on: give at least one run or folder")
    other = None if against is None else _place(against)
    place = None if out is None else parse_place(out)
    return reported([_place(one) for one in given], place, title,
                    against=other, overwrite=overwrite)  # fmt: skip


def reported(
    places: Sequence[Path | Uri], out: Uri | Path | None, title: str | None, *,
    against: Uri | Path | None = None, overwrite: bool,
) -> Uri | Path:  # fmt: skip
    """Do what the options of `itrec report` say.

    Raises:
        ItrecError: see `report`.
    """
    from itrec_dist import reports
    from itrec_dist.runs.fetched import local_runs
    from itrec_dist.sweeps import remote

    first = places[0]
    if len(places) == 1 and remote.is_sweep(first):
        if against is not None:
            raise ConfigError(
                "the report of a sweep compares its finalists: give --against with runs"
            )
        return reports.write_sweep(first, out, title, overwrite=overwrite)
    if out is None and any(isinstance(place, Uri) for place in places):
        raise ConfigError(
            "--out is missing: with runs at a URI, give the file to write, or its URI"
        )
    copies = {run: uri for place in places for run, uri in local_runs(place).items()}
    runs, other = list(copies), None
    if against is not None:
        found = local_runs(against)
        copies |= found
        other = _single(against, found)
    return reports.write(runs, out, title, against=other, copies=copies, overwrite=overwrite)


def _single(against: Uri | Path, found: Mapping[Path, Any]) -> Path:
    """The one run that others are compared with."""
    if len(found) > 1:
        raise ConfigError(
            f"--against {against} holds {len(found)} runs, and all others are compared with one: "
            "give it"
        )
    return next(iter(found))


def _place(run: Any) -> Path | Uri:
    place = getattr(run, "path", run)
    return parse_place(place)
