"""`itrec evaluate`: evaluate a trained model again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.config import Parser
from itrec_dist.data.schema import Seen
from itrec_dist.errors import ConfigError
from itrec_dist.runs.directory import BEST
from itrec_dist.storage.uri import Uri

if TYPE_CHECKING:
    from itrec_dist.inference.load import Restored
    from itrec_dist.metrics.metric import MetricChoice


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec evaluate",
        "Evaluate a checkpoint on the windows of its run, or with --shards on other windows of the "
        "same items. Prints a table; --out writes the metrics as JSON.",
    )
    add_model(options)
    add_choice(options, "null takes the run's own")
    options.add_argument("--out", type=Path | None, default=None, help="JSON file to write.")
    options.add_argument("--overwrite", action="store_true", help="Replace the file if it exists.")
    return options


def add_model(options: Parser) -> None:
    """Add the options that choose a trained model and the shards to apply it to."""
    options.add_argument(
        "run", type=Uri | Path, help="Run directory that `itrec train` wrote, or its URI."
    )
    options.add_argument(
        "--shards",
        type=Uri | Path | None,
        default=None,
        help="Other shards; null takes the run's own.",
    )
    options.add_argument(
        "--checkpoint",
        type=str,
        default=BEST,
        help="Checkpoint to load: best, last, or an older one such as last-00001200.",
    )


def add_choice(options: Parser, without: str, without_seen: str = "") -> None:
    """Add the options that choose figures; `without` says what happens if they are not given."""
    options.add_argument(
        "--cutoffs",
        type=tuple[int, ...] | None,
        default=None,
        help=f"Lengths k of the ranked list to evaluate, such as [1,10]; {without}.",
    )
    options.add_argument(
        "--metrics",
        type=tuple[str, ...] | None,
        default=None,
        help=f"Additional metrics, as [module:Class]; {without}.",
    )
    options.add_argument(
        "--seen",
        type=Seen | None,
        default=None,
        help="What the masked ranking leaves out: history, input or none; "
        f"{without_seen or without}.",
    )


def choice_from(parsed: Any, without: MetricChoice) -> MetricChoice:
    """The metrics that the options choose.

    Raises:
        ConfigError: a cut-off is invalid, or a metric cannot be imported.
    """
    from itrec_dist import metrics
    from itrec_dist.metrics.metric import MetricChoice

    try:
        choice = MetricChoice(
            without.cutoffs if parsed.cutoffs is None else tuple(parsed.cutoffs),
            without.more if parsed.metrics is None else tuple(parsed.metrics),
            without.seen if parsed.seen is None else parsed.seen,
        )
    except ValueError as error:
        raise ConfigError(f"--{error}") from error
    metrics.load(choice.more)
    return choice


def restored_from(parsed: Any) -> tuple[Restored, Uri | Path]:
    """The model that the options name, and where its shards are."""
    from itrec_dist.inference.load import restore
    from itrec_dist.runs.fetched import local_run

    restored = restore(local_run(parsed.run, parsed.checkpoint), parsed.checkpoint)
    return restored, parsed.shards or restored.run.shards


def run(parsed: Any) -> int:
    """Evaluate and print."""
    from itrec_dist.data import manifest
    from itrec_dist.data.shards import fetch
    from itrec_dist.evaluation.checkpoints import judge_checkpoint
    from itrec_dist.inference import fitting
    from itrec_dist.metrics import targets
    from itrec_dist.reports.terminal import print_judgements
    from itrec_dist.storage import atomic

    if parsed.out is not None and parsed.out.exists():
        atomic.refuse_existing(parsed.out, overwrite=parsed.overwrite)
    restored, place = restored_from(parsed)
    shards = fetch.local(place)
    if parsed.shards is None:
        fitting.refuse_wrong_checksum(restored, shards, place)
    choice = choice_from(parsed, restored.run.evaluation.choice)
    judgements = judge_checkpoint(restored, shards, choice)
    print(f"{restored.run.label}, epoch {restored.record.epoch}, on {place}")
    print_judgements(judgements)
    for split, judgement in judgements.items():
        if text := targets.warning(split, judgement.targets, "--seen"):
            print(f"warning: {text}")
    if warning := fitting.warning(restored, shards, place):
        print(f"{warning}: it may have been trained on rows that it is evaluated on here")
    if parsed.out is not None:
        atomic.write_json(
            parsed.out,
            {
                "kind": "train",
                "name": restored.run.label,
                "checkpoint": parsed.checkpoint,
                "epoch": restored.record.epoch,
                "seed": restored.run.seed,
                "fingerprint": manifest.read(shards).fingerprint,
                "splits": {split: j.to_json() for split, j in judgements.items()},
            },
        )
    return 0
