"""Prints judgements of any task as tables in the terminal."""

import io
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from itrec_dist import metrics
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import FigureName


def print_judgements(judgements: Mapping[str, Judgement], console: Console | None = None) -> None:
    """Print all metrics of all splits of one model; those without cut-offs as one line per split.

    Args:
        judgements: split -> judgement.
        console: where to print; None is standard output.
    """
    console = console or Console()
    plain: dict[str, Judgement] = {}
    for split, judgement in judgements.items():
        names = metrics.in_order(name for name, _ in judgement.figures())
        if any(name.cutoff is not None for name in names):
            console.print(_by_cutoff(split, judgement, names))
        else:
            plain[split] = judgement
    if plain:
        console.print(_by_split(plain))
    if any("masked" in judgement.groups for judgement in judgements.values()):
        console.print("masked: what the user has seen is excluded from the ranking.")


def as_text(judgements: Mapping[str, Judgement], width: int = 100) -> str:
    """What `print_judgements` prints, as plain text."""
    written = io.StringIO()
    console = Console(file=written, width=width, force_jupyter=False, color_system=None)
    print_judgements(judgements, console)
    return written.getvalue().rstrip()


def comparison(judgements: Mapping[str, Mapping[str, Judgement]]) -> str:
    """The metrics of several models or baselines, one line per split and metric group.

    Metrics with cut-offs are shown at the lowest one. `judgements` is name -> split -> judgement.
    """
    lines = [
        (name, split, group, judgement)
        for name, splits in judgements.items()
        for split, judgement in splits.items()
        for group in _groups(judgement) or [""]
    ]
    names = metrics.in_order(n for *_, judgement in lines for n, _ in judgement.figures())
    lowest: dict[str, FigureName] = {}
    for figure in names:
        lowest.setdefault(figure.metric, figure)
    has_loss = any(judgement.loss is not None for *_, judgement in lines)
    columns = [figure for figure in lowest.values() if figure.group or has_loss]
    rows = [["", "split", "group", *(figure.key for figure in columns)]]
    for name, split, group, judgement in lines:
        values = [judgement.value(_of_group(figure, group)) for figure in columns]
        rows.append([name, split, group, *map(_digits, values)])
    return _aligned(rows, num_words=3)


def _by_cutoff(split: str, judgement: Judgement, names: Sequence[FigureName]) -> Table:
    """One split: a row per metric, a column per group and cut-off."""
    loss = "" if judgement.loss is None else f", loss {judgement.loss:.4f}"
    table = Table(title=f"{split}: {judgement.num_windows:,} windows{loss}")
    table.add_column("", no_wrap=True)
    grouped = [name for name in names if name.group]
    columns = sorted(
        {(name.group, name.cutoff) for name in grouped},
        key=lambda c: (_groups(judgement).index(c[0]), c[1] or 0),
    )
    before = ""
    for group, cutoff in columns:
        at = "" if cutoff is None else f"@{cutoff}"
        head = group if group != before else ""
        table.add_column(f"{head}\n{at}", justify="right", no_wrap=True)
        before = group
    for metric in dict.fromkeys(name.metric for name in grouped):
        values = (judgement.value(FigureName(g, metric, cutoff)) for g, cutoff in columns)
        table.add_row(metric, *map(_digits, values))
    return table


def _by_split(judgements: Mapping[str, Judgement]) -> Table:
    """A row per split, a column per metric."""
    names = metrics.in_order(n for j in judgements.values() for n, _ in j.figures())
    table = Table()
    table.add_column("", no_wrap=True)
    for title in ("windows", *(metrics.of(name.metric).label for name in names)):
        table.add_column(title, justify="right", no_wrap=True)
    for split, judgement in judgements.items():
        figures = (_digits(judgement.value(name)) for name in names)
        table.add_row(split, f"{judgement.num_windows:,}", *figures)
    return table


def _groups(judgement: Judgement) -> list[str]:
    names = metrics.in_order(name for name, _ in judgement.figures() if name.group)
    return list(dict.fromkeys(name.group for name in names))


def _of_group(figure: FigureName, group: str) -> FigureName:
    return FigureName(group, figure.metric, figure.cutoff) if figure.group else figure


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _aligned(rows: Sequence[Sequence[str]], num_words: int) -> str:
    """Rows as lines; the first `num_words` columns are left-aligned, the numbers right-aligned."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if at < num_words else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)
