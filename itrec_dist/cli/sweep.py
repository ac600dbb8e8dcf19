"""`itrec sweep`: search over configurations, then evaluate the best on the test split."""

from typing import Any

from itrec_dist.options.sweep import parser

__all__ = ["parser", "run"]


def run(parsed: Any) -> int:
    """Search, evaluate the finalists, write the results; or say what a search would take."""
    from itrec_dist.api.sweeping import checked_of, swept
    from itrec_dist.sweeps import plan

    if parsed.dry_run:
        plan.describe(checked_of(parsed), _say)
    else:
        swept(parsed, _say)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
