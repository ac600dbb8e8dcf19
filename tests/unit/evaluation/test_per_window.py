"""What is kept of single windows: by hand, as stored, and against the judge's own figures."""

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist import metrics
from itrec_dist.data.batches import whole_batch
from itrec_dist.errors import CheckpointError
from itrec_dist.evaluation import per_window
from itrec_dist.metrics.metric import RANKINGS, FigureName, MetricChoice
from itrec_dist.metrics.outcomes import Outcomes
from itrec_dist.metrics.ranking import Judge
from itrec_dist.runs.directory import RunDirectory
from tests.shards_factory import random_windows

CPU = torch.device("cpu")


@pytest.fixture
def three():
    """Of two users: hits at the ranks 1 and 3 of two targets, at 10 of one, and none of three."""
    hits = np.zeros((3, 20), dtype=bool)
    hits[0, [0, 2]] = hits[1, 9] = True
    return Outcomes(
        np.array([3, 5, 9]), np.array([1, 2, 2]), np.array([[1, 0], [2, 3], [2, 3]]),
        np.array([2, 1, 3]), {"unmasked": hits, "masked": np.zeros_like(hits)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "by_hand"),
    [
        ("hit_rate@10", [1, 1, 0]),
        ("hit_rate@9", [1, 0, 0]),
        ("precision@5", [0.4, 0, 0]),
        ("recall@2", [0.5, 0, 0]),
        ("mrr@10", [1, 0.1, 0]),
        ("ndcg@10", [1.5 / (1 + 1 / math.log2(3)), 1 / math.log2(11), 0]),
        ("ndcg@1", [1, 0, 0]),
    ],
)
def test_figures_of_single_windows_by_hand(three, key, by_hand):
    found = three.values(FigureName.within("unmasked", key))
    assert found == pytest.approx(by_hand, abs=1e-15)
    assert not three.values(FigureName.within("masked", key)).any()


def test_only_means_over_rankings_as_long_as_kept_are_told(three):
    for key in ("coverage@5", "popularity@5", "hit_rate@21", "loss", "unheard_of@5"):
        assert not three.holds(FigureName.within("unmasked", key))
    assert not three.holds(FigureName("ratings", "rmse"))
    assert three.holds(FigureName.within("masked", "ndcg@20"))


def test_what_is_stored_is_read_again(three, tmp_path):
    per_window.save(RunDirectory(tmp_path), three)
    found = per_window.read(tmp_path)
    for name in ("window_ids", "user_ids", "user_features", "num_targets"):
        assert np.array_equal(getattr(found, name), getattr(three, name))
        assert getattr(found, name).dtype == np.int64
    for ranking in RANKINGS:
        assert np.array_equal(found.hits[ranking], three.hits[ranking])
    rows = pq.read_table(RunDirectory(tmp_path).test_windows).to_pylist()
    assert [row["unmasked"] for row in rows] == [[1, 3], [10], []]


def test_windows_without_user_features_are_kept_too(three, tmp_path):
    bare = Outcomes(
        three.window_ids, three.user_ids, np.zeros((3, 0), dtype=np.int64), three.num_targets,
        three.hits,
    )  # fmt: skip
    per_window.save(RunDirectory(tmp_path), bare)
    assert per_window.read(tmp_path).user_features.shape == (3, 0)


def test_a_file_without_windows_is_none_and_a_damaged_one_is_named(tmp_path):
    assert per_window.read(tmp_path) is None
    per_window.save(RunDirectory(tmp_path), None)
    assert per_window.read(tmp_path) is None
    place = RunDirectory(tmp_path).test_windows
    place.write_bytes(place.read_bytes()[:-30])
    with pytest.raises(CheckpointError, match=r"test_windows\.parquet is damaged"):
        per_window.read(tmp_path)


def test_they_average_to_the_judges_figures_whatever_the_batches():
    """Windows with several targets, some of them padding or repeated, in drawn rankings."""
    windows = random_windows(60, num_items=12, target_length=4, seed=3)
    windows.target_ids[::3, 2:] = 0
    windows.target_ids[7] = 0  # without a target: not counted
    rng = np.random.default_rng(1)
    rankings = [
        torch.from_numpy(np.stack([rng.permutation(12) + 1 for _ in range(60)])) for _ in range(2)
    ]
    choice = MetricChoice(cutoffs=(1, 3, 10), outcomes=True)
    judge = Judge(torch.ones(12, dtype=torch.int64), 4, choice)
    for rows in np.array_split(rng.permutation(60), 7):
        at = torch.from_numpy(rows)
        judge.count(
            whole_batch(windows.take(rows), CPU), rankings[0][at], rankings[1][at], None
        )  # fmt: skip
    judged = judge.judgement()
    outcomes = judged.outcomes
    assert len(outcomes) == judged.num_windows == 59
    assert outcomes.window_ids.tolist() == [n for n in range(60) if n != 7]
    names = [name for name, _ in judged.figures() if metrics.of(name.metric).is_mean]
    assert len(names) == 2 * 5 * 3
    for name in names:
        assert outcomes.values(name).mean() == pytest.approx(judged.value(name), abs=1e-14)
    assert "outcomes" not in judged.to_json()
