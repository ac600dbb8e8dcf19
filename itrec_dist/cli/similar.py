"""`itrec similar`: the items most similar to an item."""

from pathlib import Path
from typing import Any

from itrec_dist.config import Parser


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec similar",
        "List the items with the highest cosine similarity to an item, by the item embedding of "
        "item2vec or of any other model that has one.",
    )
    options.add_argument("run", type=Path, help="Run directory that `itrec train` wrote.")
    options.add_argument("--item", type=str, required=True, help="Source id or title of an item.")
    options.add_argument("-k", "--k", type=int, default=10, help="Items to list.")
    return options


def run(parsed: Any) -> int:
    """Print cosine, source id and title, best first."""
    from itrec_dist.inference import similar
    from itrec_dist.training import warm_start

    found = similar.similar(warm_start.read(parsed.run), parsed.item, parsed.k)
    for source_id, title, cosine in found:
        print(f"{cosine:7.4f}  {source_id:>8}  {title}")
    return 0
