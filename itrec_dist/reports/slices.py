"""What share of the targets was found, by length of history, popularity and age of the target.

Read from the judgements of the final split, where judges have counted it.
"""

from collections.abc import Sequence

from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.targets import Slice, TargetCounts, warning
from itrec_dist.reports import curves, measures
from itrec_dist.reports.arms import Arm, Section
from itrec_dist.reports.charts import Line, LineChart, line_chart
from itrec_dist.reports.curves import Chart
from itrec_dist.reports.measures import MISSING, Figure
from itrec_dist.reports.tables import Cell, Column, Row, Table, cell_of, marked, row

_CUTOFF = 10
"""The place up to which a target counts as found, or the nearest cut-off to it."""
_MOST_LINES = 6
"""Models in a chart, the best ones; and one baseline."""

REMARK = (
    "The share of the targets that stand among the first places of the ranking: with one target "
    "per window or history, the hit rate. A slice with few targets says little."
)


def tables(section: Section, group: str) -> list[Table]:
    """One table for each way of slicing that has several slices; `group` names the ranking."""
    found = _by_kind(section)
    return [
        _table(section, group, kind, slices) for kind, slices in found.items() if len(slices) > 1
    ]


def charts(section: Section, group: str) -> list[Chart]:
    """The same as lines, of the best models and the best baseline."""
    drawn = []
    for kind, slices in _by_kind(section).items():
        names = tuple(slices)
        lines = []
        for arm, colour in _shown(section):
            figures = [_figure(section, arm, group, kind, name) for name in names]
            points = tuple(
                (float(at), f.mean) for at, f in enumerate(figures) if f.mean is not None
            )
            lines.append(Line(arm.label, points, colour))
        chart = LineChart(
            _title(section, kind), tuple(lines), width=460, label_width=130, x_label=kind,
            x_names=tuple(_short(name) for name in names),
        )  # fmt: skip
        if len(names) > 1 and (svg := line_chart(chart)):
            drawn.append(Chart(chart.title, svg))
    return drawn


def targets(section: Section) -> Table | None:
    """How many targets each split has, and how many of them could not be found."""
    columns = (
        Column("Targets", scores=False),
        Column("Never in training", "nothing was learned of the item", scores=False),
        Column("Seen before", "left out of the masked ranking", scores=False),
    )
    rows = []
    for split in reversed(section.splits):
        counts = _counts(section, split)
        if counts is not None:
            cells = (
                Cell(f"{counts.num_targets:,}", value=float(counts.num_targets)),
                _share(counts.untrained, counts.num_targets),
                _share(counts.left_out, counts.num_targets),
            )
            rows.append(Row(split.capitalize(), "", is_baseline=False, cells=cells))
    remark = "All targets count, those that could not be found as misses."
    return Table("Targets", columns, tuple(rows), (remark,), "Split") if rows else None


def sentences(section: Section) -> list[str]:
    """That many targets of the final split are left out of the masked ranking."""
    text = warning(section.final_split, _counts(section, section.final_split), "--evaluation.seen")
    return [f"{text}."] if text else []


def _counts(section: Section, split: str) -> TargetCounts | None:
    """The counts of a split, which are those of its data and the same for all arms."""
    judged = (run.judgements.get(split) for arm in section.arms for run in arm.complete)
    return next((j.targets for j in judged if j is not None and j.targets is not None), None)


def _share(count: int, whole: int) -> Cell:
    text = f"{count:,} ({count / whole:.1%})" if whole else MISSING
    return Cell(text, value=float(count))


def _by_kind(section: Section) -> dict[str, dict[str, int]]:
    """Kind -> slice -> its targets, in the order in which judges count them."""
    found: dict[str, dict[str, int]] = {}
    for arm in section.ranked:
        for judgement in _final(section, arm):
            for each in judgement.slices:
                found.setdefault(each.kind, {}).setdefault(each.name, each.num_targets)
    return found


def _final(section: Section, arm: Arm) -> Sequence[Judgement]:
    split = section.final_split
    return [run.judgements[split] for run in arm.complete if split in run.judgements]


def _figure(section: Section, arm: Arm, group: str, kind: str, name: str) -> Figure:
    """The share of a slice's targets found, over the runs of an arm."""
    cutoff = _cutoff(section)
    same: list[Slice] = [
        each
        for judgement in _final(section, arm)
        for each in judgement.slices
        if (each.kind, each.name) == (kind, name)
    ]
    return measures.figure(each.share(group, cutoff) for each in same)


def _cutoff(section: Section) -> int:
    """The counted cut-off nearest to the usual one."""
    judged = (j for arm in section.ranked for j in _final(section, arm))
    counted = {k for j in judged for s in j.slices for found in s.found.values() for k in found}
    return min(sorted(counted), key=lambda k: abs(k - _CUTOFF), default=_CUTOFF)


def _table(section: Section, group: str, kind: str, slices: dict[str, int]) -> Table:
    columns = [
        Column(_short(name), ", ".join(filter(None, [f"{count:,} targets", _items_of(name)])))
        for name, count in slices.items()
    ]
    arms = [arm for arm in section.ranked if any(j.slices for j in _final(section, arm))]
    rows = [
        row(arm, [cell_of(_figure(section, arm, group, kind, name)) for name in slices])
        for arm in arms
    ]
    title = f"{_title(section, kind)}: {section.final_split}, {group}"
    return Table(title, tuple(columns), marked(columns, rows))


def _title(section: Section, kind: str) -> str:
    return f"Found in the first {_cutoff(section)} places, by {kind}"


def _shown(section: Section) -> list[tuple[Arm, str]]:
    """The arms of a chart, best first."""
    judged = [
        (arm, colour)
        for arm, colour in curves.colours(section)
        if any(j.slices for j in _final(section, arm))
    ]
    trained = [found for found in judged if not found[0].is_baseline]
    baselines = [found for found in judged if found[0].is_baseline]
    return [*trained[:_MOST_LINES], *baselines[: 1 if trained else _MOST_LINES]]


def _short(name: str) -> str:
    """The name of a slice without the number of its items."""
    return name.partition(" (")[0]


def _items_of(name: str) -> str:
    """The number of items of a slice, where its name has it."""
    return name.partition(" (")[2].rstrip(")")
