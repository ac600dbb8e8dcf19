"""`itrec train`: train a model on shards, through Ray or in this process."""

from pathlib import Path
from typing import Any

from itrec_dist.options.train import parser

__all__ = ["parser", "run"]


def run(parsed: Any) -> int:
    """Train, and print the final metrics and where the result is."""
    from itrec_dist.api.training import trained
    from itrec_dist.reports.terminal import print_judgements
    from itrec_dist.runs.directory import RunDirectory

    done = trained(parsed)
    if isinstance(done.path, Path) and RunDirectory(done.path).is_complete:
        print_judgements({split: found.judgement for split, found in done.metrics.items()})
    print(f"run: {done.path}")
    return 0
