"""Judgements as a table in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from itrec_dist.metrics import CUTOFFS, METRICS, PAPER_NAMES


def print_judgements(judgements: dict[str, dict[str, Any]], console: Console | None = None) -> None:
    """Print every figure of every split, with and without the seen items masked."""
    console = console or Console()
    for split, judgement in judgements.items():
        loss = judgement["loss"]
        title = f"{split}: {judgement['num_windows']:,} windows"
        table = Table(title=title + ("" if loss is None else f", loss {loss:.4f}"))
        table.add_column("figure")
        rankings = ("unmasked", "masked")
        for ranking in rankings:
            for cutoff in CUTOFFS:
                table.add_column(f"{ranking} @{cutoff}", justify="right")
        for metric in METRICS:
            paper = PAPER_NAMES.get(f"{metric}@5")
            table.add_row(
                metric + (f" (@5: {paper})" if paper else ""),
                *(f"{judgement[r][f'{metric}@{k}']:.4f}" for r in rankings for k in CUTOFFS),
            )
        console.print(table)
