"""The options of `itrec train`: how to start a run, and all of its settings."""

from itrec_dist.config import Parser
from itrec_dist.options import cluster


def parser() -> Parser:
    """The command's options: how to start a run, and all of its settings."""
    from itrec_dist.training.config import RunConfig

    options = Parser(
        "itrec train",
        "Train a model on shards. Settings come from a recipe (--config) and from the options "
        "below. The run directory holds the log, the checkpoints and the evaluation.",
    )
    options.add_config_file()
    options.add_argument(
        "--local",
        action="store_true",
        help="Train in this process, without Ray and on at most one GPU. For several GPUs without "
        "Ray: torchrun --nproc-per-node GPUS -m itrec_dist train ..., without --local.",
    )
    cluster.add_address(options)
    options.add_argument(
        "--overwrite", action="store_true", help="Replace the run directory if it exists."
    )
    options.add_argument(
        "--resume",
        action="store_true",
        help="Continue the unfinished run in its directory from its last checkpoint; "
        "--config RUN/config.yaml --resume takes all settings from it.",
    )
    options.add_class_arguments(RunConfig)
    return options
