"""The options of `itrec data make`."""

from pathlib import Path

from itrec_dist.config import Parser
from itrec_dist.data.sources.synthetic import SyntheticConfig
from itrec_dist.storage.uri import Uri


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "itrec data make",
        "Generate users, movies and ratings in the file format of MovieLens-1M or as Parquet, in "
        "memory that does not grow with the ratings. The data is "
        "synthetic, with planted structure that sequential models can learn and counting cannot.",
    )
    made.add_argument(
        "--out", type=Uri | Path, required=True,
        help="Folder to write, which must not exist; or with --format parquet its URI.",
    )  # fmt: skip
    made.add_argument(
        "--overwrite",
        action="store_true",
        help="Replace the folder if an earlier run of this command made it.",
    )
    made.add_class_arguments(SyntheticConfig)
    return made
