"""`itrec recommend`: the next items of every user."""

from pathlib import Path
from typing import Any

from itrec_dist.cli import evaluate as evaluate_command
from itrec_dist.config import Parser


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec recommend",
        "Write the k best next items of every user to Parquet, from their latest events and "
        "without what they have seen: user, rank, item, title, score.",
    )
    evaluate_command.add_model(options)
    options.add_argument("--out", type=Path, required=True, help="Parquet file to write.")
    options.add_argument("-k", "--k", type=int, default=5, help="Items per user.")
    options.add_argument("--overwrite", action="store_true", help="Replace the file if it exists.")
    return options


def run(parsed: Any) -> int:
    """Rank and write."""
    from itrec_dist.data.shards import fetch
    from itrec_dist.inference import fitting
    from itrec_dist.inference.recommend import recommend

    restored, place = evaluate_command.restored_from(parsed)
    shards = fetch.local(place)
    users = recommend(restored, shards, parsed.out, parsed.k, overwrite=parsed.overwrite)
    if warning := fitting.warning(restored, shards, place):
        print(f"{warning}: users are served by their latest events there")
    print(f"recommendations for {users:,} users: {parsed.out}")
    return 0
