"""Names of figures, judgements as files hold them, and metrics found by name."""

import math

import pytest
import torch

from itrec_dist import metrics
from itrec_dist.data.batches import whole_batch
from itrec_dist.errors import ConfigError
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import LOSS, RANKINGS, FigureName, MetricChoice
from itrec_dist.metrics.ranking import Judge
from itrec_dist.metrics.rating_errors import RatingJudge
from itrec_dist.models.output import RankingOutput, RatingOutput
from itrec_dist.models.rank import both_rankings
from tests.shards_factory import random_windows

CPU = torch.device("cpu")


# ---------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("loss", LOSS),
        ("unmasked/precision@5", FigureName("unmasked", "precision", 5)),
        ("ratings/rmse", FigureName("ratings", "rmse")),
        ("other/some_thing@100", FigureName("other", "some_thing", 100)),
    ],
)
def test_a_name_is_read_and_written_alike(text, name):
    assert FigureName.parse(text) == name
    assert str(name) == text


@pytest.mark.parametrize("text", ["precision@5", "accuracy", "", "/rmse", "ratings/", "a/b/c"])
def test_what_is_no_name_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match="is not a figure: give loss, or group/metric@cutoff"):
        FigureName.parse(text)


def test_the_nearest_cutoff_is_found_and_the_lower_of_two():
    name = FigureName("unmasked", "precision", 5)
    assert name.nearest((1, 3)).cutoff == 3
    assert name.nearest((10, 20)).cutoff == 10
    assert name.nearest((8, 2)).cutoff == 2
    assert name.nearest(()) == name
    assert FigureName("ratings", "rmse").nearest((1,)).cutoff is None


# ---------------------------------------------------------------------------- judgements


def test_a_judgement_is_written_as_it_always_was_and_read_back():
    content = {
        "loss": 2.5, "num_windows": 9, "unmasked": {"precision@5": 0.125}, "masked": {"mrr@5": 0.0},
    }  # fmt: skip
    found = Judgement.from_json(content)
    assert found.to_json() == content
    assert list(found.to_json()) == list(content)
    assert found.value(FigureName("unmasked", "precision", 5)) == 0.125
    assert found.value(FigureName("masked", "precision", 5)) is None
    assert found.value(LOSS) == 2.5
    assert [str(name) for name, _ in found.figures()] == [
        "loss", "unmasked/precision@5", "masked/mrr@5",
    ]  # fmt: skip


def test_figures_that_are_not_finite_are_left_out_of_what_is_read():
    content = {"loss": None, "num_windows": 1, "ratings": {"rmse": math.nan, "mae": None, "x": 1}}
    assert Judgement.from_json(content) == Judgement(None, 1, {"ratings": {"x": 1.0}})


@pytest.mark.parametrize("content", [3, [], {"loss": 1.0, "num_windows": 1, "unmasked": 0.5}])
def test_a_misshapen_judgement_is_refused(content):
    with pytest.raises(ValueError, match="misshapen"):
        Judgement.from_json(content)


# ---------------------------------------------------------------------------- the registry


def test_every_metric_of_the_package_is_found_and_described():
    found = metrics.registered()
    assert list(found) == [
        "coverage", "hit_rate", "loss", "mae", "mrr", "ndcg", "popularity", "precision", "recall",
        "rmse",
    ]  # fmt: skip
    directions = {name: metric.higher_is_better for name, metric in found.items()}
    assert {n for n, d in directions.items() if d is None} == {"coverage", "popularity"}
    assert {n for n, d in directions.items() if d is False} == {"loss", "mae", "rmse"}
    assert metrics.groups() == ["unmasked", "masked", "ratings"]


def test_figures_stand_in_the_order_of_groups_metrics_and_cutoffs():
    names = metrics.figures(("ratings", *RANKINGS), MetricChoice((10, 1)))
    assert metrics.in_order(reversed(names))[:4] == [
        LOSS, FigureName("unmasked", "precision", 1), FigureName("unmasked", "precision", 10),
        FigureName("unmasked", "hit_rate", 1),
    ]  # fmt: skip
    assert [str(n) for n in metrics.in_order(names)][-2:] == ["ratings/rmse", "ratings/mae"]


def test_only_what_has_a_direction_can_choose():
    valid = metrics.monitors(RANKINGS, MetricChoice((3,)))
    assert {name.metric for name in valid} == {
        "loss", "precision", "hit_rate", "recall", "ndcg", "mrr",
    }  # fmt: skip
    assert metrics.refusal("m", "masked/mrr@3", valid) is None
    assert (
        "m=masked/popularity@3 describes a model and has no best value to choose by; valid: "
        in (metrics.refusal("m", "masked/popularity@3", valid) or "")
    )
    assert "m=masked/mrr@5 is not a figure; valid: loss, unmasked/precision@3" in (
        metrics.refusal("m", "masked/mrr@5", valid) or ""
    )


@pytest.mark.parametrize("cutoffs", [(), (0, 5), (5, 5)])
def test_impossible_cutoffs_are_refused(cutoffs):
    with pytest.raises(ValueError, match=r"cutoffs=\[.*\] must be different numbers"):
        MetricChoice(cutoffs)


# ---------------------------------------------------------------------------- from outside


def judged(choice=None):
    """The figures of random scores, and the ranks of each window's hits."""
    windows = random_windows(50)
    batch = whole_batch(windows, CPU)
    scores = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    judge = Judge(torch.arange(1, 13), 2, choice)
    rankings = both_rankings([scores], 20, batch.item_ids_BL)
    judge.add(batch, RankingOutput(torch.ones(50), *rankings))
    order = scores.argsort(1, descending=True) + 1
    hits = []
    for top, targets in zip(order.tolist(), windows.target_ids.tolist(), strict=True):
        wanted = set(targets) - {0}
        hits.append(([r for r, item in enumerate(top, 1) if item in wanted], len(wanted)))
    return judge.judgement(), hits


@pytest.mark.usefixtures("outside_metrics")
def test_a_metric_of_an_installed_package_is_computed_and_can_choose():
    found, hits = judged(MetricChoice((3, 5)))
    for k in (3, 5):
        f1 = [2 * sum(r <= k for r in ranks) / (k + size) for ranks, size in hits]
        assert found.value(FigureName("unmasked", "f1", k)) == pytest.approx(sum(f1) / 50)
    keys = list(found.groups["unmasked"])
    assert keys.index("recall@5") < keys.index("f1@3") < keys.index("ndcg@3")
    valid = metrics.monitors(RANKINGS, MetricChoice((3,)))
    assert FigureName("masked", "f1", 3) in valid
    assert metrics.lower_is_better(FigureName("masked", "miss_rate", 3))


@pytest.mark.usefixtures("outside_metrics")
def test_a_metric_given_as_a_class_is_computed_where_it_is_asked_for():
    choice = MetricChoice((5,), ("their_ranking_metrics:MAPMetric",))
    found, hits = judged(choice)
    expected = [
        sum(n / r for n, r in enumerate((r for r in ranks if r <= 5), 1)) / min(5, size)
        for ranks, size in hits
    ]
    assert found.value(FigureName("unmasked", "map", 5)) == pytest.approx(sum(expected) / 50)
    without, _ = judged()
    assert without.value(FigureName("unmasked", "map", 5)) is None
    assert metrics.of("map").label == "MAP"


@pytest.mark.usefixtures("outside_metrics")
def test_a_rating_metric_from_outside_is_one_class():
    batch = whole_batch(random_windows(120, target_length=2), CPU)
    scores = torch.full((120, 2), 3.0)
    judge = RatingJudge(4.0, CPU)
    judge.add(batch, RatingOutput(torch.ones(120), scores))
    found = judge.judgement().groups["ratings"]
    assert list(found) == ["within", "rmse", "mae"]
    near = (scores - batch.target_ratings_BK).abs() <= 0.5
    assert found["within"] == pytest.approx(near.double().mean().item(), abs=1e-7)


@pytest.mark.usefixtures("outside_metrics")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("their_ranking_metrics:Nothing", "cannot be imported"),
        ("math:inf", "is not a metric"),
        ("no_such_module:X", "cannot be imported"),
    ],
)
def test_what_is_no_metric_is_refused(path, words):
    with pytest.raises(ConfigError, match=words):
        metrics.load([path])


def test_an_unknown_metric_has_its_words_no_direction_and_comes_last():
    unknown = metrics.of("something_new")
    assert (unknown.label, unknown.higher_is_better) == ("Something new", None)
    names = [FigureName("masked", "something_new", 5), FigureName("masked", "popularity", 5)]
    assert metrics.in_order(names) == names[::-1]
