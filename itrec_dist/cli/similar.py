"""`itrec similar`: the items most similar to an item."""

from pathlib import Path
from typing import Any

from itrec_dist.config import Parser
from itrec_dist.runs.directory import BEST
from itrec_dist.storage.uri import Uri


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec similar",
        "List the items with the highest cosine similarity to an item, by the item embedding of "
        "item2vec or of any other model that has one.",
    )
    options.add_argument(
        "run", type=Uri | Path, help="Run directory that `itrec train` wrote, or its URI."
    )
    options.add_argument(
        "--checkpoint",
        type=str,
        default=BEST,
        help="Checkpoint to load: best, last, or an older one such as last-00001200.",
    )
    options.add_argument("--item", type=str, required=True, help="Source id or title of an item.")
    options.add_argument("-k", "--k", type=int, default=10, help="Items to list.")
    return options


def run(parsed: Any) -> int:
    """Print cosine, source id and title, best first."""
    from itrec_dist.api.run import Run

    for row in Run(parsed.run, parsed.checkpoint).similar(parsed.item, parsed.k).to_pylist():
        print(f"{row['cosine']:7.4f}  {row['item']:>8}  {row['title']}")
    return 0
