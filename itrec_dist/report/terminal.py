"""Judgements as a table in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from itrec_dist.metrics.ranking import CUTOFFS, METRICS, PAPER_NAMES


def print_judgements(judgements: dict[str, dict[str, Any]], console: Console | None = None) -> None:
    """Print every figure of every split, with and without the seen items masked."""
    console = console or Console()
    rankings = ("unmasked", "masked")
    if any("ratings" in judgement for judgement in judgements.values()):
        _print_ratings(judgements, console)
        return
    for split, judgement in judgements.items():
        if "unmasked" not in judgement:
            loss = judgement["loss"]
            console.print(f"{split}: {judgement['num_windows']:,} windows, loss {loss:.4f}")
            continue
        loss = judgement["loss"]
        title = f"{split}: {judgement['num_windows']:,} windows"
        table = Table(title=title + ("" if loss is None else f", loss {loss:.4f}"))
        table.add_column("", no_wrap=True)
        for ranking in rankings:
            for position, cutoff in enumerate(CUTOFFS):
                head = ranking if position == 0 else ""
                table.add_column(f"{head}\n@{cutoff}", justify="right", no_wrap=True)
        for metric in METRICS:
            values = (f"{judgement[r][f'{metric}@{k}']:.4f}" for r in rankings for k in CUTOFFS)
            table.add_row(metric, *values)
        console.print(table)
    papers = ", ".join(f"{name} is {figure}" for figure, name in PAPER_NAMES.items())
    console.print(
        f"masked: items of the input are left out of the ranking. In the paper's words, {papers}."
    )


def print_rating_baselines(
    judgements: dict[str, dict[str, dict[str, Any]]], console: Console | None = None
) -> None:
    """Print the figures of several rating baselines, given as name -> split -> Judgement."""
    rows = {f"{name}, {s}": j for name, splits in judgements.items() for s, j in splits.items()}
    _print_ratings(rows, console or Console())


def _print_ratings(judgements: dict[str, dict[str, Any]], console: Console) -> None:
    table = Table()
    for title in ("", "ratings", "RMSE", "MAE"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for split, judgement in judgements.items():
        figures = judgement["ratings"]
        table.add_row(
            split,
            f"{judgement['num_windows']:,}",
            f"{figures['rmse']:.4f}",
            f"{figures['mae']:.4f}",
        )
    console.print(table)
