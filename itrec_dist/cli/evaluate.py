"""`itrec evaluate`: evaluate a trained model again."""

from typing import Any

from itrec_dist.options.evaluate import parser

__all__ = ["parser", "run"]


def run(parsed: Any) -> int:
    """Evaluate and print."""
    from itrec_dist.api.evaluation import evaluated
    from itrec_dist.api.run import Run
    from itrec_dist.reports.terminal import print_judgements

    model = Run(parsed.run, parsed.checkpoint)
    done = evaluated(model, parsed)
    restored = model.restored
    place = parsed.shards or restored.run.shards
    print(f"{restored.run.label}, epoch {restored.record.epoch}, on {place}")
    print_judgements(done.judgements)
    for text in done.warnings:
        print(f"warning: {text}")
    return 0
