"""`itrec train`: train a model on shards, through Ray or in this process."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from itrec_dist.config import Parser, pick
from itrec_dist.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from itrec_dist.run import RunConfig

Existing = Literal["refuse", "overwrite", "resume"]


def parser() -> Parser:
    """The command's options: every setting of a run, and how to start it."""
    from itrec_dist.run import RunConfig

    options = Parser(
        "itrec train",
        "Train a model on shards. Settings come from a recipe (--config) and from the options "
        "below; the run directory then holds log, checkpoints and judgement.",
    )
    options.add_config_file()
    options.add_argument("--local", action="store_true", help="Train in this process, without Ray.")
    options.add_argument(
        "--address",
        type=str | None,
        default=None,
        help="Ray cluster to use, such as auto; without it one is started on this machine.",
    )
    options.add_argument(
        "--overwrite", action="store_true", help="Replace the run directory if it exists."
    )
    options.add_argument(
        "--resume",
        action="store_true",
        help="Go on with the unfinished run in its directory, from its checkpoint last; "
        "--config RUN/config.yaml --resume gives all settings it began with.",
    )
    options.add_class_arguments(RunConfig)
    return options


def run(parsed: Any) -> int:
    """Train, and print where the result is."""
    from itrec_dist.run import RunConfig

    config = pick(RunConfig, parsed)
    existing: Existing = "overwrite" if parsed.overwrite else "refuse"
    if parsed.resume:
        if parsed.overwrite:
            raise ConfigError("--resume keeps a run and --overwrite replaces it: give one of them")
        existing = "resume"
    train(config, local=parsed.local, address=parsed.address, existing=existing)
    print(f"run: {config.out}")
    return 0


def train(
    config: RunConfig, *, local: bool, address: str | None = None, existing: Existing = "refuse"
) -> None:
    """Check, prepare the run directory, and train; nothing is touched before all checks passed.

    `existing` says what becomes of a run that stands in the place of this one.
    """
    from itrec_dist import environment, item_vectors, lease, outputs
    from itrec_dist import resume as resumption
    from itrec_dist.run import check, prepare

    # Workers, and whoever reads the run later, may stand in another folder than this process.
    config = dataclasses.replace(config, shards=config.shards.absolute(), out=config.out.absolute())
    if config.item_vectors is not None:
        config = dataclasses.replace(config, item_vectors=config.item_vectors.absolute())
    data = check(config, 1 if local else config.cluster.num_workers)
    item_vectors.check_start(config)
    if existing == "resume":
        resumption.check(config, data)
    else:
        _refuse_taken(config.out, existing)
    lease.refuse_alive(config.out)
    use_gpu = False
    if not local:
        from itrec_dist import launch

        use_gpu = launch.connect(config, address)
    with lease.held(config.out):
        if existing == "resume":
            resumption.prepare(config, environment.record(config.seed))
        else:
            _refuse_taken(config.out, existing)  # another one may have been and gone meanwhile
            outputs.empty(config.out, but=lease.FILE)
            prepare(config, data, environment.record(config.seed))
        if local:
            _train_here(config, resume=existing == "resume")
        else:
            launch.launch(config, use_gpu, resume=existing == "resume")


def _refuse_taken(out: Path, existing: Existing) -> None:
    from itrec_dist import lease, outputs

    outputs.refuse_taken(
        out, marker="config.yaml", overwrite=existing == "overwrite", but=lease.FILE
    )


def _train_here(config: RunConfig, *, resume: bool) -> None:
    from itrec_dist.context import LocalContext
    from itrec_dist.progress import ProgressView
    from itrec_dist.worker import run_worker

    view = ProgressView()
    try:
        run_worker(config, LocalContext(threads=config.cluster.threads), view, resume=resume)
    finally:
        view.close()
