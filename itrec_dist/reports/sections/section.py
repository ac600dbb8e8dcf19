"""The section of a report on one task's runs on one set of windows.

`TaskSection` works for any task, from its metrics alone: findings, one table, charts of the main
metric. A task that needs more derives its own in a file of this folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from itrec_dist import metrics
from itrec_dist.data import schema
from itrec_dist.metrics.metric import LOSS, FigureName
from itrec_dist.reports import curves, measures
from itrec_dist.reports.arms import Arm, Section
from itrec_dist.reports.curves import Chart, ChartSet
from itrec_dist.reports.samples import Sample
from itrec_dist.reports.tables import (
    Cell,
    Column,
    Table,
    cell_of,
    column_of,
    figure_cell,
    marked,
    names,
    row,
)

APART = "Columns of different data are not comparable with each other: read down, not across."


@dataclass(frozen=True)
class SectionContent:
    """The content of a section of the page, from the top."""

    sentences: list[str]
    """The findings, the answer first."""
    results: Table
    results_remark: str
    dots: list[Chart] = field(default_factory=list)
    dots_remark: str = ""
    gains: Table | None = None
    """What each arm gains over others, by paired tests."""
    overlay: list[Chart] = field(default_factory=list)
    curves: list[ChartSet] = field(default_factory=list)
    curves_remark: str = ""
    details: list[Table] = field(default_factory=list)
    details_remark: str = ""
    targets: Table | None = None
    """Which targets could be found."""
    slices: list[Table] = field(default_factory=list)
    slice_charts: list[Chart] = field(default_factory=list)
    slices_remark: str = ""
    samples: list[Sample] = field(default_factory=list)


class TaskSection:
    """The section of any task."""

    def __init__(self, section: Section) -> None:
        self.section = section

    def sentences(self) -> list[str]:
        """The findings, the answer first."""
        return _sentences(self.section)

    def results(self) -> Table:
        """All metrics on every evaluated split."""
        section = self.section
        shown = [(split, name) for split in reversed(section.splits) for name in _held(section)]
        columns = [
            column_of(name, measures.label(name), name.group, split.capitalize())
            for split, name in shown
        ]
        rows = [
            row(arm, [figure_cell(section, arm, split, name) for split, name in shown])
            for arm in section.ranked
        ]
        return Table("Results", tuple(columns), marked(columns, rows))

    def content(self) -> SectionContent:
        """The content of the section on the page."""
        shown = curves.Shown((self.section.headline,), measures.label)
        best = "lowest" if metrics.lower_is_better(self.section.headline) else "highest"
        return SectionContent(
            sentences=self.sentences(),
            results=self.results(),
            results_remark=f"Mean ± sample standard deviation over seeds; the best value of a "
            f"column, such as the {best} {measures.words(self.section.headline)}, is bold.",
            dots=curves.dots(self.section, shown),
            dots_remark="A circle is one run, the bar is their mean, baselines are grey.",
            overlay=curves.overlay(self.section, shown),
            curves=curves.of_arms(self.section, shown),
            details_remark=notes(self.section),
        )

    def tables(self) -> list[Table]:
        """The result tables, for Markdown."""
        content = self.content()
        gains = [content.gains] if content.gains else []
        targets = [content.targets] if content.targets else []
        return [content.results, *gains, *content.details, *targets, *content.slices]

    @classmethod
    def across(cls, found: Sequence[Section]) -> Table:
        """The same arms on several sets of windows: the main metric on the final split of each."""
        columns: list[Column] = []
        for section, name in zip(found, names(found), strict=True):
            title = measures.label(section.headline)
            columns.append(column_of(section.headline, title, section.final_split, name))
        rows = []
        for first, here in same_arms(found):
            cells = [
                cell_of(arm.figure(section.final_split, section.headline)) if arm else Cell("—")
                for section, arm in zip(found, here, strict=True)
            ]
            rows.append(row(first, cells, tag="baseline" if first.is_baseline else ""))
        title = "The same arms on different windows"
        return Table(title, tuple(columns), marked(columns, rows), (APART,))


def same_arms(found: Sequence[Section]) -> list[tuple[Arm, list[Arm | None]]]:
    """Each arm once, in the order of the section with the most arms, and its copy per section."""
    by_key = {(s.fingerprint, s.protocol, arm.key): arm for s in found for arm in s.arms}
    firsts: dict[str, Arm] = {}
    for section in sorted(found, key=lambda s: -len(s.arms)):
        for arm in section.ranked:
            firsts.setdefault(arm.key, arm)
    return [
        (first, [by_key.get((s.fingerprint, s.protocol, key)) for s in found])
        for key, first in firsts.items()
    ]


def notes(section: Section) -> str:
    """The notes of the metrics that are shown."""
    notes = dict.fromkeys(metrics.of(name.metric).note for name in section.figures)
    return " ".join(note for note in notes if note)


def nothing_yet(section: Section) -> str:
    """The sentence that no run has its final evaluation yet."""
    runs = sum(len(arm.runs) for arm in section.arms)
    which = "The run has no" if runs == 1 else f"None of the {runs} runs has a"
    return f"{which} final evaluation yet: the values below are provisional."


def left_out(section: Section) -> list[str]:
    """The arms that are not complete."""
    open_arms = [arm.label for arm in section.arms if not arm.complete]
    if not open_arms:
        return []
    verb = "is" if len(open_arms) == 1 else "are"
    return [f"{measures.enumeration(open_arms)} {verb} not complete and not counted here."]


def _held(section: Section) -> list[FigureName]:
    return section.figures or [section.headline]


def _sentences(section: Section) -> list[str]:
    split, name = section.final_split, section.headline
    ranked = [arm for arm in section.ranked if arm.figure(split, name).mean is not None]
    if not ranked:
        return [nothing_yet(section)]
    best = "lowest" if metrics.lower_is_better(name) else "highest"
    said = ", ".join([f"On {split}", *([name.group] if name != LOSS else [])])
    reached = _reached(ranked[0], name, split)
    found = [f"{said}, the {best} {measures.words(name)} is that of {reached}."]
    baseline = next((arm for arm in ranked if arm.is_baseline), None)
    if baseline is not None and baseline is not ranked[0]:
        found.append(f"The best baseline is {_reached(baseline, name, split)}.")
    if schema.VALIDATION in section.splits and split != schema.VALIDATION:
        chosen = ranked[0].figure(schema.VALIDATION, name)
        if not ranked[0].is_baseline and chosen.mean is not None:
            found.append(
                f"{ranked[0].label} has {chosen.text} on validation, where its epoch was selected."
            )
    return [*found, *left_out(section)]


def _reached(arm: Arm, name: FigureName, split: str) -> str:
    n = len(arm.complete)
    seeds = "" if arm.is_baseline else " (one run)" if n == 1 else f" (mean ± sd over {n} runs)"
    return f"{arm.label}: {arm.figure(split, name).text}{seeds}"
