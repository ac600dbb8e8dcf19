"""Result tables: pure functions from runs to cells, for both HTML and Markdown.

A table has one row per arm; a cell is the mean over the arm's seeds and their sample standard
deviation. The task's section decides which metrics a table shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from itrec_dist import metrics
from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest
from itrec_dist.metrics.metric import FigureName
from itrec_dist.models.seen import resolved
from itrec_dist.reports import measures
from itrec_dist.reports.arms import Arm, Section
from itrec_dist.reports.measures import MISSING, Figure


@dataclass(frozen=True)
class Cell:
    """A cell: its text, its value for sorting, and whether it is the best of its column."""

    text: str
    spread: str = ""
    """The standard deviation, if there are several seeds."""
    value: float | None = None
    is_best: bool = False
    is_provisional: bool = False
    """From a run that is not complete."""


@dataclass(frozen=True)
class Column:
    """A column's title, the smaller line below it, and its group of columns."""

    title: str
    subtitle: str = ""
    group: str = ""
    scores: bool = True
    """Whether the best value is marked."""
    lower_is_better: bool = False
    """Whether lower is better."""


@dataclass(frozen=True)
class Row:
    """One arm."""

    label: str
    tag: str
    """Such as "baseline", "3 seeds" or "incomplete: 4 of 30 epochs"."""
    is_baseline: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns, with a title and remarks in sentences."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()
    head: str = "Model"
    """Title of the rows' labels."""

    @property
    def groups(self) -> list[tuple[str, int]]:
        """(group title, number of columns), in order."""
        groups: list[tuple[str, int]] = []
        for column in self.columns:
            if groups and groups[-1][0] == column.group:
                groups[-1] = (column.group, groups[-1][1] + 1)
            else:
                groups.append((column.group, 1))
        return groups


def names(found: Sequence[Section]) -> list[str]:
    """Short names of sections, such as `random_windows 80/10/10`; equal ones get their seed."""
    plain = [_name(section) for section in found]
    return [
        name if plain.count(name) == 1 else f"{name} ({_apart(section)})"
        for section, name in zip(found, plain, strict=True)
    ]


def _apart(section: Section) -> str:
    seed = section.manifest.settings.get("seed") if section.manifest else None
    data = f"data {section.fingerprint[:6]}"
    return data if seed is None else f"split seed {seed}, {data}"


def _name(section: Section) -> str:
    if section.manifest is None:
        return "data unknown"
    usual = section.seen == resolved(None, section.manifest.samples)
    return _of_data(section, section.manifest) + ("" if usual else f", seen: {section.seen}")


def _of_data(section: Section, manifest: Manifest) -> str:
    counts = [manifest.num_windows(s) for s in schema.SPLITS if s in manifest.splits]
    total = sum(counts)
    if not total or section.protocol not in ("random_windows", "user_disjoint"):
        return section.protocol
    return f"{section.protocol} {'/'.join(f'{100 * count / total:.0f}' for count in counts)}"


def costs(section: Section) -> Table:
    """Parameters, epochs, throughput and wall time of the trained arms."""
    columns = (
        Column("Parameters"), Column("Epochs", "trained of planned"), Column("Best epoch"),
        Column("Windows/s", "training, median epoch"), Column("Wall time", "whole run"),
        Column("Workers"), Column("Batch", "windows"), Column("Ended"),
    )  # fmt: skip
    rows = [row(arm, _cost_cells(arm)) for arm in section.ranked if not arm.is_baseline]
    return Table("Cost of training", tuple(columns), tuple(rows))


def column_of(name: FigureName, title: str, subtitle: str = "", group: str = "") -> Column:
    """A column of a metric; the best value is marked by the metric's direction."""
    has_best = metrics.of(name.metric).higher_is_better is not None
    return Column(title, subtitle, group, has_best, metrics.lower_is_better(name))


def figure_cell(section: Section, arm: Arm, split: str, name: FigureName) -> Cell:
    """A final metric of an arm; without a complete run, validation so far."""
    if arm.complete:
        return cell_of(arm.figure(split, name))
    if split == schema.VALIDATION and name.group == section.headline.group:
        return replace(cell_of(arm.so_far(name, section.headline)), is_provisional=True)
    return Cell(MISSING)


def cell_of(figure: Figure) -> Cell:
    """Mean and spread as a cell."""
    spread = "" if figure.sd is None else f"± {measures.digits(figure.sd)}"
    return Cell(measures.digits(figure.mean), spread, figure.mean)


def row(arm: Arm, cells: Sequence[Cell], tag: str | None = None) -> Row:
    """An arm's row; the default tag has its seeds and what is missing."""
    if tag is None:
        several = f"{len(arm.complete)} seeds" if len(arm.seeds) > 1 else ""
        if not several and len(arm.complete) > 1:
            several = f"{len(arm.complete)} runs"
        one = f"seed {arm.seeds[0]}" if len(arm.complete) == 1 and arm.seeds else ""
        kind = "baseline" if arm.is_baseline else several or one
        if arm.is_baseline and several and any(cell.spread for cell in cells):
            kind = f"baseline, {several}"
        tag = ", ".join(part for part in (kind, arm.status) if part)
    return Row(arm.label, tag, arm.is_baseline, tuple(cells))


def marked(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, with the best complete value of each scoring column marked."""
    best: list[float | None] = []
    for at, column in enumerate(columns):
        cells = [row.cells[at] for row in rows]
        values = [c.value for c in cells if c.value is not None and not c.is_provisional]
        better = min if column.lower_is_better else max
        best.append(better(values) if column.scores and len(values) > 1 else None)
    return tuple(
        replace(
            row,
            cells=tuple(
                replace(
                    cell,
                    is_best=best[at] is not None
                    and cell.value == best[at]
                    and not cell.is_provisional,
                )
                for at, cell in enumerate(row.cells)
            ),
        )
        for row in rows
    )


def _cost_cells(arm: Arm) -> list[Cell]:
    runs = arm.complete or arm.runs
    start = runs[0].start
    planned = runs[0].planned_epochs
    trained = sorted({len(run.epochs) for run in runs})
    counted = " to ".join(str(n) for n in dict.fromkeys((trained[0], trained[-1])))
    best = sorted(run.best_epoch for run in runs if run.best_epoch is not None)
    speeds = measures.figure(
        _median([e.windows_per_second for e in run.epochs if e.windows_per_second]) for run in runs
    )
    seconds = measures.figure(run.seconds for run in runs)
    reasons = dict.fromkeys(str(r.end.get("reason", "not ended")) for r in runs)
    spread = "" if speeds.sd is None else f"± {speeds.sd:,.0f}"
    return [
        _count(start.get("num_parameters")),
        Cell(f"{counted} of {planned}" if planned else counted, value=float(trained[-1])),
        Cell(", ".join(str(b) for b in best) or MISSING, value=float(best[0]) if best else None),
        replace(_count(speeds.mean), spread=spread),
        Cell(measures.duration(seconds.mean), value=seconds.mean),
        _count(start.get("workers")),
        _count(start.get("batch_size")),
        Cell(measures.enumeration(list(reasons))),
    ]


def _count(value: object) -> Cell:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Cell(MISSING)
    return Cell(f"{value:,.0f}", value=float(value))


def _median(values: list[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None
