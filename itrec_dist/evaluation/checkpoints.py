"""Evaluates a checkpoint again, on the windows of its run or on others."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from itrec_dist.data import feeds
from itrec_dist.data.batches import Share
from itrec_dist.data.feeds import Feed
from itrec_dist.data.schema import TEST, TRAIN, VALIDATION
from itrec_dist.data.shards.first_times import first_times
from itrec_dist.distributed.context import LocalContext
from itrec_dist.errors import ShardsError
from itrec_dist.inference.fitting import FittingShards, fit
from itrec_dist.inference.load import Restored
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.models.seen import refuse_without_history
from itrec_dist.training.history_splits import HistorySplits
from itrec_dist.training.loop import evaluate


def judge_checkpoint(
    restored: Restored, shards: Path, choice: MetricChoice | None = None,
    wanted: Sequence[str] | None = None,
) -> dict[str, Judgement]:  # fmt: skip
    """Evaluate on every evaluation split of `shards`, or those wanted; returns split -> Judgement.

    Without `choice` the metrics are those of the run's own settings. Popularity metrics refer to
    the data that the model was trained on.

    Raises:
        ShardsError: `shards` does not fit the model (see `fitting.fit`), or has nothing held out.
    """
    fitting = fit(restored, shards)
    splits = [split for split in (VALIDATION, TEST) if fitting.manifest.num_windows(split)]
    if not splits:
        raise ShardsError(f"{shards} has neither validation nor test windows: nothing to evaluate")
    for split in wanted or ():
        if split not in splits:
            raise ShardsError(
                f"{shards} has no split {split!r} to evaluate: give {' or '.join(splits)}"
            )
    splits = [split for split in splits if wanted is None or split in wanted]
    most, known = fitting.manifest.target_length, restored.manifest.target_length
    if most > known:
        raise ShardsError(
            f"{shards} has up to {most} targets in a row and the model's own shards up to {known}: "
            f"window it with --target_length {known}"
        )
    choice = replace(choice or restored.run.evaluation.choice, slices=True)
    if restored.task.ranks:
        refuse_without_history(choice.seen, fitting.manifest.samples, "--seen")
    context = LocalContext(restored.engine.device)
    _tell_first_times(restored, fitting, context)
    judgements = {}
    for split in splits:
        judge = restored.task.judge(context.device, choice)
        judgements[split] = evaluate(
            restored.engine, feed_of(restored, fitting, split), judge, context
        )
    restored.engine.train(False)  # `evaluate` leaves it as training needs it
    return judgements


def _tell_first_times(restored: Restored, fitting: FittingShards, context: LocalContext) -> None:
    """Of the data that the model was trained on; with other shards they are not known."""
    mine, given = restored.manifest, fitting.manifest
    has_times = given.samples == "histories" and not given.has_order_alone
    if has_times and given.fingerprint == mine.fingerprint:
        rows = fitting.history_split(TRAIN, context.blocks)
        restored.task.tell_first_times(torch.from_numpy(first_times(rows, given.num_items)))


def feed_of(restored: Restored, fitting: FittingShards, split: str) -> Feed:
    """All rows of a split, to be judged."""
    run, context = restored.run, LocalContext(restored.engine.device)
    if fitting.manifest.samples == "histories":
        steps = restored.task.learns_steps
        rows = fitting.history_split(split, context.blocks)
        return HistorySplits(run, fitting.manifest, context, steps=steps).judged(rows)
    windows = fitting.split(split, context.blocks, times=run.model.uses_times)
    return feeds.cached(windows, Share(run.evaluation.batch_size), context.device)
