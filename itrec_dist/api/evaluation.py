"""What `itrec evaluate` does with its options: the figures of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from itrec_dist.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from itrec_dist.api.run import Run
    from itrec_dist.metrics.judgement import Judgement
    from itrec_dist.metrics.metric import MetricChoice


@dataclass(frozen=True)
class Evaluated:
    """Figures, and what to know about them."""

    judgements: dict[str, Judgement]
    """Split -> judgement."""
    warnings: tuple[str, ...]


def evaluated(run: Run, parsed: Any, splits: Sequence[str] | None = None) -> Evaluated:
    """Evaluate the checkpoint of a run, and write the figures to a file if one is named.

    Args:
        run: the run.
        parsed: the parsed options of `itrec evaluate`.
        splits: the splits to judge; None judges those that the shards hold out.

    Raises:
        ItrecError: the shards do not fit the model, or the file is taken.
    """
    from itrec_dist.data import manifest
    from itrec_dist.data.shards import fetch
    from itrec_dist.evaluation.checkpoints import judge_checkpoint
    from itrec_dist.inference import fitting
    from itrec_dist.metrics import targets
    from itrec_dist.storage import atomic, outputs

    if parsed.out is not None:
        outputs.refuse_existing(parsed.out, overwrite=parsed.overwrite)
    restored = run.restored
    place = parsed.shards or restored.run.shards
    shards = fetch.local(place)
    if parsed.shards is None:
        fitting.refuse_wrong_checksum(restored, shards, place)
    choice = choice_from(parsed, restored.run.evaluation.choice)
    judgements = judge_checkpoint(restored, shards, choice, splits)
    texts = [targets.warning(split, j.targets, "--seen") for split, j in judgements.items()]
    if differing := fitting.warning(restored, shards, place):
        texts.append(f"{differing}: it may have been trained on rows that it is evaluated on here")
    if parsed.out is not None:
        content = {
            "kind": "train",
            "name": restored.run.label,
            "checkpoint": parsed.checkpoint,
            "epoch": restored.record.epoch,
            "seed": restored.run.seed,
            "fingerprint": manifest.read(shards).fingerprint,
            "splits": {split: j.to_json() for split, j in judgements.items()},
        }
        with outputs.new_file(parsed.out) as building:
            building.write_text(atomic.json_text(content), encoding="utf-8")
    return Evaluated(judgements, tuple(text for text in texts if text))


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
