"""`itrec recommend`: the next items of every user."""

from pathlib import Path
from typing import Any

from itrec_dist.config import Parser
from itrec_dist.uri import Uri


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec recommend",
        "Write the k best next items of every user to Parquet, from their latest events and "
        "without what they have seen: user, rank, item, title, score.",
    )
    options.add_argument(
        "run", type=Uri | Path, help="Run directory that `itrec train` wrote, or its URI."
    )
    options.add_argument("--out", type=Path, required=True, help="Parquet file to write.")
    options.add_argument("-k", "--k", type=int, default=5, help="Items per user.")
    options.add_argument(
        "--shards",
        type=Uri | Path | None,
        default=None,
        help="Other shards; null takes the run's own.",
    )
    options.add_argument(
        "--checkpoint",
        type=str,
        default="best",
        help="Which one: best, last, or an older one such as last-00001200.",
    )
    options.add_argument("--overwrite", action="store_true", help="Replace the file if it exists.")
    return options


def run(parsed: Any) -> int:
    """Rank and write."""
    from itrec_dist import storage
    from itrec_dist.fetched_runs import run_here
    from itrec_dist.recommend import recommend
    from itrec_dist.restore import restore

    restored = restore(run_here(parsed.run, parsed.checkpoint), parsed.checkpoint)
    place = parsed.shards or restored.run.shards
    shards = storage.local(place)
    users = recommend(restored, shards, parsed.out, parsed.k, overwrite=parsed.overwrite)
    print(f"recommendations for {users:,} users: {parsed.out}")
    return 0
