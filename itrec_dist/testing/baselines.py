"""What baselines promise: of ranked items and of predicted ratings."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from itrec_dist import tasks
from itrec_dist.data import manifest
from itrec_dist.data.sources.synthetic import SyntheticConfig, generate
from itrec_dist.errors import ConfigError
from itrec_dist.metrics.metric import MetricChoice
from itrec_dist.tasks.next_items import baselines as of_items
from itrec_dist.tasks.next_items.scoring import Inputs
from itrec_dist.tasks.ratings.baselines import RatingsTrainingData
from itrec_dist.testing.claims import require, same

_ROWS = 6
_EVENTS = 8


def check_baseline(settings: Any, *, task: str = "next_items") -> None:
    """Check all that baselines promise, fitted to small generated data.

    Every item gets a finite score, or every rating a finite prediction; those of a row depend on
    that row alone; fitted twice, it gives the same; and it can be judged on a split.

    Args:
        settings: the settings of the baseline, which are the baseline.
        task: "next_items" or "ratings".

    Raises:
        AssertionError: a promise is broken; the message says which.
        ConfigError: the task has no baselines, or it is none of them.
        EnvironmentProblem: the package that it needs is not installed.

    Examples:
        >>> testing.check_baseline(MyBaseline(penalty=10.0))
    """
    if task not in ("next_items", "ratings"):
        raise ConfigError(f"baselines of the task {task!r} are not checked: test them on shards")
    if not callable(getattr(settings, "fit", None)):
        raise ConfigError(f"{type(settings).__name__} is no baseline: it has no method fit")
    data = tasks.data_of(task)
    with tempfile.TemporaryDirectory(prefix="itrec-testing-") as scratch:
        source, shards = Path(scratch) / "source", Path(scratch) / "shards"
        generate(SyntheticConfig(users=30, movies=80, ratings_per_user=20.0, seed=6), source)
        samples = "histories" if "histories" in data.kinds else "windows"
        if "histories" not in getattr(settings, "samples", ("histories",)):
            samples = "windows"
        windows = data.of(samples)
        windows.write("ml-1m", source, shards, windows.settings())
        made = manifest.read(shards)
        known = data.baselines
        assert known is not None
        training = known.training(shards, made)
        fitted = settings.fit(training)
        if task == "ratings":
            _check_predictions(settings, fitted, training)
        else:
            _check_scores(settings, fitted, training)
        split = next(s for s in ("test", "validation") if made.num_windows(s))
        judged = known.judge(fitted, known.read(shards, made, split), training, MetricChoice())
        require(judged.num_windows > 0, "no window was judged")


def _check_scores(settings: Any, fitted: Any, training: of_items.NextItemsTrainingData) -> None:
    num_items = training.manifest.num_items
    draw = torch.Generator().manual_seed(3)
    ids_BL = torch.randint(1, num_items + 1, (_ROWS, _EVENTS), generator=draw)
    ids_BL[::2, :3] = 0
    latest = int(training.sequences.target_times.max())
    times_BL = latest - 1000 + torch.arange(_EVENTS).expand(_ROWS, -1)
    inputs = Inputs(ids_BL, torch.full((_ROWS,), latest), times_BL * (ids_BL != 0))
    scores_BC = fitted(inputs)
    shape = tuple(scores_BC.shape)
    require(
        shape == (_ROWS, num_items),
        f"the scores have the shape {shape}, not one for each row and item, "
        f"[{_ROWS}, {num_items}]: column c is item c + 1",
    )
    require(bool(scores_BC.isfinite().all()), "a score is not finite")
    for row in range(_ROWS):
        at = slice(row, row + 1)
        alone = Inputs(
            ids_BL[at], inputs.target_time_B[at],
            None if inputs.times_BL is None else inputs.times_BL[at],
        )  # fmt: skip
        words = "the scores of a row depend on the other rows of its batch"
        same(scores_BC[at].double(), fitted(alone).double(), words)
    words = "fitted twice to the same rows, it gives other scores"
    same(scores_BC.double(), settings.fit(training)(inputs).double(), words)


def _check_predictions(settings: Any, fitted: Any, training: RatingsTrainingData) -> None:
    ratings = training.ratings
    users_B, items_B = ratings.user_ids_R[:_ROWS], ratings.item_ids_R[:_ROWS]
    users_B = torch.cat([users_B, torch.zeros(2, dtype=users_B.dtype)])  # 0 is unknown
    items_B = torch.cat([items_B, items_B[:1], torch.zeros(1, dtype=items_B.dtype)])
    predicted_B = fitted(users_B, items_B)
    shape = tuple(predicted_B.shape)
    require(shape == (len(users_B),), f"the predictions have the shape {shape}, not [B]")
    require(bool(predicted_B.isfinite().all()), "a prediction is not finite, perhaps of id 0")
    for row in range(len(users_B)):
        at = slice(row, row + 1)
        words = "a prediction depends on the others that are asked for"
        same(predicted_B[at].double(), fitted(users_B[at], items_B[at]).double(), words)
    words = "fitted twice to the same ratings, it predicts others"
    same(predicted_B.double(), settings.fit(training)(users_B, items_B).double(), words)
