"""The options of `itrec recommend`."""

from pathlib import Path

from itrec_dist.config import Parser
from itrec_dist.data.schema import Seen
from itrec_dist.options import evaluate


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec recommend",
        "Recommend the top k next items, predicted from the latest events and without items seen "
        "before: for every user of the shards, for the users of --histories, or for one list of "
        "--items. Written to Parquet: user, rank, item, title, score.",
    )
    evaluate.add_model(options)
    options.add_argument(
        "--histories",
        type=Path | None,
        default=None,
        help="Parquet or CSV file with the whole histories of users to serve, known or new, in the "
        "columns that windowing was given (by default user, item, timestamp and rating); null "
        "serves the users of the shards.",
    )
    options.add_argument(
        "--items",
        type=str | None,
        default=None,
        help="One history, as item ids separated by commas, oldest first, such as 260,1196; the "
        "recommendations are printed.",
    )
    lists = "ids separated by commas, or a .txt, Parquet or CSV file of them"
    options.add_argument(
        "--among", type=str | None, default=None, help=f"The only items to recommend: {lists}."
    )
    options.add_argument(
        "--without", type=str | None, default=None, help=f"Items not to recommend: {lists}."
    )
    options.add_argument(
        "--seen",
        type=Seen | None,
        default=None,
        help="What is not recommended again: history, input (what the model is shown) or none; "
        "null does as the run's evaluation.seen, or leaves out the history.",
    )
    options.add_argument(
        "--out",
        type=Path | None,
        default=None,
        help="Parquet file to write; required unless --items is given.",
    )
    options.add_argument("-k", "--k", type=int, default=5, help="Items per user.")
    options.add_argument("--overwrite", action="store_true", help="Replace the file if it exists.")
    return options
