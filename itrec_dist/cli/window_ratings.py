"""`itrec window ratings`: ratings to windows whose target is a rating."""

from typing import Any

from itrec_dist import config
from itrec_dist.cli import window as window_command


def parser() -> config.Parser:
    """Source, input, place of the output, and every field of RatingWindowConfig."""
    from itrec_dist.tasks.ratings.windows import RatingWindowConfig

    return window_command.parser_of(
        RatingWindowConfig,
        "itrec window ratings",
        "Hold out ratings to be predicted, and write each rating with the training ratings that "
        "its user gave before: Parquet shards, item and user tables, a manifest and a leakage "
        "audit. Rating models are trained and compared on these.",
    )


def run(parsed: Any) -> int:
    """Window, then print what was read, what was written and what the split lets through."""
    from itrec_dist.tasks.ratings import audit as rating_audit
    from itrec_dist.tasks.ratings import windows as rating_windows

    return window_command.make(
        parsed, rating_windows.RatingWindowConfig, rating_windows.window_ratings,
        rating_audit.LEAKAGE,
    )  # fmt: skip
