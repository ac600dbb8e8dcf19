"""The options of `itrec evaluate`, and those that other verbs share with it."""

from pathlib import Path

from itrec_dist.config import Parser
from itrec_dist.data.schema import Seen
from itrec_dist.runs.directory import BEST
from itrec_dist.storage.uri import Uri


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec evaluate",
        "Evaluate a checkpoint on the windows of its run, or with --shards on other windows of the "
        "same items. Prints a table; --out writes the metrics as JSON.",
    )
    add_model(options)
    add_choice(options, "null takes the run's own")
    options.add_argument(
        "--out", type=Uri | Path | None, default=None, help="JSON file to write, or its URI."
    )
    options.add_argument("--overwrite", action="store_true", help="Replace the file if it exists.")
    return options


def add_model(options: Parser) -> None:
    """Add the options that choose a trained model and the shards to apply it to."""
    options.add_argument(
        "run", type=Uri | Path, help="Run directory that `itrec train` wrote, or its URI."
    )
    options.add_argument(
        "--shards",
        type=Uri | Path | None,
        default=None,
        help="Other shards; null takes the run's own.",
    )
    options.add_argument(
        "--checkpoint",
        type=str,
        default=BEST,
        help="Checkpoint to load: best, last, or an older one such as last-00001200.",
    )


def add_choice(options: Parser, without: str, without_seen: str = "") -> None:
    """Add the options that choose figures; `without` says what happens if they are not given."""
    options.add_argument(
        "--cutoffs",
        type=tuple[int, ...] | None,
        default=None,
        help=f"Lengths k of the ranked list to evaluate, such as [1,10]; {without}.",
    )
    options.add_argument(
        "--metrics",
        type=tuple[str, ...] | None,
        default=None,
        help=f"Additional metrics, as [module:Class]; {without}.",
    )
    options.add_argument(
        "--seen",
        type=Seen | None,
        default=None,
        help="What the masked ranking leaves out: history, input or none; "
        f"{without_seen or without}.",
    )
