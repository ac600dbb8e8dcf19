"""The options of `itrec reproduce`."""

from pathlib import Path
from typing import Literal

from itrec_dist.config import Parser
from itrec_dist.storage.uri import Uri


def parser() -> Parser:
    """The command's options."""
    from itrec_dist import studies
    from itrec_dist.studies.runner import StudyConfig

    options = Parser(
        "itrec reproduce",
        "Run every arm of a study and its baselines, on its own protocol and on stricter ones, and "
        "write one report that compares the published figures with ours. After an interruption, "
        "the same command continues.",
    )
    options.add_config_file()
    options.add_argument(
        "study",
        type=Literal[tuple(studies.names())],
        help="ite (or paper): the Informative Transformer Encoder; rating_prediction (or blog); "
        "leaderboard: models and baselines on whole histories, beside published results.",
    )
    options.add_argument(
        "--input", type=Path, required=True, help="Folder or file of the raw events."
    )
    options.add_argument(
        "--source",
        type=str,
        default="ml-1m",
        help="Format of the events: ml-1m or ml-100k; for leaderboard also a table of your own.",
    )
    options.add_argument(
        "--out", type=Uri | Path, required=True, help="Folder for shards and runs, or its URI."
    )
    options.add_class_arguments(StudyConfig)
    return options
