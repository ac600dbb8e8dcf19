"""`itrec export`: a trained model as a folder that serves without this package."""

from typing import Any

from itrec_dist.options.export import parser

__all__ = ["parser", "run"]


def run(parsed: Any) -> int:
    """Load, trace and write."""
    from itrec_dist.api.exporting import exported
    from itrec_dist.api.run import Run
    from itrec_dist.inference.export import folder
    from itrec_dist.storage import outputs

    written = exported(Run(parsed.run, parsed.checkpoint), parsed)
    print(f"model: {written} ({outputs.size(written) / 2**20:,.1f} MiB)")
    print(f"model card: {outputs.below(parsed.out, folder.CARD_FILE)}")
    return 0
