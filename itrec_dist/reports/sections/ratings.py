"""Report section of the task ratings: findings, tables and curves of RMSE.

Differs from the section of next_items: lower is better, there is one ranking of the arms, and the
published results are those of another source. Tables are those of `tables.py`.
"""

from collections.abc import Sequence

from itrec_dist.data import schema
from itrec_dist.metrics.metric import RATINGS, FigureName
from itrec_dist.reports import measures
from itrec_dist.reports.arms import Arm, Section
from itrec_dist.reports.charts import INK, Level, Line, LineChart, line_chart
from itrec_dist.reports.curves import (
    Chart,
    ChartSet,
    colours,
    dots_of,
    mean_curve,
    points,
    value_of,
)
from itrec_dist.reports.measures import MISSING
from itrec_dist.reports.published import rating_study
from itrec_dist.reports.sections.section import (
    APART,
    SectionContent,
    TaskSection,
    left_out,
    same_arms,
)
from itrec_dist.reports.tables import (
    Cell,
    Column,
    Row,
    Table,
    cell_of,
    column_of,
    marked,
    names,
    row,
)

RMSE, MAE = FigureName(RATINGS, "rmse"), FigureName(RATINGS, "mae")

_ROUNDING = 0.0005  # the source prints three decimals
_REFERENCE = "Biased MF"
_FAR = 1.0  # RMSE values above this, such as of the global mean, would squash a chart's axis


def sentences(section: Section) -> list[str]:
    """The section's findings, the answer first."""
    split = section.final_split
    ranked = [arm for arm in section.ranked if _rmse(arm, split) is not None]
    if not ranked:
        runs = sum(len(arm.runs) for arm in section.arms)
        return [f"None of the {runs} runs has its final evaluation yet."]
    best = ranked[0]
    found = [f"On {split}, the lowest RMSE is that of {_reached(best, split)}."]
    found += _against_reference(ranked, split)
    found += _against_source(section)
    if schema.VALIDATION in section.splits and split != schema.VALIDATION:
        found.append(
            f"{best.label} has {best.figure(schema.VALIDATION, RMSE).text} on "
            "validation, where its epoch was selected."
        )
    return found + left_out(section)


def results(section: Section) -> Table:
    """All errors on every evaluated split, the published results, and the best epoch."""
    columns: list[Column] = []
    has_printed = rating_study.applies(section.manifest)
    if has_printed:
        columns.append(Column("RMSE", "at epoch", "Printed by the source", scores=False))
    shown = section.figures or [RMSE, MAE]
    for split in reversed(section.splits):
        for name in shown:
            columns.append(column_of(name, measures.label(name), "", split.capitalize()))
    columns.append(Column("Best epoch", "on validation", "Training", scores=False))
    columns.append(Column("Wall time", "whole run", "Training", scores=False))
    rows = []
    for arm in section.ranked:
        cells = [_printed_cell(arm)] if has_printed else []
        for split in reversed(section.splits):
            cells += [cell_of(arm.figure(split, name)) for name in shown]
        rows.append(row(arm, [*cells, *_training_cells(arm)]))
    title = measures.enumeration([measures.label(name) for name in shown])
    return Table(title, tuple(columns), marked(columns, rows))


def across(found: Sequence[Section]) -> Table:
    """The same arms under several protocols: RMSE on the final split of each."""
    columns = [Column("RMSE", "", "Printed by the source", scores=False)]
    for section, name in zip(found, names(found), strict=True):
        columns.append(column_of(RMSE, "RMSE", section.final_split, name))
    rows: list[Row] = []
    for first, here in same_arms(found):
        cells = [_printed_cell(first)]
        for section, arm in zip(found, here, strict=True):
            cells.append(cell_of(arm.figure(section.final_split, RMSE)) if arm else Cell(MISSING))
        rows.append(row(first, cells, tag="baseline" if first.is_baseline else ""))
    remarks = (APART, rating_study.REMARK)
    return Table("Rating prediction", tuple(columns), marked(columns, rows), remarks)


class RatingsSection(TaskSection):
    """Findings, the errors, and RMSE per epoch."""

    def sentences(self) -> list[str]:
        """The findings, the answer first."""
        return sentences(self.section)

    def results(self) -> Table:
        """The errors on every split."""
        return results(self.section)

    def content(self) -> SectionContent:
        """The content of the section on the page."""
        return SectionContent(
            sentences=self.sentences(),
            results=self.results(),
            results_remark="Mean ± sample standard deviation over seeds; the best value of a "
            "column is bold. Predictions are clipped to the rating scale. Baselines have no epochs "
            "to select.",
            dots=dots(self.section),
            dots_remark="A circle is one run, a thick tick is the mean of several, baselines are "
            "grey. A dashed tick is the source's published result.",
            overlay=overlay(self.section),
            curves=of_arms(self.section),
        )

    @classmethod
    def across(cls, found: Sequence[Section]) -> Table:
        """The same arms under several protocols."""
        return across(found)


def dots(section: Section) -> list[Chart]:
    """All arms on one axis: a dot per seed, the published result as a dashed tick."""
    printed = {arm.key: _printed(section, arm) for arm in section.arms}
    source = (rating_study.SOURCE, printed)
    return dots_of(section, RMSE, f"RMSE on {section.final_split}", source, below=_FAR)


def overlay(section: Section) -> list[Chart]:
    """Validation RMSE by epoch of all arms (means over seeds), and of the baselines."""
    lines = tuple(
        Line(arm.label, mean_curve([points(run, _validation) for run in arm.runs]), colour)
        for arm, colour in colours(section)
        if any(run.epochs for run in arm.runs)
    )
    if len(lines) < 2:
        return []
    levels = tuple(
        Level(arm.label, value)
        for arm in section.ranked
        if arm.is_baseline
        and (value := arm.figure(schema.VALIDATION, RMSE).mean) is not None
        and value < _FAR
    )
    svg = line_chart(LineChart("RMSE", lines, levels, width=680, height=370, label_width=190))
    return [Chart("RMSE per epoch, validation", svg)] if svg else []


def of_arms(section: Section) -> list[ChartSet]:
    """Training and validation RMSE by epoch of every trained arm, as the source shows them."""
    figures = []
    for arm, colour in colours(section):
        if not any(run.epochs for run in arm.runs):
            continue
        levels: tuple[Level, ...] = ()
        if (printed := _printed(section, arm)) is not None:
            levels = (Level("printed", printed, INK, "1.5 3"),)
        lines = (
            Line("training", mean_curve([points(r, _training) for r in arm.runs]), "#6b7686"),
            Line("validation", mean_curve([points(r, _validation) for r in arm.runs]), colour),
        )
        svg = line_chart(LineChart("RMSE", lines, levels, label_width=90))
        if svg:
            figures.append(Chart(arm.label, svg))
    return [ChartSet("RMSE per epoch of each", "", tuple(figures))] if figures else []


_training = value_of("train", RMSE)
_validation = value_of("validation", RMSE)


def _rmse(arm: Arm, split: str) -> float | None:
    return arm.figure(split, RMSE).mean


def _reached(arm: Arm, split: str) -> str:
    n = len(arm.complete)
    seeds = "" if arm.is_baseline else " (one run)" if n == 1 else f" (mean ± sd over {n} runs)"
    return f"{arm.label}: {arm.figure(split, RMSE).text}{seeds}"


def _against_reference(ranked: Sequence[Arm], split: str) -> list[str]:
    """Which arms are worse than a tuned biased factorisation, or else than the best baseline."""
    reference = next((arm for arm in ranked if arm.label.startswith(_REFERENCE)), None)
    reference = reference or next((arm for arm in ranked if arm.is_baseline), None)
    if reference is None:
        return ["No baseline was evaluated on these ratings to compare it with."]
    level = _rmse(reference, split)
    assert level is not None
    behind = [arm for arm in ranked if not arm.is_baseline and (_rmse(arm, split) or 0.0) > level]
    if not behind:
        return [f"No trained model is worse than {_reached(reference, split)}."]
    listed = measures.enumeration(
        [f"{arm.label} ({measures.digits(_rmse(arm, split))})" for arm in behind]
    )
    return [f"Worse than {_reached(reference, split)}: {listed}."]


def _against_source(section: Section) -> list[str]:
    """Which of the source's systems reach its published results."""
    reached: list[str] = []
    missed: list[str] = []
    for arm in section.arms:
        printed, ours = _printed(section, arm), _rmse(arm, section.final_split)
        if printed is None or ours is None:
            continue
        words = f"{arm.label} ({measures.digits(ours)}, printed {printed:.3f})"
        (reached if ours <= printed + _ROUNDING else missed).append(words)
    found = []
    if reached:
        found.append(f"At or below the source's printed RMSE: {measures.enumeration(reached)}.")
    if missed:
        found.append(f"Above the source's printed RMSE: {measures.enumeration(missed)}.")
    return [*found, *_cost(section), rating_study.REMARK] if found else []


def _cost(section: Section) -> list[str]:
    """How long all of the source's systems take, if all were trained."""
    seconds = {
        printed.system: measures.figure(run.seconds for run in arm.complete).mean
        for arm in section.arms
        if not arm.is_baseline
        and (printed := rating_study.printed(arm.runs[0].config))
        and arm.complete
    }
    if len(seconds) < len(rating_study.SYSTEMS):
        return []
    total = sum(value for value in seconds.values() if value is not None)
    return [
        f"One run of each of the source's {len(seconds)} systems, from shards to final evaluation, "
        f"takes {measures.duration(total)} in all, one after another."
    ]


def _printed(section: Section, arm: Arm) -> float | None:
    if arm.is_baseline or not rating_study.applies(section.manifest):
        return None
    printed = rating_study.printed(arm.runs[0].config)
    return None if printed is None else printed.rmse


def _printed_cell(arm: Arm) -> Cell:
    printed = None if arm.is_baseline else rating_study.printed(arm.runs[0].config)
    if printed is None:
        return Cell(MISSING)
    return Cell(f"{printed.rmse:.3f}", f"epoch {printed.epoch}", printed.rmse)


def _training_cells(arm: Arm) -> list[Cell]:
    runs = arm.complete or arm.runs
    best = sorted(run.best_epoch for run in runs if run.best_epoch is not None)
    seconds = measures.figure(run.seconds for run in runs)
    return [
        Cell(", ".join(map(str, best)) or MISSING, value=float(best[0]) if best else None),
        Cell(measures.duration(seconds.mean), value=seconds.mean),
    ]
