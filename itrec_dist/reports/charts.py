"""Charts as SVG text: lines over epochs, and dots per model.

They are drawn here and not in the browser, so that a page stays small, prints sharply and shows its
curves without scripts; `page.js` adds the read-out under the pointer. This module handles numbers,
labels and colours, not runs.
"""

import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import accumulate, pairwise

from itrec_dist.reports import measures

INK, MUTED, GRID = "#1c2430", "#5b6675", "#e4e8ee"

PALETTE = (
    "#0b5cad", "#b8430b", "#0f766e", "#7a35c9", "#b3195f", "#7a5a00", "#3d6b1f", "#4a5568",
)  # fmt: skip
"""Colours of arms, each with a contrast of at least 4.5:1 on white; lines also have labels."""

_LINE, _LETTER = 14, 6.4  # height of a line and width of a letter of a tick, in pixels
_NAME_LETTER = 7.3  # of a name beside dots

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One curve; `points` in order of x."""

    label: str
    points: tuple[Point, ...]
    colour: str
    is_thin: bool = False
    """Drawn faintly, without label and read-out, such as one of several seeds."""
    dash: str = ""
    marks: tuple[Point, ...] = ()
    """Where a dot is drawn, such as the chosen epoch."""


@dataclass(frozen=True)
class Level:
    """A horizontal reference line."""

    label: str
    value: float
    colour: str = MUTED
    dash: str = "5 3"


@dataclass(frozen=True)
class LineChart:
    """Curves over epochs."""

    title: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()
    width: int = 460
    height: int = 300
    label_width: int = 112
    x_label: str = "epoch"
    x_names: tuple[str, ...] = ()
    """Names of the places 0, 1, 2 ... of the x axis, in place of numbers: values are then shares,
    and their axis begins at 0."""

    @property
    def is_log(self) -> bool:
        """Whether the y axis is logarithmic: the values span more than a factor of ten."""
        values = [y for line in self.lines for _, y in line.points]
        spans = bool(values) and min(values) > 0 and max(values) / min(values) > 10
        return spans and not self.x_names


@dataclass(frozen=True)
class DotRow:
    """One model: a dot per seed, a bar at the mean, and a published value if any."""

    label: str
    values: tuple[float, ...]
    colour: str
    printed: float | None = None
    is_strong: bool = False


@dataclass
class Scale:
    """Maps values from [low, high] to pixels from `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The position of a value, in pixels."""
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.stop - self.start), 2)


@dataclass
class _Label:
    """A label at the right edge: the middle of its lines where it belongs, and where it gets."""

    text: str
    colour: str
    target: float
    at: float = field(default=0.0)
    half: float = field(default=0.0)
    """Half its height, with some space around several lines."""
    lines: list[str] = field(default_factory=list)


def line_chart(chart: LineChart) -> str:
    """The chart as an `<svg>` element; an empty string if it has no points."""
    lines = [line for line in chart.lines if line.points]
    if not lines:
        return ""
    left, right, top = 52, chart.width - chart.label_width, 12
    bottom = chart.height - 24 - _LINE * max([1, *map(len, _wrapped(chart, right - left))])
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points] + [level.value for level in chart.levels]
    x = Scale(min(xs), max(xs), left, right)
    if chart.x_names:
        x = Scale(0, len(chart.x_names) - 1, left, right)
        ys.append(0.0)
    ticks = _log_ticks(min(ys), max(ys)) if chart.is_log else _ticks(min(ys), max(ys))
    low, high = min(*ys, *ticks[:1]), max(*ys, *ticks[-1:])
    y = Scale(low, high, bottom, top, chart.is_log)
    parts = [_axes(chart, x, y, ticks, (left, right, top, bottom))]
    parts += [_level(level, y, left, right) for level in chart.levels]
    parts += [_line(line, x, y) for line in sorted(lines, key=lambda line: not line.is_thin)]
    named = [line for line in lines if not line.is_thin]
    labels = [_Label(line.label, line.colour, y(line.points[-1][1])) for line in named]
    labels += [_Label(level.label, level.colour, y(level.value)) for level in chart.levels]
    parts += _placed(labels, (right, chart.width), (top, bottom))
    readout = {
        "x": [x.low, x.high, left, right],
        "y": [y.low, y.high, bottom, top, y.is_log],
        "top": top,
        "xLabel": chart.x_label,
        "xNames": chart.x_names,
        "lines": [
            {"label": line.label, "colour": line.colour, "points": _rounded(line.points)}
            for line in named
        ],
        "levels": [{"label": v.label, "colour": v.colour, "value": v.value} for v in chart.levels],
    }
    return (
        f'<svg class="chart" viewBox="0 0 {chart.width} {chart.height}" role="img" tabindex="0" '
        f'aria-label="{escape(_spoken(chart, named))}" '
        f'data-readout="{escape(json.dumps(readout))}">{"".join(parts)}</svg>'
    )


def dot_chart(
    rows: Sequence[DotRow], title: str, printed_label: str, width: int = 900, *,
    from_zero: bool = True,
) -> str:  # fmt: skip
    """Models below each other on one axis, as an `<svg>` element; an empty string without values.

    An axis that starts at 0 has bars; one that starts near the lowest value has none, because their
    lengths would be meaningless.
    """
    rows = [row for row in rows if row.values]
    if not rows:
        return ""
    names = [_lines_of(row.label, letters=34, most=3) for row in rows]
    heights = [13 + _LINE * len(lines) for lines in names]
    top = 6
    left = 24 + _NAME_LETTER * max(len(line) for lines in names for line in lines)
    right, bottom = width - 150, top + sum(heights)
    every = [v for r in rows for v in (*r.values, *(() if r.printed is None else (r.printed,)))]
    ticks = _ticks(min(0.0, *every) if from_zero else min(every), max(every))
    x = Scale(ticks[0], max(*every, *ticks), left, right)
    parts = [
        f'<line x1="{x(t)}" x2="{x(t)}" y1="{top}" y2="{bottom}" stroke="{GRID}"/>'
        f'<text x="{x(t)}" y="{bottom + 17}" class="tick" text-anchor="middle">'
        f"{_tick_text(t, ticks)}</text>"
        for t in ticks
    ]
    for row, lines, height, end in zip(rows, names, heights, accumulate(heights), strict=True):
        y = top + end - height / 2
        weight = ' font-weight="600"' if row.is_strong else ""
        parts.append(
            f'<text class="name" text-anchor="end"{weight}>'
            f"{_spans(lines, row.label, (left - 12, y + 4.5), _LINE)}</text>"
        )
        if from_zero:
            parts.append(_bar(row, x, y))
        parts.append(_dot_row(row, x, y, printed_label))
    return (
        f'<svg class="dots" viewBox="0 0 {width} {bottom + 26}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _bar(row: DotRow, x: Scale, y: float) -> str:
    mean = sum(row.values) / len(row.values)
    return (
        f'<line x1="{x.start}" x2="{x(mean)}" y1="{y}" y2="{y}" stroke="{row.colour}" '
        f'stroke-width="7" opacity="0.22"/>'
    )


def _dot_row(row: DotRow, x: Scale, y: float, printed_label: str) -> str:
    mean = sum(row.values) / len(row.values)
    weight = ' font-weight="600"' if row.is_strong else ""
    end = max(x(v) for v in row.values)
    parts = []
    if row.printed is not None:
        at = x(row.printed)
        end = max(end, at)
        parts.append(
            f'<path d="M{at} {y - 9}v18" stroke="{INK}" stroke-width="1.6" '
            f'stroke-dasharray="2 2"><title>{escape(printed_label)}: '
            f"{measures.digits(row.printed)}</title></path>"
        )
    parts += [
        f'<circle cx="{x(v)}" cy="{y}" r="4" fill="#fff" fill-opacity=".75" '
        f'stroke="{row.colour}" stroke-width="1.6"><title>{measures.digits(v)}</title></circle>'
        for v in row.values
    ]
    if len(row.values) > 1:
        parts.append(f'<path d="M{x(mean)} {y - 8}v16" stroke="{row.colour}" stroke-width="2.4"/>')
    text = measures.figure(row.values).text
    parts.append(f'<text x="{end + 12}" y="{y + 4.5}" class="value"{weight}>{text}</text>')
    return "".join(parts)


def _axes(
    chart: LineChart, x: Scale, y: Scale, ticks: Sequence[float], box: tuple[int, int, int, int]
) -> str:
    left, right, _, bottom = box
    parts = [
        f'<line x1="{left}" x2="{right}" y1="{y(t)}" y2="{y(t)}" stroke="{GRID}"/>'
        f'<text x="{left - 8}" y="{y(t) + 3.8}" class="tick" text-anchor="end">'
        f"{_tick_text(t, ticks)}</text>"
        for t in ticks
    ]
    if chart.x_names:
        parts += [
            f'<text x="{x(at)}" y="{bottom + 17 + _LINE * line}" class="tick" '
            f'text-anchor="middle">{escape(text)}</text>'
            for at, lines in enumerate(_wrapped(chart, right - left))
            for line, text in enumerate(lines)
        ]
    else:
        parts += [
            f'<text x="{x(t)}" y="{bottom + 17}" class="tick" text-anchor="middle">{t:.0f}</text>'
            for t in _whole_ticks(x.low, x.high)
        ]
    note = " · log scale" if chart.is_log else ""
    parts.append(
        f'<text x="{(left + right) / 2}" y="{chart.height - 5}" class="tick" text-anchor="middle">'
        f"{escape(chart.x_label)}{note}</text>"
    )
    return "".join(parts)


def _wrapped(chart: LineChart, width: int) -> list[list[str]]:
    """The names below the x axis, each in lines as wide as its place."""
    place = width / max(1, len(chart.x_names) - 1)
    letters = max(4, int(place / _LETTER))
    return [textwrap.wrap(name, letters, break_long_words=False) for name in chart.x_names]


def _level(level: Level, y: Scale, left: float, right: float) -> str:
    return (
        f'<line x1="{left}" x2="{right}" y1="{y(level.value)}" y2="{y(level.value)}" '
        f'stroke="{level.colour}" stroke-width="1.2" stroke-dasharray="{level.dash}"/>'
    )


def _line(line: Line, x: Scale, y: Scale) -> str:
    path = " ".join(f"{x(a)},{y(b)}" for a, b in line.points)
    width, opacity = (1, 0.4) if line.is_thin else (2.2, 1)
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    drawn = (
        f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="{width}" '
        f'opacity="{opacity}" stroke-linejoin="round" stroke-linecap="round"{dash}/>'
    )
    dots = line.marks if len(line.points) > 1 else (*line.marks, *line.points)
    return drawn + "".join(
        f'<circle cx="{x(a)}" cy="{y(b)}" r="3.2" fill="#fff" stroke="{line.colour}" '
        'stroke-width="1.6"/>'
        for a, b in dots
    )


def _placed(
    labels: list[_Label], across: tuple[float, float], down: tuple[float, float]
) -> Iterable[str]:
    """Labels in as many lines as there is room for, moved apart so that none overlap.

    They are as close to their targets as possible.
    """
    gap = 13.0
    right, edge = across
    top, bottom = down[0] - gap / 2, down[1] + 12 + gap / 2
    most = int(((bottom - top) / max(1, len(labels)) - 4) / gap)
    labels = sorted(labels, key=lambda label: label.target)
    floor = top
    for label in labels:
        label.lines = _lines_of(label.text, int((edge - right - 10) / _LETTER), most)
        label.half = gap * len(label.lines) / 2 + (2 if len(label.lines) > 1 else 0)
        label.at = max(label.target, floor + label.half)
        floor = label.at + label.half
    ceiling = bottom
    for label in reversed(labels):
        label.at = min(label.at, ceiling - label.half)
        ceiling = label.at - label.half
    for label in labels:
        moved = abs(label.at - label.target) > 2
        leader = (
            f'<path d="M{right + 1} {label.target}L{right + 8} {label.at}" fill="none" '
            f'stroke="{label.colour}" stroke-width=".8" opacity=".6"/>'
            if moved
            else ""
        )
        yield (
            f'{leader}<text class="label" fill="{label.colour}">'
            f"{_spans(label.lines, label.text, (right + 10, label.at + 3.8), gap)}</text>"
        )


def _lines_of(text: str, letters: int, most: int) -> list[str]:
    """A name in lines of so many letters; what does not fit into the last one is left out."""
    return textwrap.wrap(text, letters, max_lines=max(1, most), placeholder=" …") or [text]


def _spans(lines: Sequence[str], text: str, middle: Point, height: float) -> str:
    """Lines around a point, with the whole text to be read under the pointer if it was cut."""
    x, y = middle[0], middle[1] - height * (len(lines) - 1) / 2
    title = f"<title>{escape(text)}</title>" if lines[-1].endswith("…") else ""
    return title + "".join(
        f'<tspan x="{x}" y="{y + height * at:.2f}">{escape(line)}</tspan>'
        for at, line in enumerate(lines)
    )


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values that enclose [low, high]."""
    if high <= low:
        low, high = low - abs(low) * 0.1 - 1e-3, high + abs(high) * 0.1 + 1e-3
    raw = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(s * unit for s in (1, 2, 2.5, 5, 10) if s * unit >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [m * 10.0**e for e in exponents for m in (1, 2, 5)]
    first = max((t for t in every if t <= low), default=every[0])
    last = min((t for t in every if t >= high), default=every[-1])
    inside = [t for t in every if first <= t <= last]
    return inside if len(inside) <= 7 else [t for t in inside if _leading_digit(t) == 1] or inside


def _leading_digit(value: float) -> int:
    return round(value / 10.0 ** math.floor(math.log10(value) + 1e-9))


def _whole_ticks(low: float, high: float) -> list[float]:
    step = max(1, next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**6)
                       if (high - low) / s <= 8))  # fmt: skip
    inside = [float(t) for t in range(0, int(high) + 1, step) if t >= low]
    return inside or [low]


def _tick_text(value: float, ticks: Sequence[float]) -> str:
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    decimals = max(0, min(6, -math.floor(math.log10(step) + 1e-9))) if step > 0 else 2
    if decimals and abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1
    return f"{value:,.{decimals}f}"


def _rounded(points: tuple[Point, ...]) -> list[list[float]]:
    return [[a, float(f"{b:.6g}")] for a, b in points]


def _spoken(chart: LineChart, lines: Sequence[Line]) -> str:
    ends = (f"{line.label} ends at {measures.digits(line.points[-1][1])}" for line in lines)
    return f"{chart.title}: {'; '.join(ends)}"
