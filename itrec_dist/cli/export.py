"""`itrec export`: a trained model as a folder that serves without this package."""

from typing import Any

from itrec_dist.options.export import parser

__all__ = ["parser", "run"]


def run(parsed: Any) -> int:
    """Load, trace and write."""
    from itrec_dist.api.exporting import exported
    from itrec_dist.api.run import Run
    from itrec_dist.inference.export import folder

    written = exported(Run(parsed.run, parsed.checkpoint), parsed)
    print(f"model: {written} ({written.stat().st_size / 2**20:,.1f} MiB)")
    print(f"model card: {written.parent / folder.CARD_FILE}")
    return 0
