"""Tables of results: pure functions from runs to cells, for HTML and Markdown alike.

A table has one row per arm; a cell is the mean over the arm's seeds and their sample standard
deviation. Every table belongs to one section, so to one set of windows, except `across`, whose
columns name theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from itrec_dist.data import schema
from itrec_dist.report import measures
from itrec_dist.report.arms import Arm, Section
from itrec_dist.report.measures import ACCURACY_1, ACCURACY_2, MISSING, Figure
from itrec_dist.report.published import ite as published_ite
from itrec_dist.report.runs import Masking

_BOTH = (ACCURACY_1, ACCURACY_2)


@dataclass(frozen=True)
class Cell:
    """What is printed, by what it sorts, and whether it is the best of its column."""

    text: str
    spread: str = ""
    """The standard deviation, where there are several seeds."""
    value: float | None = None
    is_best: bool = False
    is_provisional: bool = False
    """From a run that is not complete."""


@dataclass(frozen=True)
class Column:
    """A column's title, the smaller line under it, and the group that it stands in."""

    title: str
    subtitle: str = ""
    group: str = ""
    scores: bool = True
    """Whether the best value is marked."""
    falls: bool = False
    """Whether less is better."""


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
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if found and found[-1][0] == column.group:
                found[-1] = (column.group, found[-1][1] + 1)
            else:
                found.append((column.group, 1))
        return found


def accuracies(section: Section) -> Table:
    """Accuracy 1 and 2 on every judged split, unmasked and masked, beside the paper's figures."""
    columns: list[Column] = []
    sources: list[tuple[str, Masking, str] | str] = []
    for split in reversed(section.splits):  # the split that nothing was chosen on comes first
        for masking in section.maskings:
            for metric in _BOTH:
                columns.append(_accuracy_column(metric, masking, split_title(section, split)))
                sources.append((split, masking, metric))
        if split == schema.VALIDATION and section.is_papers:
            for metric in _BOTH:
                subtitle = f"{metric} unmasked"
                group = "Printed in the paper"
                columns.append(
                    Column(measures.paper_name(metric) or metric, subtitle, group, scores=False)
                )
                sources.append(metric)
    rows = [row(arm, [_cell(arm, source) for source in sources]) for arm in section.ranked]
    return Table("Accuracy 1 and Accuracy 2", tuple(columns), marked(columns, rows))


def split_title(section: Section, split: str) -> str:
    """The split, and what the epoch was chosen on."""
    if split == schema.VALIDATION:
        return "Validation: best epoch chosen on this very split (as in the paper)"
    if schema.VALIDATION in section.splits:
        return f"{split.capitalize()}: epoch chosen on validation, judged on {split}"
    return split.capitalize()


def details(section: Section, split: str, masking: Masking) -> Table:
    """Every measure on one split, with or without the items of the input in the ranking.

    Of precision only the paper's Accuracy 1: further down the list it repeats recall.
    """
    metrics = [m for m in section.metrics if not m.startswith("precision") or m == ACCURACY_1]
    columns = []
    for metric in metrics:
        stem, at, k = measures.label(metric).partition("@")
        subtitle = measures.paper_name(metric) or ""
        scores = measures.has_best(metric)
        columns.append(Column(at + k if k else stem, subtitle, stem, scores))
    rows = [
        row(arm, [_cell(arm, (split, masking, m)) for m in metrics])
        for arm in section.ranked_by(split, masking, ACCURACY_1)
    ]
    words = "seen items masked" if masking == "masked" else "unmasked"
    return Table(f"{split.capitalize()}, {words}", tuple(columns), marked(columns, rows))


def across(found: Sequence[Section]) -> Table:
    """The same arms on several data sets: one pair of columns per section, each named."""
    columns: list[Column] = []
    with_paper = any(section.is_papers for section in found)
    if with_paper:
        group = "Printed in the paper"
        columns += [Column(measures.paper_name(m) or m, m, group, scores=False) for m in _BOTH]
    for section, name in zip(found, names(found), strict=True):
        group = f"{name}: {section.final_split}"
        columns += [Column(measures.paper_name(m) or m, m, group) for m in _BOTH]
    by_key = {(s.fingerprint, arm.key): arm for s in found for arm in s.arms}
    widest_first = sorted(found, key=lambda s: -len(s.arms))  # its order is the rows' order
    firsts: dict[str, Arm] = {}
    for section in widest_first:
        for arm in section.ranked:
            firsts.setdefault(arm.key, arm)
    rows = []
    for key, first in firsts.items():
        cells = [_cell(first, m) for m in _BOTH] if with_paper else []
        for section in found:
            here = by_key.get((section.fingerprint, key))
            for metric in _BOTH:
                source: tuple[str, Masking, str] = (section.final_split, "unmasked", metric)
                cells.append(_cell(here, source) if here else Cell(MISSING))
        rows.append(row(first, cells, tag="baseline" if first.is_baseline else ""))
    return Table(
        "The same arms on different windows",
        tuple(columns),
        marked(columns, rows),
        ("Columns of different data are not comparable with each other: read down, not across.",),
    )


def names(found: Sequence[Section]) -> list[str]:
    """Sections in a few words, such as `random_windows 80/10/10`; namesakes get their seed."""
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
    counts = [
        section.manifest.num_windows(s) for s in schema.SPLITS if s in section.manifest.splits
    ]
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
    return Table("What it took", tuple(columns), tuple(rows))


def _accuracy_column(metric: str, masking: Masking, group: str) -> Column:
    words = "masked" if masking == "masked" else "unmasked"
    return Column(measures.paper_name(metric) or metric, f"{metric} {words}", group)


def _cell(arm: Arm, source: tuple[str, Masking, str] | str) -> Cell:
    """A figure of an arm; a plain metric name stands for what the paper prints."""
    if isinstance(source, str):
        value = None if arm.is_baseline else published_ite.printed(arm.runs[0].config).get(source)
        return Cell(measures.digits(value), value=value)
    split, masking, metric = source
    if arm.complete:
        return cell_of(arm.figure(split, masking, metric))
    if (split, masking) == (schema.VALIDATION, "unmasked"):
        return replace(cell_of(arm.so_far(metric)), is_provisional=True)
    return Cell(MISSING)


def cell_of(figure: Figure) -> Cell:
    """Mean and spread, as printed."""
    spread = "" if figure.sd is None else f"± {measures.digits(figure.sd)}"
    return Cell(measures.digits(figure.mean), spread, figure.mean)


def row(arm: Arm, cells: Sequence[Cell], tag: str | None = None) -> Row:
    """An arm's row; without a tag, one that says its seeds and what is missing."""
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
        better = min if column.falls else max
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
