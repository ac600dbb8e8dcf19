"""The rating baselines as runs: each fitted, judged and written as a run directory of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist import arrays, baseline_runs, manifest, outputs, rating_baselines
from itrec_dist.errors import ShardsError
from itrec_dist.run_directory import RunDirectory

if TYPE_CHECKING:
    from itrec_dist.rating_metrics import RatingJudge


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
    from itrec_dist import ratings
    from itrec_dist.context import LocalContext

    for name, settings in chosen.items():
        rating_baselines.refuse_missing(name, settings)
        outputs.refuse_taken(out / name, marker=baseline_runs.MARKER, overwrite=overwrite)
    data = manifest.read(shards)
    splits = {
        split: arrays.read_split(shards, data, split)
        for split in baseline_runs.EVALUATED
        if data.num_windows(split)
    }
    if not splits or not data.rating_min < data.rating_max:
        raise ShardsError(
            f"{shards} has no held-out ratings to judge: make shards with itrec window ratings"
        )
    training = rating_baselines.Training(
        ratings.read(shards, data, LocalContext().blocks), data, arrays.read_items(shards, data)
    )
    judgements = {}
    for name, settings in chosen.items():
        with outputs.new_directory(
            out / name, marker=baseline_runs.MARKER, overwrite=overwrite
        ) as building:
            directory = RunDirectory(building)
            begun = time.monotonic()
            baseline_runs.begin(directory, name, settings, (shards, data))
            predict = settings.fit(training)
            directory.append("note", message=f"fitted in {time.monotonic() - begun:.2f} s")
            judgements[name] = {
                split: judge(predict, windows, data).judgement()
                for split, windows in splits.items()
            }
            baseline_runs.finish(directory, name, data, judgements[name], begun)
    return judgements


def judge(
    predict: rating_baselines.Predictor, windows: arrays.Windows, data: manifest.Manifest
) -> RatingJudge:
    """Predict every target of the windows, clipped to the scale."""
    import torch

    from itrec_dist.batches import whole_batch
    from itrec_dist.rating_metrics import RatingJudge

    batch = whole_batch(windows, torch.device("cpu"))
    K = batch.target_ids_BK.shape[1]
    users_B = batch.user_ids_B.long().repeat_interleave(K)
    predicted = predict(users_B, batch.target_ids_BK.long().flatten())
    scores_BK = predicted.view(-1, K).clamp(data.rating_min, data.rating_max)
    counted = RatingJudge(data.rating_max - data.rating_min, torch.device("cpu"))
    counted.add(batch, scores_BK, (scores_BK - batch.target_ratings_BK).square().mean(dim=1))
    return counted
