"""`itrec reproduce`: run a complete published study."""

from typing import Any

from itrec_dist.options.reproduce import parser

__all__ = ["parser", "run"]


def run(parsed: Any) -> int:
    """Run what is missing, then report."""
    from itrec_dist.api.reproducing import reproduced

    done = reproduced(parsed, lambda line: print(line, flush=True))
    print(f"report: {done.report}")
    return 0
