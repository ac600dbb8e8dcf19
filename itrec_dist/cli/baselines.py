"""`itrec baselines`: evaluate the non-neural baselines of the shards' task.

They are evaluated on the same windows or histories as models. Each is written as a run directory of
its own, so that reports treat it like any other run.
"""

from typing import Any

from itrec_dist.options.baselines import parser

__all__ = ["parser", "run"]


def run(parsed: Any) -> int:
    """Fit, evaluate, write and print."""
    from itrec_dist.api.baselines import judged
    from itrec_dist.reports.terminal import comparison

    done = judged(parsed)
    print(comparison(done.judgements))
    print(f"\nWritten to {parsed.out}: {', '.join(done.judgements)}")
    for text in done.warnings:
        print(f"warning: {text}")
    if done.left_out:
        print(f"Left out unless named, or unsuited to these shards: {', '.join(done.left_out)}")
    if done.missing:
        print(f"Not installed: {', '.join(done.missing)} (pip install 'itrec-dist[references]')")
    return 0
