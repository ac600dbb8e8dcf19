"""The paper's figures from logs: loss, Accuracy 1 and Accuracy 2 per epoch, and models compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from itrec_dist.data import schema
from itrec_dist.report import measures
from itrec_dist.report.arms import Arm, Section
from itrec_dist.report.charts import (
    INK,
    MUTED,
    PALETTE,
    DotRow,
    Level,
    Line,
    LineChart,
    Point,
    dot_chart,
    line_chart,
)
from itrec_dist.report.measures import ACCURACY_1, ACCURACY_2
from itrec_dist.report.published import ite as published_ite
from itrec_dist.report.runs import Epoch, Judgement, Run

TRAINING, VALIDATION = "#6b7686", PALETTE[0]


@dataclass(frozen=True)
class Figure:
    """One drawn chart with its caption."""

    title: str
    svg: str


@dataclass(frozen=True)
class FigureSet:
    """The three charts of one arm, as in the paper."""

    title: str
    remark: str
    figures: tuple[Figure, ...]


def of_arms(section: Section) -> list[FigureSet]:
    """Per trained arm with at least one epoch: training loss, Accuracy 1 and Accuracy 2."""
    return [
        FigureSet(arm.label, _remark(arm), tuple(_figures(section, arm)))
        for arm in section.ranked
        if any(run.epochs for run in arm.runs)
    ]


def overlay(section: Section) -> list[Figure]:
    """Validation Accuracy 1 and 2 of all arms (means over seeds) beside the baselines."""
    arms = [arm for arm in section.ranked if any(run.epochs for run in arm.runs)]
    if len(arms) < 2:
        return []
    figures = []
    for metric in (ACCURACY_1, ACCURACY_2):
        lines = tuple(
            Line(
                arm.label,
                mean_curve([points(r, _value("validation", metric)) for r in arm.runs]),
                c,
            )
            for arm, c in colours(section)
            if arm in arms
        )
        levels = tuple(_baselines(section, metric))
        chart = LineChart(_title(metric), lines, levels, width=680, height=370, label_width=190)
        if svg := line_chart(chart):
            figures.append(Figure(f"{_title(metric)}, validation, unmasked", svg))
    return figures


def dots(section: Section) -> list[Figure]:
    """All arms on one axis per measure: a dot per seed, the paper's figure as a dashed tick."""
    figures = []
    for metric in (ACCURACY_1, ACCURACY_2):
        title = f"{_title(metric)} on {section.final_split}, unmasked"
        printed = {arm.key: _printed(section, arm, metric) for arm in section.arms}
        figures += dots_of(section, metric, title, (published_ite.SOURCE, printed))
    return figures


def dots_of(
    section: Section,
    metric: str,
    title: str,
    source: tuple[str, Mapping[str, float | None]],
    *,
    below: float | None = None,
) -> list[Figure]:
    """All arms on one axis of a measure; `source` is who printed figures, and of which arms.

    `below` is for errors: values that reach it are left out, and the axis does not begin at 0.
    """
    rows = []
    for arm, colour in colours(section):
        found = (
            run.judgements[section.final_split].values.get(("unmasked", metric))
            for run in arm.complete
            if section.final_split in run.judgements
        )
        values = tuple(v for v in found if v is not None and (below is None or v < below))
        rows.append(DotRow(arm.label, values, colour, source[1][arm.key]))
    svg = dot_chart(rows, title, source[0], width=640, from_zero=below is None)
    return [Figure(title, svg)] if svg else []


def colours(section: Section) -> list[tuple[Arm, str]]:
    """A colour per arm, best first; baselines are grey."""
    trained = [arm for arm in section.ranked if not arm.is_baseline]
    by_key = {arm.key: PALETTE[at % len(PALETTE)] for at, arm in enumerate(trained)}
    return [(arm, by_key.get(arm.key, MUTED)) for arm in section.ranked]


def training_sample(section: Section) -> int | None:
    """Training windows that the training accuracies were judged on."""
    counts = (
        epoch.train.num_windows
        for arm in section.arms
        for run in arm.runs
        for epoch in run.epochs
        if epoch.train is not None
    )
    return next(counts, None)


def _figures(section: Section, arm: Arm) -> list[Figure]:
    losses = [*_lines(arm, "training", TRAINING, lambda e: e.loss)]
    losses += _lines(arm, "validation", VALIDATION, _validation_loss)
    charts = [LineChart("Loss", tuple(losses), label_width=72)]
    for metric in (ACCURACY_1, ACCURACY_2):
        lines = [
            *_lines(arm, "training", TRAINING, _value("train", metric)),
            *_lines(arm, "validation", VALIDATION, _value("validation", metric)),
        ]
        levels = _baselines(section, metric)
        printed = _printed(section, arm, metric)
        if printed is not None:
            levels.append(Level("paper's best", printed, INK, "1.5 3"))
        charts.append(LineChart(_title(metric), tuple(lines), tuple(levels), label_width=128))
    drawn = [Figure(chart.title, line_chart(chart)) for chart in charts]
    return [figure for figure in drawn if figure.svg]


def _lines(arm: Arm, label: str, colour: str, value: Callable[[Epoch], float | None]) -> list[Line]:
    curves = [points(run, value) for run in arm.runs]
    marks = [_best(run, points) for run, points in zip(arm.runs, curves, strict=True)]
    if label != "validation":
        marks = [() for _ in curves]
    if len(curves) == 1:
        return [Line(label, curves[0], colour, marks=marks[0])]
    thin = [
        Line(label, points, colour, is_thin=True, marks=mark)
        for points, mark in zip(curves, marks, strict=True)
    ]
    return [*thin, Line(label, mean_curve(curves), colour)]


def points(run: Run, value: Callable[[Epoch], float | None]) -> tuple[Point, ...]:
    """A figure per epoch, where there is one."""
    found = ((float(epoch.number), value(epoch)) for epoch in run.epochs)
    return tuple((at, y) for at, y in found if y is not None)


def mean_curve(curves: Sequence[tuple[Point, ...]]) -> tuple[Point, ...]:
    """The mean over seeds, as far as every seed that has begun goes: no jump where one stops."""
    by_epoch = [dict(points) for points in curves if points]
    if not by_epoch:
        return ()
    shared = sorted(set.intersection(*(set(points) for points in by_epoch)))
    return tuple((at, sum(p[at] for p in by_epoch) / len(by_epoch)) for at in shared)


def _best(run: Run, points: tuple[Point, ...]) -> tuple[Point, ...]:
    chosen = run.best_epoch
    if chosen is None:
        chosen = max((e.number for e in run.epochs if e.is_best), default=None)
    return tuple(point for point in points if point[0] == chosen)


def _value(part: str, metric: str) -> Callable[[Epoch], float | None]:
    def value(epoch: Epoch) -> float | None:
        judgement: Judgement | None = getattr(epoch, part)
        return None if judgement is None else judgement.values.get(("unmasked", metric))

    return value


def _validation_loss(epoch: Epoch) -> float | None:
    return None if epoch.validation is None else epoch.validation.loss


def _baselines(section: Section, metric: str) -> list[Level]:
    """On validation, as the curves are, whatever the final split is."""
    levels = []
    for arm in section.ranked_by(schema.VALIDATION, "unmasked", metric):
        value = arm.figure(schema.VALIDATION, "unmasked", metric).mean
        if arm.is_baseline and value is not None:
            levels.append(Level(arm.label, value))
    return levels


def _printed(section: Section, arm: Arm, metric: str) -> float | None:
    if not section.is_papers or arm.is_baseline:
        return None
    return published_ite.printed(arm.runs[0].config).get(metric)


def _title(metric: str) -> str:
    return f"{measures.paper_name(metric)} ({metric.replace('_', ' ')})"


def _remark(arm: Arm) -> str:
    parts = []
    if len(arm.runs) > 1:
        parts.append(f"thin: each of {len(arm.runs)} seeds, thick: their mean")
    chosen = [str(run.best_epoch) for run in arm.runs if run.best_epoch is not None]
    if chosen:
        word = "epoch" if len(chosen) == 1 else "epochs"
        parts.append(f"circles: best {word} ({', '.join(chosen)})")
    if arm.status:
        parts.append(arm.status)
    broken = sorted({e.number for run in arm.runs for e in run.epochs if e.loss is None})
    if broken:
        parts.append(f"the loss was no finite number from epoch {broken[0]} on")
    sentence = "; ".join(parts)
    return sentence[:1].upper() + sentence[1:] + "." if sentence else ""
