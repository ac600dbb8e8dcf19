"""The rating baselines as runs: each fitted, judged and written as a run directory of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.data import manifest
from itrec_dist.data.shards import arrays, reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.errors import ShardsError
from itrec_dist.evaluation import baselines as baseline_evaluation
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage import atomic
from itrec_dist.tasks.ratings import baselines as rating_baselines

if TYPE_CHECKING:
    from itrec_dist.metrics.rating_errors import RatingJudge


def judge_all(
    shards: Path,
    out: Path,
    chosen: Mapping[str, rating_baselines.RatingBaseline],
    *,
    overwrite: bool = False,
) -> dict[str, dict[str, Any]]:
    """Write the run directory `out/name` of each baseline; returns name -> split -> Judgement.

    Raises:
        ItrecError: a folder cannot be used; nothing was written then.
    """
    from itrec_dist.data import training_ratings
    from itrec_dist.distributed.context import LocalContext

    for name, settings in chosen.items():
        rating_baselines.refuse_missing(name, settings)
        atomic.refuse_taken(out / name, marker=baseline_evaluation.MARKER, overwrite=overwrite)
    data = manifest.read(shards)
    splits = {
        split: read_split(shards, data, split)
        for split in baseline_evaluation.EVALUATED
        if data.num_windows(split)
    }
    if not splits or not data.rating_min < data.rating_max:
        raise ShardsError(
            f"{shards} has no held-out ratings to judge: make shards with itrec window ratings"
        )
    training = rating_baselines.Training(
        training_ratings.read(shards, data, LocalContext().blocks),
        data,
        reader.read_items(shards, data),
    )
    judgements = {}
    for name, settings in chosen.items():
        with atomic.new_directory(
            out / name, marker=baseline_evaluation.MARKER, overwrite=overwrite
        ) as building:
            directory = RunDirectory(building)
            begun = time.monotonic()
            baseline_evaluation.begin(directory, name, settings, (shards, data))
            predict = settings.fit(training)
            directory.append("note", message=f"fitted in {time.monotonic() - begun:.2f} s")
            judgements[name] = {
                split: judge(predict, windows, data).judgement()
                for split, windows in splits.items()
            }
            baseline_evaluation.finish(directory, name, data, judgements[name], begun)
    return judgements


def judge(
    predict: rating_baselines.Predictor, windows: arrays.Windows, data: manifest.Manifest
) -> RatingJudge:
    """Predict every target of the windows, clipped to the scale."""
    import torch

    from itrec_dist.data.batches import whole_batch
    from itrec_dist.metrics.rating_errors import RatingJudge

    batch = whole_batch(windows, torch.device("cpu"))
    K = batch.target_ids_BK.shape[1]
    users_B = batch.user_ids_B.long().repeat_interleave(K)
    predicted = predict(users_B, batch.target_ids_BK.long().flatten())
    scores_BK = predicted.view(-1, K).clamp(data.rating_min, data.rating_max)
    counted = RatingJudge(data.rating_max - data.rating_min, torch.device("cpu"))
    counted.add(batch, scores_BK, (scores_BK - batch.target_ratings_BK).square().mean(dim=1))
    return counted
