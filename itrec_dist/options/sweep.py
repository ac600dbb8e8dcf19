"""The options of `itrec sweep`: a sweep's settings, and how to start it."""

from itrec_dist.config import Parser
from itrec_dist.options import cluster


def parser() -> Parser:
    """The command's options: a sweep's settings, and how to start it."""
    from itrec_dist.sweeps.config import SweepConfig

    options = Parser(
        "itrec sweep",
        "Search over the settings of training runs, retrain the best configurations with fresh "
        "seeds, evaluate those on the test split, and write one report.",
    )
    options.add_config_file()
    options.add_argument(
        "--dry_run", action="store_true",
        help="Print the number of trials, the resources of each, an estimate of the total time "
        "from a few measured steps, and which trials would be refused; nothing is written.",
    )  # fmt: skip
    options.add_argument(
        "--resume", action="store_true",
        help="Continue the sweep in its directory; completed runs are not repeated.",
    )  # fmt: skip
    options.add_argument(
        "--overwrite", action="store_true", help="Replace the sweep directory if it exists."
    )
    options.add_argument(
        "--local", action="store_true",
        help="Train one trial after the other in this process, without Ray.",
    )  # fmt: skip
    cluster.add_address(options)
    options.add_class_arguments(SweepConfig)
    return options
