"""Charts of runs: metrics per epoch, and models compared on one axis."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from itrec_dist.data import schema
from itrec_dist.metrics.metric import LOSS, RANKINGS, FigureName
from itrec_dist.reports.arms import Arm, Section
from itrec_dist.reports.charts import (
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
from itrec_dist.reports.runs import Epoch, Run

TRAINING, VALIDATION = "#6b7686", PALETTE[0]


@dataclass(frozen=True)
class Chart:
    """One drawn chart with its caption."""

    title: str
    svg: str


@dataclass(frozen=True)
class ChartSet:
    """The charts of one arm."""

    title: str
    remark: str
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Shown:
    """What the charts of a section show."""

    figures: tuple[FigureName, ...]
    title: Callable[[FigureName], str]
    printed: Callable[[Arm, FigureName], float | None] = lambda *_: None
    """The published value of an arm, None if there is none."""
    source: str = ""
    """The publication."""


def of_arms(section: Section, shown: Shown) -> list[ChartSet]:
    """Charts of the loss and the chosen metrics, for every arm with at least one epoch."""
    return [
        ChartSet(arm.label, _remark(arm), tuple(_figures(section, arm, shown)))
        for arm in section.ranked
        if any(run.epochs for run in arm.runs)
    ]


def overlay(section: Section, shown: Shown) -> list[Chart]:
    """Validation metrics of all arms (means over seeds) and the baselines."""
    arms = [arm for arm in section.ranked if any(run.epochs for run in arm.runs)]
    if len(arms) < 2:
        return []
    figures = []
    for name in shown.figures:
        lines = tuple(
            Line(
                arm.label,
                mean_curve([points(run, value_of("validation", name)) for run in arm.runs]),
                colour,
            )
            for arm, colour in colours(section)
            if arm in arms
        )
        levels = tuple(_baselines(section, name))
        title = shown.title(name)
        chart = LineChart(title, lines, levels, width=680, height=370, label_width=190)
        if svg := line_chart(chart):
            figures.append(Chart(", ".join([title, "validation", *_plain_group(name)]), svg))
    return figures


def dots(section: Section, shown: Shown) -> list[Chart]:
    """All arms on one axis per metric: a dot per seed, a published value as a dashed tick."""
    figures = []
    for name in shown.figures:
        title = f"{shown.title(name)} on {', '.join([section.final_split, *_plain_group(name)])}"
        printed = {arm.key: shown.printed(arm, name) for arm in section.arms}
        figures += dots_of(section, name, title, (shown.source, printed))
    return figures


def dots_of(
    section: Section,
    name: FigureName,
    title: str,
    source: tuple[str, Mapping[str, float | None]],
    *,
    below: float | None = None,
) -> list[Chart]:
    """All arms on one axis for a metric; `source` is a publication and its values by arm.

    `below` is for errors: larger values are omitted, and the axis does not start at 0.
    """
    rows = []
    for arm, colour in colours(section):
        every = (
            run.judgements[section.final_split].value(name)
            for run in arm.complete
            if section.final_split in run.judgements
        )
        values = tuple(v for v in every if v is not None and (below is None or v < below))
        rows.append(DotRow(arm.label, values, colour, source[1][arm.key]))
    svg = dot_chart(rows, title, source[0], width=640, from_zero=below is None)
    return [Chart(title, svg)] if svg else []


def colours(section: Section) -> list[tuple[Arm, str]]:
    """A colour per arm, best first; baselines are grey."""
    trained = [arm for arm in section.ranked if not arm.is_baseline]
    by_key = {arm.key: PALETTE[at % len(PALETTE)] for at, arm in enumerate(trained)}
    return [(arm, by_key.get(arm.key, MUTED)) for arm in section.ranked]


def training_sample(section: Section) -> int | None:
    """The number of training windows that training metrics were computed on."""
    counts = (
        epoch.train.num_windows
        for arm in section.arms
        for run in arm.runs
        for epoch in run.epochs
        if epoch.train is not None
    )
    return next(counts, None)


def _figures(section: Section, arm: Arm, shown: Shown) -> list[Chart]:
    losses = [*_lines(arm, "training", TRAINING, lambda e: e.loss)]
    losses += _lines(arm, "validation", VALIDATION, value_of("validation", LOSS))
    charts = [LineChart("Loss", tuple(losses), label_width=72)]
    for name in shown.figures:
        if name == LOSS:
            continue
        lines = [
            *_lines(arm, "training", TRAINING, value_of("train", name)),
            *_lines(arm, "validation", VALIDATION, value_of("validation", name)),
        ]
        levels = _baselines(section, name)
        printed = shown.printed(arm, name)
        if printed is not None:
            levels.append(Level("paper's best", printed, INK, "1.5 3"))
        chart = LineChart(shown.title(name), tuple(lines), tuple(levels), label_width=128)
        charts.append(chart)
    drawn = [Chart(chart.title, line_chart(chart)) for chart in charts]
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
    """A metric by epoch, where it exists."""
    values = ((float(epoch.number), value(epoch)) for epoch in run.epochs)
    return tuple((at, y) for at, y in values if y is not None)


def mean_curve(curves: Sequence[tuple[Point, ...]]) -> tuple[Point, ...]:
    """The mean over seeds, up to the last epoch of all of them, so that no seed's end is a jump."""
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


def value_of(
    part: Literal["train", "validation"], name: FigureName
) -> Callable[[Epoch], float | None]:
    """A function that reads a metric from an epoch's judgement of training sample or validation."""

    def value(epoch: Epoch) -> float | None:
        judgement = epoch.train if part == "train" else epoch.validation
        return None if judgement is None else judgement.value(name)

    return value


def _baselines(section: Section, name: FigureName) -> list[Level]:
    """Baselines on validation, like the curves, whatever the final split is."""
    levels = []
    for arm in section.ranked_by(schema.VALIDATION, name):
        value = arm.figure(schema.VALIDATION, name).mean
        if arm.is_baseline and value is not None:
            levels.append(Level(arm.label, value))
    return levels


def _plain_group(name: FigureName) -> list[str]:
    """The group, if it is one of several rankings."""
    return [name.group] if name.group in RANKINGS else []


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
        parts.append(f"the loss was not finite from epoch {broken[0]} on")
    sentence = "; ".join(parts)
    return sentence[:1].upper() + sentence[1:] + "." if sentence else ""
