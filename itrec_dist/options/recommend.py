"""The options of `itrec recommend`."""

from pathlib import Path

from itrec_dist.config import Parser
from itrec_dist.data.schema import Seen
from itrec_dist.options import cluster, evaluate
from itrec_dist.storage.uri import Uri


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec recommend",
        "Recommend the top k next items, predicted from the latest events and without items seen "
        "before: for every user of the shards, for the users of --histories, or for one list of "
        "--items. Written to Parquet: user, rank, item, title, score; with --workers, on a Ray "
        "cluster, to a folder of parts.",
    )
    evaluate.add_model(options)
    options.add_argument(
        "--histories",
        type=Uri | Path | None,
        default=None,
        help="Parquet or CSV file, or a folder of Parquet files, or its URI, with the whole "
        "histories of users to serve, known or new, in the columns that windowing was given (by "
        "default user, item, timestamp and rating); null serves the users of the shards.",
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
        "--at",
        type=str | None,
        default=None,
        help="When the recommendations are asked for, for a model that is told the time of the "
        "query: now, a date such as 2024-05-31 or 2024-05-31T18:00 (UTC unless it names a zone), "
        "or a number as the events' times have it; null is for other models.",
    )
    options.add_argument(
        "--out",
        type=Uri | Path | None,
        default=None,
        help="Parquet file to write, or with --workers the folder, or its URI; required unless "
        "--items or --dry_run is given.",
    )
    options.add_argument("-k", "--k", type=int, default=5, help="Items per user.")
    options.add_argument(
        "--overwrite", action="store_true", help="Replace the file or folder if it exists."
    )
    _add_cluster(options)
    return options


def _add_cluster(options: Parser) -> None:
    """Add the options of a batch on a Ray cluster."""
    options.add_argument(
        "--workers",
        type=int | None,
        default=None,
        help="Score on a Ray cluster by so many workers, each with a CPU, and a GPU if the cluster "
        "has any; null scores in this process.",
    )
    cluster.add_address(options)
    options.add_argument(
        "--resume",
        action="store_true",
        help="With --workers: keep the parts of the folder that are complete and write the others.",
    )
    options.add_argument(
        "--dry_run",
        action="store_true",
        help="With --workers: say how many users there are and how long they would take, from a "
        "measured rate; nothing is written.",
    )
    options.add_argument(
        "--memory_limit",
        type=str,
        default="2GB",
        help="With --workers: memory of DuckDB, which sorts the events of --histories and keeps "
        "the rest on disk.",
    )
