"""Sections of rating prediction: findings, tables and curves of RMSE.

Owns what differs from sections of next items: less is better, there is one ranking of the arms,
and the printed figures are those of another source. Tables are those of `tables.py`.
"""

from collections.abc import Sequence
from pathlib import Path

from itrec_dist.data import schema
from itrec_dist.report import measures, provenance
from itrec_dist.report.arms import Arm, Section, sections
from itrec_dist.report.charts import INK, Level, Line, LineChart, line_chart
from itrec_dist.report.curves import Figure, FigureSet, colours, dots_of, mean_curve, points
from itrec_dist.report.markdown import markdown_table
from itrec_dist.report.measures import MAE, MISSING, RMSE
from itrec_dist.report.published import rating_study
from itrec_dist.report.runs import Epoch, find, read
from itrec_dist.report.tables import Cell, Column, Row, Table, cell_of, marked, names, row

_ROUNDING = 0.0005  # the source prints three decimals
_REFERENCE = "Biased MF"
_FAR = 1.0  # an RMSE, as of the mean of all ratings, beside which all others look alike


def sentences(section: Section) -> list[str]:
    """The section's findings, the answer first."""
    split = section.final_split
    ranked = [arm for arm in section.ranked if _rmse(arm, split) is not None]
    if not ranked:
        runs = sum(len(arm.runs) for arm in section.arms)
        return [f"None of the {runs} runs has a final judgement yet."]
    best = ranked[0]
    found = [f"On {split}, the lowest RMSE is that of {_reached(best, split)}."]
    found += _against_reference(ranked, split)
    found += _against_source(section)
    if schema.VALIDATION in section.splits and split != schema.VALIDATION:
        found.append(
            f"{best.label} has {best.figure(schema.VALIDATION, 'unmasked', RMSE).text} on "
            "validation, where its epoch was chosen."
        )
    left_out = [arm.label for arm in section.arms if not arm.complete]
    if left_out:
        verb = "is" if len(left_out) == 1 else "are"
        found.append(f"{measures.enumeration(left_out)} {verb} not complete and not counted here.")
    return found


def results(section: Section) -> Table:
    """RMSE and MAE on every judged split, the printed figures beside them, and the best epoch."""
    columns: list[Column] = []
    has_printed = rating_study.applies(section.manifest)
    if has_printed:
        columns.append(Column("RMSE", "at epoch", "Printed by the source", scores=False))
    for split in reversed(section.splits):
        for metric in (RMSE, MAE):
            columns.append(Column(metric.upper(), "", split.capitalize(), falls=True))
    columns.append(Column("Best epoch", "on validation", "Course", scores=False))
    columns.append(Column("Wall time", "whole run", "Course", scores=False))
    rows = []
    for arm in section.ranked:
        cells = [_printed_cell(arm)] if has_printed else []
        for split in reversed(section.splits):
            cells += [cell_of(arm.figure(split, "unmasked", m)) for m in (RMSE, MAE)]
        rows.append(row(arm, [*cells, *_course(arm)]))
    return Table("RMSE and MAE", tuple(columns), marked(columns, rows))


def across(found: Sequence[Section]) -> Table:
    """The same arms under several protocols: RMSE on the final split of each."""
    columns = [Column("RMSE", "", "Printed by the source", scores=False)]
    for section, name in zip(found, names(found), strict=True):
        columns.append(Column("RMSE", section.final_split, name, falls=True))
    by_key = {(s.fingerprint, arm.key): arm for s in found for arm in s.arms}
    firsts: dict[str, Arm] = {}
    for section in sorted(found, key=lambda s: -len(s.arms)):
        for arm in section.ranked:
            firsts.setdefault(arm.key, arm)
    rows: list[Row] = []
    for key, first in firsts.items():
        cells = [_printed_cell(first)]
        for section in found:
            here = by_key.get((section.fingerprint, key))
            cells.append(
                cell_of(here.figure(section.final_split, "unmasked", RMSE))
                if here
                else Cell(MISSING)
            )
        rows.append(row(first, cells, tag="baseline" if first.is_baseline else ""))
    remarks = (
        "Columns of different data are not comparable with each other: read down, not across.",
        rating_study.REMARK,
    )
    return Table("Rating prediction", tuple(columns), marked(columns, rows), remarks)


def markdown(places: Sequence[Path]) -> str:
    """The result tables over runs (or folders of runs) as Markdown: mean ± sd per arm.

    Raises:
        CheckpointError: a place holds no run, or a damaged one.
    """
    found = [s for s in sections([read(path) for path in find(places)]) if s.is_ratings]
    blocks = [markdown_table(across(found))] if len(found) > 1 else [rating_study.REMARK]
    for section, name in zip(found, names(found), strict=True):
        lines = [f"## {name}", "", f"Data fingerprint `{section.fingerprint[:16]}`.", ""]
        told = [*sentences(section), *provenance.audit_sentences(section)]
        blocks.append("\n".join([*lines, *(f"- {sentence}" for sentence in told)]))
        blocks.append(markdown_table(results(section)))
    return "\n\n".join(blocks) + "\n"


def dots(section: Section) -> list[Figure]:
    """All arms on one axis: a dot per seed, the printed figure as a dashed tick."""
    printed = {arm.key: _printed(section, arm) for arm in section.arms}
    source = (rating_study.SOURCE, printed)
    return dots_of(section, RMSE, f"RMSE on {section.final_split}", source, below=_FAR)


def overlay(section: Section) -> list[Figure]:
    """Validation RMSE per epoch of all arms (means over seeds) beside the baselines."""
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
        and (value := arm.figure(schema.VALIDATION, "unmasked", RMSE).mean) is not None
        and value < _FAR
    )
    svg = line_chart(LineChart("RMSE", lines, levels, width=680, height=370, label_width=190))
    return [Figure("RMSE per epoch, validation", svg)] if svg else []


def of_arms(section: Section) -> list[FigureSet]:
    """The source's figure of every trained arm: training and validation RMSE per epoch."""
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
            figures.append(Figure(arm.label, svg))
    return [FigureSet("RMSE per epoch of each", "", tuple(figures))] if figures else []


def _validation(epoch: Epoch) -> float | None:
    return None if epoch.validation is None else epoch.validation.values.get(("unmasked", RMSE))


def _training(epoch: Epoch) -> float | None:
    return None if epoch.train is None else epoch.train.values.get(("unmasked", RMSE))


def _rmse(arm: Arm, split: str) -> float | None:
    return arm.figure(split, "unmasked", RMSE).mean


def _reached(arm: Arm, split: str) -> str:
    n = len(arm.complete)
    seeds = "" if arm.is_baseline else " (one run)" if n == 1 else f" (mean ± sd over {n} runs)"
    return f"{arm.label}: {arm.figure(split, 'unmasked', RMSE).text}{seeds}"


def _against_reference(ranked: Sequence[Arm], split: str) -> list[str]:
    """Which arms a tuned biased factorisation, or else the best baseline, beats."""
    reference = next((arm for arm in ranked if arm.label.startswith(_REFERENCE)), None)
    reference = reference or next((arm for arm in ranked if arm.is_baseline), None)
    if reference is None:
        return ["No baseline was judged on these ratings, so nothing says how good that is."]
    level = _rmse(reference, split)
    assert level is not None
    behind = [arm for arm in ranked if not arm.is_baseline and (_rmse(arm, split) or 0.0) > level]
    if not behind:
        return [f"No trained model stays behind {_reached(reference, split)}."]
    listed = measures.enumeration(
        [f"{arm.label} ({measures.digits(_rmse(arm, split))})" for arm in behind]
    )
    return [f"Behind {_reached(reference, split)} stay {listed}."]


def _against_source(section: Section) -> list[str]:
    """How many of the source's systems reach what it prints."""
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
    """How long all of the source's systems take, where all were trained."""
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
        f"One run of each of the source's {len(seconds)} systems, from shards to judgement, takes "
        f"{measures.duration(total)} in all, one after another."
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


def _course(arm: Arm) -> list[Cell]:
    runs = arm.complete or arm.runs
    best = sorted(run.best_epoch for run in runs if run.best_epoch is not None)
    seconds = measures.figure(run.seconds for run in runs)
    return [
        Cell(", ".join(map(str, best)) or MISSING, value=float(best[0]) if best else None),
        Cell(measures.duration(seconds.mean), value=seconds.mean),
    ]
