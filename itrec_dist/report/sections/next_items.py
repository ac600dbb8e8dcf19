"""Sections of next items: which model ranks best, by how much, and against what.

Two figures stand for all others: precision and hit rate at one cut-off, which the paper calls
Accuracy 1 and Accuracy 2; its names and figures are shown on its own data alone. Every word follows
from figures; nothing here is rounded before it is compared.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from itrec_dist.data import schema
from itrec_dist.metrics.metric import RANKINGS, FigureName
from itrec_dist.report import curves, measures, samples
from itrec_dist.report.arms import Arm, Section
from itrec_dist.report.measures import MISSING, Figure
from itrec_dist.report.published import ite as published_ite
from itrec_dist.report.sections.section import (
    APART,
    Content,
    TaskSection,
    left_out,
    notes,
    nothing_yet,
    same_arms,
)
from itrec_dist.report.tables import Cell, Column, Table, column_of, figure_cell, marked, names, row

# Printed figures have four decimals, so a figure that rounds to the paper's has reached it.
_ROUNDING = 0.00005


def sentences(section: Section) -> list[str]:
    """The section's findings, the answer first."""
    found = []
    for group in rankings(section):
        found += _verdict(section, group)
    if not found:
        return [nothing_yet(section)]
    found += _behind(section)
    found += _gap(section)
    found += _against_paper(section)
    found += _sampling(section)
    found += left_out(section)
    return found


def rankings(section: Section) -> list[str]:
    """The rankings that were judged."""
    return [group for group in section.groups if group in RANKINGS]


def main_figures(section: Section, group: str = "unmasked") -> tuple[FigureName, FigureName]:
    """Precision and hit rate, by which arms are compared."""
    precision = replace(section.headline, group=group)
    return precision, replace(precision, metric="hit_rate")


def _verdict(section: Section, group: str) -> list[str]:
    """The best trained arm on the final split, and how it stands against the best baseline."""
    split = section.final_split
    precision, _ = main_figures(section, group)
    ranked = [arm for arm in section.ranked_by(split, precision) if arm.figure(split, precision).n]
    trained = next((arm for arm in ranked if not arm.is_baseline), None)
    baseline = next((arm for arm in ranked if arm.is_baseline), None)
    where = f"On {split}, {_in_words(group)}"
    if trained is None and baseline is None:
        return []
    if trained is None:
        assert baseline is not None
        return [f"{where}, the best baseline is {_reached(section, baseline, group)}."]
    best = f"{where}, the best trained model is {_reached(section, trained, group)}"
    if baseline is None:
        return [f"{best}. No baseline was judged on these windows, so nothing says how good it is."]
    return [f"{best}. {_comparison(section, trained, baseline, precision)}"]


def _behind(section: Section) -> list[str]:
    """The trained arms, the best one apart, that stay below the best baseline."""
    split = section.final_split
    behind: dict[str, list[str]] = {}
    found = []
    for group in rankings(section):
        precision, _ = main_figures(section, group)
        ranked = section.ranked_by(split, precision)
        means = {arm.label: arm.figure(split, precision).mean or 0.0 for arm in ranked}
        trained = [arm.label for arm in ranked if not arm.is_baseline and arm.complete]
        baselines = [arm.label for arm in ranked if arm.is_baseline]
        if not baselines:
            continue
        best = max(baselines, key=means.__getitem__)
        behind[group] = [label for label in trained[1:] if means[label] < means[best]]
        if behind[group]:
            names = measures.enumeration(
                [f"{label} ({measures.digits(means[label])})" for label in behind[group]]
            )
            found.append(
                f"On {split}, {_in_words(group)}, these stay below the best baseline, {best} "
                f"({measures.digits(means[best])}): {names}."
            )
    if behind.get("unmasked") and "masked" in behind:
        freed = [label for label in behind["unmasked"] if label not in behind["masked"]]
        if freed:
            found.append(
                f"With the seen items masked, {measures.enumeration(freed)} are not below it: what "
                "they lose unmasked goes to items of the input that they recommend again."
            )
    return found


def _reached(section: Section, arm: Arm, group: str) -> str:
    said = []
    for name in main_figures(section, group):
        figure = arm.figure(section.final_split, name)
        if figure.n:
            said.append(f"{_spoken(section, name)} {figure.text}")
    seeds = "" if arm.is_baseline else f" ({_seeds(arm)})"
    return f"{arm.label}: {measures.enumeration(said)}{seeds}"


def _seeds(arm: Arm) -> str:
    n = len(arm.complete)
    if n == 1:
        return "one run, so its spread over seeds is unknown"
    return f"mean ± standard deviation over {n} {'seeds' if len(arm.seeds) == n else 'runs'}"


def _comparison(section: Section, trained: Arm, baseline: Arm, precision: FigureName) -> str:
    split = section.final_split
    ours, theirs = (arm.figure(split, precision) for arm in (trained, baseline))
    assert ours.mean is not None
    assert theirs.mean is not None
    difference = ours.mean - theirs.mean
    by = f"{measures.digits(abs(difference))} ({abs(difference) / theirs.mean:.1%})" if (
        theirs.mean > 0
    ) else measures.digits(abs(difference))  # fmt: skip
    against = f"the best baseline, {baseline.label} ({theirs.text})"
    if difference > 0:
        said = f"It beats {against} by {by}"
    elif difference < 0:
        said = f"It does not beat {against}: it stays {by} below"
    else:
        said = f"It does not beat {against}: the two are equal"
    return f"{said}{_within_spread(difference, ours)}."


def _within_spread(difference: float, ours: Figure) -> str:
    if ours.sd is None or abs(difference) >= 2 * ours.sd or difference == 0:
        return ""
    return ", a difference of less than two standard deviations over seeds, so it settles nothing"


def _gap(section: Section) -> list[str]:
    """How much of the validation figure was owed to choosing the epoch on it."""
    if schema.TEST not in section.splits or schema.VALIDATION not in section.splits:
        return (
            ["There is no test split: the figures stand on the very windows on which the best "
             "epoch was chosen, which flatters every trained model a little."]
            if section.splits == (schema.VALIDATION,) and any(a.complete for a in section.arms
                                                              if not a.is_baseline)
            else []
        )  # fmt: skip
    arm = next((a for a in section.ranked if not a.is_baseline and a.complete), None)
    if arm is None:
        return []
    chosen = arm.figure(schema.VALIDATION, section.headline)
    judged = arm.figure(schema.TEST, section.headline)
    if chosen.mean is None or judged.mean is None:
        return []
    return [
        f"{arm.label} has {chosen.text} on validation, where its epoch was chosen, and "
        f"{judged.text} on test, which chose nothing: the second is the honest figure."
    ]


def _against_paper(section: Section) -> list[str]:
    """How many of the paper's arms reach what it prints, the paper's own way."""
    if not section.is_papers or schema.VALIDATION not in section.splits:
        return []
    accuracy = published_ite.ACCURACY_1
    reached: list[str] = []
    missed: list[str] = []
    for arm in section.arms:
        printed = {} if arm.is_baseline else published_ite.printed(arm.runs[0].config)
        ours = arm.figure(schema.VALIDATION, accuracy).mean
        if not printed or ours is None:
            continue
        theirs = printed[accuracy.key]
        words = f"{arm.label} ({measures.digits(ours)}, printed {theirs:.4f})"
        (reached if ours >= theirs - _ROUNDING else missed).append(words)
    found = []
    if reached:
        found.append(
            "Judged the paper's way (best epoch on validation, unmasked), at or above its printed "
            f"Accuracy 1: {measures.enumeration(reached)}."
        )
    if missed:
        found.append(f"Below the paper's printed Accuracy 1: {measures.enumeration(missed)}.")
    return found


def _sampling(section: Section) -> list[str]:
    """What the number of windows alone allows to tell apart."""
    split = section.final_split
    _, hit_rate = main_figures(section)
    arm = next((a for a in section.ranked if a.figure(split, hit_rate).mean), None)
    if arm is None:
        return []
    windows = arm.complete[0].judgements[split].num_windows
    rate = arm.figure(split, hit_rate).mean
    if not windows or rate is None or not 0 < rate < 1:
        return []
    margin = 1.96 * math.sqrt(rate * (1 - rate) / windows)
    return [
        f"{split.capitalize()} has {windows:,} windows, so a hit rate of {rate:.2f} carries a "
        f"sampling error of at least ±{margin:.3f} (95%), which the spread over seeds does not "
        "show."
    ]


def accuracies(section: Section) -> Table:
    """Precision and hit rate on every judged split and ranking, beside the paper's figures."""
    columns: list[Column] = []
    sources: list[tuple[str, FigureName] | FigureName] = []
    for split in reversed(section.splits):  # the split that nothing was chosen on comes first
        for group in rankings(section) or [section.headline.group]:
            for name in main_figures(section, group):
                columns.append(_column(section, name, split_title(section, split)))
                sources.append((split, name))
        if split == schema.VALIDATION and section.is_papers:
            printed = _printed_columns()
            columns += printed.values()
            sources += printed
    rows = [row(arm, [_cell(section, arm, source) for source in sources]) for arm in section.ranked]
    titles = [_title(section, name) for name in main_figures(section)]
    return Table(" and ".join(titles), tuple(columns), marked(columns, rows))


def split_title(section: Section, split: str) -> str:
    """The split, and what the epoch was chosen on."""
    if split == schema.VALIDATION:
        papers = " (as in the paper)" if section.is_papers else ""
        return f"Validation: best epoch chosen on this very split{papers}"
    if schema.VALIDATION in section.splits:
        return f"{split.capitalize()}: epoch chosen on validation, judged on {split}"
    return split.capitalize()


def details(section: Section, split: str, group: str) -> Table:
    """Every measure on one split, with or without the items of the input in the ranking.

    Of precision only one: further down the list it repeats recall.
    """
    precision, _ = main_figures(section, group)
    shown = [
        name
        for name in section.figures
        if name.group == group and (name.metric != precision.metric or name == precision)
    ]
    columns = []
    shown = shown or list(main_figures(section, group))
    for name in shown:
        metric, at, k = measures.label(name).partition("@")
        subtitle = (published_ite.name(name) if section.is_papers else None) or ""
        columns.append(column_of(name, at + k if k else metric, subtitle, metric))
    rows = [
        row(arm, [figure_cell(section, arm, split, name) for name in shown])
        for arm in section.ranked_by(split, precision)
    ]
    title = f"{split.capitalize()}, {_in_words(group)}"
    return Table(title, tuple(columns), marked(columns, rows))


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
    """Findings, the two main figures, curves, every measure, and sampled users."""

    def sentences(self) -> list[str]:
        """The findings, the answer first."""
        return sentences(self.section)

    def results(self) -> Table:
        """The two main figures."""
        return accuracies(self.section)

    def content(self) -> Content:
        """What stands on the page."""
        section = self.section
        shown = curves.Shown(
            main_figures(section),
            lambda name: _title(section, name),
            lambda arm, name: _printed(section, arm, name),
            published_ite.SOURCE,
        )
        return Content(
            sentences=self.sentences(),
            results=self.results(),
            results_remark=_results_remark(section),
            dots=curves.dots(section, shown),
            dots_remark=_dots_remark(section),
            overlay=curves.overlay(section, shown),
            curves=curves.of_arms(section, shown),
            curves_remark=_curves_remark(section),
            details=[
                details(section, split, group)
                for split in reversed(section.splits)
                for group in rankings(section)
            ],
            details_remark=notes(section),
            samples=samples.of(section),
        )

    @classmethod
    def across(cls, found: Sequence[Section]) -> Table:
        """The same arms on several data sets."""
        return across(found)


def _results_remark(section: Section) -> str:
    said = ["Mean ± sample standard deviation over seeds; the highest of a column is bold."]
    masked = "“masked” leaves the items of the input out of the ranking."
    if section.is_papers:
        said.append(
            "The paper's Accuracy 1 is precision@5, its Accuracy 2 is hit rate@5; " + masked
        )
        said.append(
            "The paper picks its best epoch on the validation windows it reports: its figures "
            f"({published_ite.SOURCE}) are to be compared with the unmasked validation columns."
        )
    else:
        said.append(masked)
    return " ".join([*said, "Baselines have no epochs to choose."])


def _dots_remark(section: Section) -> str:
    said = "A circle is one run, the bar their mean, baselines are grey."
    if section.is_papers:
        said += (
            " The dashed tick is what the paper prints for its validation windows "
            f"({published_ite.SOURCE})."
        )
    return said


def _curves_remark(section: Section) -> str:
    sample = curves.training_sample(section)
    judged = f" Training figures are judged on {sample:,} training windows." if sample else ""
    return (
        f"Nothing masked.{judged} Point at a chart, or give it the focus and use the arrow keys, "
        "to read its figures."
    )


def _printed_columns() -> dict[FigureName, Column]:
    """The paper's two figures."""
    return {
        name: Column(published_ite.name(name) or "", name.key, "Printed in the paper", scores=False)
        for name in (published_ite.ACCURACY_1, published_ite.ACCURACY_2)
    }


def _column(section: Section, name: FigureName, group: str) -> Column:
    subtitle = f"{name.key} {name.group}" if section.is_papers else name.group
    return column_of(name, _short_title(section, name), subtitle, group)


def _cell(section: Section, arm: Arm, source: tuple[str, FigureName] | FigureName) -> Cell:
    """A figure of an arm on a split; a name alone stands for what the paper prints."""
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


def _spoken(section: Section, name: FigureName) -> str:
    papers = published_ite.name(name) if section.is_papers else None
    return f"{papers} ({measures.words(name)})" if papers else measures.words(name)


def _in_words(group: str) -> str:
    return "seen items masked" if group == "masked" else group
