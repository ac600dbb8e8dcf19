"""Report section of the task next_items: main metrics, curves, all metrics, and sampled users."""

from collections.abc import Sequence

from itrec_dist import metrics
from itrec_dist.data import schema
from itrec_dist.metrics.metric import FigureName
from itrec_dist.reports import curves, gains, measures, samples, slices
from itrec_dist.reports.arms import Arm, Section
from itrec_dist.reports.measures import MISSING
from itrec_dist.reports.published import ite as published_ite
from itrec_dist.reports.published import leaderboard
from itrec_dist.reports.sections.next_items_findings import (
    in_words,
    main_figures,
    rankings,
    sentences,
)
from itrec_dist.reports.sections.section import (
    APART,
    SectionContent,
    TaskSection,
    notes,
    same_arms,
)
from itrec_dist.reports.tables import (
    Cell,
    Column,
    Row,
    Table,
    column_of,
    figure_cell,
    marked,
    names,
    row,
)

_SEEN = {
    "history": "all items that the user has seen before",
    "input": "the items of the input",
    "none": "nothing",
}


def accuracies(section: Section) -> Table:
    """Precision and hit rate on every evaluated split and ranking, and the paper's results."""
    columns: list[Column] = []
    sources: list[tuple[str, FigureName] | FigureName] = []
    for split in reversed(section.splits):  # test comes first
        for group in rankings(section) or [section.headline.group]:
            for name in main_figures(section, group):
                columns.append(_column(section, name, split_title(section, split)))
                sources.append((split, name))
        if split == schema.VALIDATION and section.is_papers:
            printed = _printed_columns()
            columns += printed.values()
            sources += printed
    rows = [row(arm, [_cell(section, arm, source) for source in sources]) for arm in section.ranked]
    first, second = main_figures(section)
    title = f"{measures.label(first)} and {measures.words(second)}"
    if section.is_papers:
        title = f"{published_ite.name(first)} and {published_ite.name(second)}"
    return Table(title, tuple(columns), marked(columns, rows))


def split_title(section: Section, split: str) -> str:
    """The split, and the split on which the epoch was selected."""
    if split == schema.VALIDATION:
        papers = " (as in the paper)" if section.is_papers else ""
        return f"Validation: best epoch selected on this split{papers}"
    if schema.VALIDATION in section.splits:
        return f"{split.capitalize()}: epoch selected on validation, evaluated on {split}"
    return split.capitalize()


def details(section: Section, split: str, group: str) -> Table:
    """All metrics on one split, with or without what the user has seen in the ranking."""
    main, _ = main_figures(section, group)
    shown = [name for name in section.figures if name.group == group]
    shown = shown or list(main_figures(section, group))
    columns = []
    for name in shown:
        metric = metrics.of(name.metric).label
        subtitle = (published_ite.name(name) if section.is_papers else None) or ""
        columns.append(column_of(name, f"@{name.cutoff}", subtitle, metric))
    rows = [
        row(arm, [figure_cell(section, arm, split, name) for name in shown])
        for arm in section.ranked_by(split, main)
    ]
    title = f"{split.capitalize()}, {in_words(group)}"
    return Table(title, tuple(columns), marked(columns, rows))


def beside_published(section: Section) -> list[Table]:
    """The arms and the published results on the same histories, the best first; one table or none.

    Baselines and models are ranked together by NDCG@10 on the test split.
    """
    published = leaderboard.results_on(section.manifest)
    if not published or schema.TEST not in section.splits or section.seen != "history":
        return []
    figures = (leaderboard.HIT_RATE, leaderboard.NDCG)
    columns = [column_of(name, measures.label(name)) for name in figures]
    columns.append(Column("Query time", "known to the model", scores=False))
    rows = []
    for result in published:
        cells = [Cell(measures.digits(v), value=v) for v in (result.hit_rate, result.ndcg)]
        told = Cell("yes" if result.knows_query_time else "no")
        rows.append(Row(result.system, f"published: {result.source}", True, (*cells, told)))
    for arm in section.arms:
        if not arm.complete:
            continue
        cells = [figure_cell(section, arm, schema.TEST, name) for name in figures]
        told = Cell("yes" if leaderboard.knows_query_time(arm.runs[0].config) else "no")
        rows.append(row(arm, [*cells, told]))
    rows.sort(key=lambda found: -(found.cells[1].value or 0.0))
    return [Table("Beside published results", tuple(columns), tuple(rows), (leaderboard.REMARK,))]


def across(found: Sequence[Section]) -> Table:
    """The same arms on several data sets: one pair of columns per section, each named."""
    printed = _printed_columns() if any(section.is_papers for section in found) else {}
    columns = list(printed.values())
    for section, name in zip(found, names(found), strict=True):
        group = f"{name}: {section.final_split}"
        for figure in main_figures(section):
            key = figure.key if section.is_papers else ""
            columns.append(column_of(figure, _short_title(section, figure), key, group))
    rows = []
    for first, here in same_arms(found):
        cells = [_cell(found[0], first, figure) for figure in printed]
        for section, arm in zip(found, here, strict=True):
            for figure in main_figures(section):
                cell = figure_cell(section, arm, section.final_split, figure) if arm else None
                cells.append(cell or Cell(MISSING))
        rows.append(row(first, cells, tag="baseline" if first.is_baseline else ""))
    title = "The same arms on different windows"
    return Table(title, tuple(columns), marked(columns, rows), (APART,))


class NextItemsSection(TaskSection):
    """Findings, the two main metrics, curves, all metrics, and sampled users."""

    def sentences(self) -> list[str]:
        """The findings, the answer first."""
        return sentences(self.section)

    def results(self) -> Table:
        """The two main metrics."""
        return accuracies(self.section)

    def content(self) -> SectionContent:
        """The content of the section on the page."""
        section = self.section
        shown = curves.Shown(
            main_figures(section),
            lambda name: _title(section, name),
            lambda arm, name: _printed(section, arm, name),
            published_ite.SOURCE,
        )
        # The ranking as it is served; the paper's own recommends what was seen as well.
        is_masked = "masked" in rankings(section) and not section.is_papers
        sliced = "masked" if is_masked else "unmasked"
        return SectionContent(
            sentences=self.sentences(),
            results=self.results(),
            results_remark=_results_remark(section),
            dots=curves.dots(section, shown),
            dots_remark=_dots_remark(section),
            gains=gains.table(section),
            overlay=curves.overlay(section, shown),
            curves=curves.of_arms(section, shown),
            curves_remark=_curves_remark(section),
            details=[
                *beside_published(section),
                *(
                    details(section, split, group)
                    for split in reversed(section.splits)
                    for group in rankings(section)
                ),
            ],
            details_remark=notes(section),
            targets=slices.targets(section),
            slices=slices.tables(section, sliced),
            slice_charts=slices.charts(section, sliced),
            slices_remark=slices.REMARK,
            samples=samples.of(section),
        )

    @classmethod
    def across(cls, found: Sequence[Section]) -> Table:
        """The same arms on several data sets."""
        return across(found)


def _results_remark(section: Section) -> str:
    said = ["Mean ± sample standard deviation over seeds; the highest value of a column is bold."]
    masked = f"“masked” excludes {_SEEN[section.seen]} from the ranking."
    if section.seen == "none":
        masked = "No ranking excludes what the user has seen."
    if section.is_papers:
        said.append(
            "The paper's Accuracy 1 is precision@5, its Accuracy 2 is hit rate@5; " + masked
        )
        said.append(
            "The paper selects its best epoch on the validation windows it reports: its figures "
            f"({published_ite.SOURCE}) must be compared with the unmasked validation columns."
        )
    else:
        said.append(masked)
    return " ".join([*said, "Baselines have no epochs to select."])


def _dots_remark(section: Section) -> str:
    said = "A circle is one run, the bar is their mean, baselines are grey."
    if section.is_papers:
        said += (
            " The dashed tick is the paper's result on its validation windows "
            f"({published_ite.SOURCE})."
        )
    return said


def _curves_remark(section: Section) -> str:
    sample = curves.training_sample(section)
    training = f" Training metrics use a sample of {sample:,} training windows." if sample else ""
    return (
        f"{in_words(section.headline.group).capitalize()}.{training} Point at a chart, or focus it "
        "and use the arrow keys, to read its values."
    )


def _printed_columns() -> dict[FigureName, Column]:
    """The columns of the paper's two metrics."""
    return {
        name: Column(published_ite.name(name) or "", name.key, "Printed in the paper", scores=False)
        for name in (published_ite.ACCURACY_1, published_ite.ACCURACY_2)
    }


def _column(section: Section, name: FigureName, group: str) -> Column:
    subtitle = f"{name.key} {name.group}" if section.is_papers else name.group
    return column_of(name, _short_title(section, name), subtitle, group)


def _cell(section: Section, arm: Arm, source: tuple[str, FigureName] | FigureName) -> Cell:
    """A metric of an arm on a split; without a split, the paper's result."""
    if isinstance(source, FigureName):
        printed = {} if arm.is_baseline else published_ite.printed(arm.runs[0].config)
        value = printed.get(source.key)
        return Cell(measures.digits(value), value=value)
    return figure_cell(section, arm, *source)


def _printed(section: Section, arm: Arm, name: FigureName) -> float | None:
    if not section.is_papers or arm.is_baseline:
        return None
    return published_ite.printed(arm.runs[0].config).get(name.key)


def _short_title(section: Section, name: FigureName) -> str:
    return (published_ite.name(name) if section.is_papers else None) or measures.label(name)


def _title(section: Section, name: FigureName) -> str:
    """`Accuracy 2 (hit rate@5)` on the paper's data, `Hit rate@5` elsewhere."""
    papers = published_ite.name(name) if section.is_papers else None
    return f"{papers} ({measures.words(name)})" if papers else measures.label(name)
