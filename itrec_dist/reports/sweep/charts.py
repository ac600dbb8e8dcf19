"""A sweep's charts as SVG text: parallel coordinates, cost against accuracy, importances.

Drawn here like the charts of `charts.py`, for the same reasons. Parallel coordinates are the one
interactive chart: `sweep.js` lets a reader brush its axes and read its lines. A plotting library
would add 1 to 5 MB to every report for this; lines, axes and a brush are a few KB, print sharply
and are visible without scripts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from itrec_dist.config import as_text
from itrec_dist.reports.charts import GRID, INK, PALETTE, Scale
from itrec_dist.sweeps.space import Value

_ABSENT = "—"


@dataclass(frozen=True)
class Axis:
    """One axis of parallel coordinates."""

    title: str
    values: tuple[Value, ...]
    """One per line, in the order of the lines."""
    is_log: bool = False
    is_listed: bool = True
    """Whether values are categories, instead of numbers on a scale."""


@dataclass(frozen=True)
class Mark:
    """One trial: its name, its rank from 0 to 1 (the best), and whether it was stopped."""

    label: str
    score: float
    note: str
    is_stopped: bool = False


@dataclass(frozen=True)
class Spot:
    """One trial as a point."""

    label: str
    x: float
    y: float
    is_front: bool = False
    is_strong: bool = False


def parallel(axes: Sequence[Axis], marks: Sequence[Mark], width: int = 1180) -> str:
    """Lines over axes, coloured by the metric, the best on top; an empty string without lines."""
    if not marks or len(axes) < 2:
        return ""
    top, bottom, left, right = 40, 330, 60, width - 90
    step = (right - left) / (len(axes) - 1)
    places = [_places(axis, top, bottom) for axis in axes]
    xs = [round(left + at * step, 1) for at in range(len(axes))]
    order = sorted(range(len(marks)), key=lambda at: marks[at].score)
    lines = [_parallel_line(marks[at], xs, [ys[at] for ys, _ in places]) for at in order]
    drawn = [
        f'<g class="axis" data-axis="{at}"><line x1="{x}" x2="{x}" y1="{top}" y2="{bottom}" '
        f'stroke="{INK}"/><rect x="{x - 14}" y="{top - 8}" width="28" height="{bottom - top + 16}" '
        f'fill="transparent"/>{_axis_ticks(ticks, x)}'
        f'<text x="{x}" y="{16 + 12 * (at % 2)}" text-anchor="middle" font-weight="600">'
        f"{escape(axis.title)}</text></g>"
        for at, (axis, x, (_, ticks)) in enumerate(zip(axes, xs, places, strict=True))
    ]
    return (
        f'<svg class="parallel" viewBox="0 0 {width} {bottom + 20}" role="img" '
        f'aria-label="Every trial as a line over its settings and its figure">'
        f"{''.join(lines)}{''.join(drawn)}</svg>"
    )


def scatter(
    spots: Sequence[Spot], x_label: str, y_label: str, *, more_is_better: bool, width: int = 680
) -> str:
    """Points and their Pareto front; an empty string with fewer than two points."""
    if len(spots) < 2:
        return ""
    left, right, top, bottom = 62, width - 30, 14, 320
    xs, ys = [s.x for s in spots], [s.y for s in spots]
    is_log = min(xs) > 0 and max(xs) / min(xs) > 10
    x_ticks, y_ticks = _numbers(min(xs), max(xs), is_log=is_log), _numbers(min(ys), max(ys))
    x = Scale(min(xs), max(xs), left + 14, right - 14, is_log=is_log)
    y = Scale(min(ys), max(ys), bottom - 12, top + 12)
    parts = [
        f'<line x1="{left}" x2="{right}" y1="{y(t)}" y2="{y(t)}" stroke="{GRID}"/>'
        f'<text x="{left - 8}" y="{y(t) + 4}" class="tick" text-anchor="end">{_short(t)}</text>'
        for t in y_ticks
    ]
    parts += [
        f'<text x="{x(t)}" y="{bottom + 16}" class="tick" text-anchor="middle">{_short(t)}</text>'
        for t in x_ticks
    ]
    log = ", log scale" if is_log else ""
    parts.append(
        f'<text x="{(left + right) / 2}" y="{bottom + 34}" class="tick" text-anchor="middle">'
        f'{escape(x_label)}{log}</text><text x="{left - 8}" y="{top - 2}" class="tick" '
        f'text-anchor="start">{escape(y_label)}</text>'
    )
    front = sorted((s for s in spots if s.is_front), key=lambda s: s.x, reverse=not more_is_better)
    if len(front) > 1:
        path = " ".join(f"{x(s.x)},{y(s.y)}" for s in front)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{PALETTE[1]}" stroke-width="1.6" '
            'stroke-dasharray="5 3"/>'
        )
    for spot in sorted(spots, key=lambda s: s.is_front):
        colour = PALETTE[1] if spot.is_front else PALETTE[0]
        radius = 6 if spot.is_strong else 4
        parts.append(
            f'<circle cx="{x(spot.x)}" cy="{y(spot.y)}" r="{radius}" fill="{colour}" '
            f'fill-opacity=".7" stroke="{INK if spot.is_strong else colour}">'
            f"<title>{escape(spot.label)}</title></circle>"
        )
    return (
        f'<svg class="scatter" viewBox="0 0 {width} {bottom + 44}" role="img" '
        f'aria-label="{escape(y_label)} against {escape(x_label)}">{"".join(parts)}</svg>'
    )


def bars(rows: Sequence[tuple[str, float]], title: str, width: int = 680) -> str:
    """Shares of 1 as bars, in the given order; an empty string without rows."""
    if not rows:
        return ""
    step, top = 26, 4
    left = 20 + 7.2 * max(len(name) for name, _ in rows)
    right = width - 60
    parts = []
    for at, (name, share) in enumerate(rows):
        y = top + step * at
        length = max(1.0, round((right - left) * share, 1))
        parts.append(
            f'<text x="{left - 10}" y="{y + 16}" text-anchor="end" class="name">{escape(name)}'
            f'</text><rect x="{left}" y="{y + 5}" width="{length}" height="14" rx="2" '
            f'fill="{PALETTE[0]}" fill-opacity=".8"/><text x="{left + length + 8}" y="{y + 16}" '
            f'class="value">{share:.0%}</text>'
        )
    return (
        f'<svg class="bars" viewBox="0 0 {width} {top + step * len(rows) + 4}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _parallel_line(mark: Mark, xs: Sequence[float], ys: Sequence[float]) -> str:
    path = " ".join(f"{x},{y}" for x, y in zip(xs, ys, strict=True))
    dash = ' stroke-dasharray="4 3"' if mark.is_stopped else ""
    shown = json.dumps({"label": mark.label, "note": mark.note, "y": list(ys)})
    return (
        f'<polyline points="{path}" fill="none" stroke="{_colour(mark.score)}" '
        f'stroke-width="{1 + 1.6 * mark.score:.2f}" stroke-linejoin="round"{dash} '
        f'data-line="{escape(shown)}"><title>{escape(mark.label)}: {escape(mark.note)}</title>'
        "</polyline>"
    )


def _colour(score: float) -> str:
    """From a pale grey to the report's blue."""
    ends = ((203, 211, 222), (11, 92, 173))
    mixed = (round(a + (b - a) * score**1.5) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _places(axis: Axis, top: float, bottom: float) -> tuple[list[float], list[tuple[float, str]]]:
    """Where each line crosses an axis, and its ticks."""
    present = [v for v in axis.values if v != _ABSENT]
    if axis.is_listed or not all(_is_number(v) for v in present):
        texts = list(dict.fromkeys(sorted((as_text(v) for v in present), key=_by_size)))
        texts = [_ABSENT, *texts] if len(present) < len(axis.values) else texts
        gap = (bottom - top) / max(len(texts) - 1, 1)
        at = {text: round(bottom - i * gap, 1) for i, text in enumerate(texts)}
        if len(texts) == 1:
            at[texts[0]] = (top + bottom) / 2
        return [at[as_text(v)] for v in axis.values], [(y, text) for text, y in at.items()]
    numbers = [float(v) for v in present]  # type: ignore[arg-type]
    has_absent = len(present) < len(axis.values)
    low = bottom - 26 if has_absent else bottom
    scale = Scale(min(numbers), max(numbers), low, top, is_log=axis.is_log)
    ticks = [
        (scale(t), _short(t)) for t in _numbers(min(numbers), max(numbers), is_log=axis.is_log)
    ]
    if has_absent:
        ticks.append((bottom, _ABSENT))
    crossed = [bottom if v == _ABSENT else scale(float(v)) for v in axis.values]  # type: ignore[arg-type]
    return crossed, ticks


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _by_size(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def _axis_ticks(ticks: Sequence[tuple[float, str]], x: float) -> str:
    return "".join(
        f'<text x="{x + 8}" y="{y + 4}" class="tick halo">{escape(text[:18])}</text>'
        for y, text in ticks
    )


def _numbers(low: float, high: float, *, is_log: bool = False) -> list[float]:
    """A few values from low to high, both included, for the ticks of an axis."""
    if high <= low:
        return [low]
    if is_log:
        return [low * (high / low) ** (i / 4) for i in range(5)]
    return [low + (high - low) * i / 4 for i in range(5)]


def _short(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
