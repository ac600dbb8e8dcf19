"""Evaluates a checkpoint again, on the windows of its run or on others."""

from pathlib import Path

from itrec_dist.data import feeds
from itrec_dist.data.batches import Share
from itrec_dist.data.feeds import Feed
from itrec_dist.data.schema import TEST, VALIDATION
from itrec_dist.distributed.context import LocalContext
from itrec_dist.errors import ShardsError
from itrec_dist.inference.fitting import FittingShards, fit
from itrec_dist.inference.load import Restored
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.training.history_splits import HistorySplits
from itrec_dist.training.loop import evaluate


def judge_checkpoint(
    restored: Restored, shards: Path, choice: MetricChoice | None = None
) -> dict[str, Judgement]:
    """Evaluate on every evaluation split of `shards`; returns split -> Judgement.

    Without `choice` the metrics are those of the run's own settings. Popularity metrics refer to
    the data that the model was trained on.

    Raises:
        ShardsError: `shards` does not fit the model (see `fitting.fit`), or has nothing held out.
    """
    fitting = fit(restored, shards)
    splits = [split for split in (VALIDATION, TEST) if fitting.manifest.num_windows(split)]
    if not splits:
        raise ShardsError(f"{shards} has neither validation nor test windows: nothing to evaluate")
    most, known = fitting.manifest.target_length, restored.manifest.target_length
    if most > known:
        raise ShardsError(
            f"{shards} has up to {most} targets in a row and the model's own shards up to {known}: "
            f"window it with --target_length {known}"
        )
    context = LocalContext(restored.engine.device)
    judgements = {}
    for split in splits:
        feed = _feed(restored, fitting, split)
        judge = restored.task.judge(context.device, choice or restored.run.evaluation.choice)
        judgements[split] = evaluate(restored.engine, feed, judge, context)
    return judgements


def _feed(restored: Restored, fitting: FittingShards, split: str) -> Feed:
    """All rows of a split, to be judged."""
    run, context = restored.run, LocalContext(restored.engine.device)
    if fitting.manifest.samples == "histories":
        steps = restored.task.learns_steps
        rows = fitting.history_split(split, context.blocks)
        return HistorySplits(run, fitting.manifest, context, steps=steps).judged(rows)
    windows = fitting.split(split, context.blocks, times=run.model.uses_times)
    return feeds.cached(windows, Share(run.evaluation.batch_size), context.device)
