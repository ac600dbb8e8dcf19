import json
import math
from fractions import Fraction

import pytest
import torch
import torchmetrics.functional.retrieval as library

from itrec_dist.errors import ShardsError
from itrec_dist.metrics.ranking import Judge, RankingMetrics
from itrec_dist.models.rank import both_rankings, top_items
from tests.cases import slow_after
from tests.drawn_ties import slow_drawn

INF = math.inf


def ids(*rows):
    return torch.tensor(rows)


def slow_top(scores, n):
    """The definition, per row: by falling score, then by rising id; -inf never."""
    tops = []
    for row in scores.tolist():
        ranked = sorted((-s, i + 1) for i, s in enumerate(row) if s > -INF)
        tops.append(([i for _, i in ranked] + [0] * n)[:n])
    return torch.tensor(tops)


# ---------------------------------------------------------------------------- by hand


def test_the_papers_worked_example():
    metrics = RankingMetrics(torch.ones(1000), 5, cutoffs=(5,))
    metrics.update(ids([12, 437, 1, 82, 554]), ids([23, 48, 911, 12, 82]), torch.ones(1))
    figures = metrics.compute()
    assert figures["precision@5"] == 2 / 5  # Accuracy 1
    assert figures["hit_rate@5"] == 1.0  # Accuracy 2
    assert figures["recall@5"] == 2 / 5
    assert figures["mrr@5"] == 1.0
    ideal = sum(1 / math.log2(r + 1) for r in range(1, 6))
    assert figures["ndcg@5"] == pytest.approx((1 + 1 / math.log2(5)) / ideal, abs=1e-15)
    assert figures["coverage@5"] == 5 / 1000
    assert figures["popularity@5"] == 1.0


def test_two_windows_a_filler_a_repeat_and_padding():
    popularity = torch.tensor([8, 4, 2, 1, 1, 0])
    metrics = RankingMetrics(popularity, 3, cutoffs=(2, 1))
    metrics.update(
        ids([1, 2], [3, 1], [6, 5]),
        ids([2, 2, 0], [4, 5, 6], [6, 5, 4]),  # {2}; {4, 5, 6}; the filler's would all hit
        torch.tensor([1.0, 1.0, 0.0]),
    )
    figures = metrics.compute()
    assert metrics.num_windows == 2
    assert figures["precision@1"] == 0
    assert figures["precision@2"] == 1 / 2 / 2
    assert figures["recall@2"] == 1 / 2
    assert figures["mrr@2"] == 1 / 2 / 2
    assert figures["ndcg@2"] == pytest.approx(1 / math.log2(3) / 2)
    assert figures["coverage@1"] == 2 / 6
    assert figures["coverage@2"] == 3 / 6
    targets = (4 + 1 + 1 + 0) / 4
    assert figures["popularity@1"] == pytest.approx((8 + 2) / 2 / targets)
    assert figures["popularity@2"] == pytest.approx((8 + 4 + 2 + 8) / 4 / targets)


def test_fewer_items_than_the_cutoff_and_exhausted_rankings():
    metrics = RankingMetrics(torch.ones(3), 1, cutoffs=(5,))
    metrics.update(ids([2, 1, 3, 0, 0], [1, 0, 0, 0, 0]), ids([1], [3]), torch.ones(2))
    figures = metrics.compute()
    assert figures["precision@5"] == 1 / 5 / 2
    assert figures["mrr@5"] == 1 / 2 / 2
    assert figures["coverage@5"] == 1.0
    assert figures["popularity@5"] == 1.0


def test_windows_without_targets_and_targets_unknown_to_training():
    metrics = RankingMetrics(torch.tensor([3, 0]), 2, cutoffs=(1,))
    with pytest.raises(ShardsError, match="nothing to judge"):
        metrics.compute()
    metrics.update(ids([1], [1]), ids([0, 0], [2, 2]), torch.ones(2))
    assert metrics.num_windows == 1
    assert metrics.compute()["popularity@1"] == 0.0


# ---------------------------------------------------------------------------- second opinions


def random_case(seed, windows=211, items=40, targets=5, levels=12):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (windows, items), generator=generator).float()
    wanted = torch.randint(items + 1, (windows, targets), generator=generator)
    wanted[torch.rand(windows, targets, generator=generator) < 0.2] = 0
    weight = (torch.rand(windows, generator=generator) < 0.9).float()
    inputs = torch.randint(items + 1, (windows, 7), generator=generator)
    popularity = torch.randint(50, (items,), generator=generator)
    return scores, inputs, wanted, weight, popularity


def mean(values):
    return float(sum(values) / len(values))


def gain(ranks):
    return math.fsum(1 / math.log2(1 + rank) for rank in ranks)


def slow_figures(top, wanted, weight, popularity, cutoffs):
    """The docstring of the module once more, window by window, in fractions."""
    rows = [
        (t, set(w) - {0})
        for t, w, weight in zip(top.tolist(), wanted.tolist(), weight.tolist(), strict=True)
        if weight and set(w) - {0}
    ]
    chosen = [popularity[i - 1].item() for _, targets in rows for i in targets]
    figures = {}
    for k in cutoffs:
        hits = [[i in targets for i in t[:k]] for t, targets in rows]
        ranks = [[r for r, hit in enumerate(h, start=1) if hit] for h in hits]
        sizes = [len(targets) for _, targets in rows]
        figures[f"precision@{k}"] = mean([Fraction(len(r), k) for r in ranks])
        figures[f"hit_rate@{k}"] = mean([Fraction(bool(r)) for r in ranks])
        figures[f"recall@{k}"] = mean(
            [Fraction(len(r), s) for r, s in zip(ranks, sizes, strict=True)]
        )
        figures[f"ndcg@{k}"] = mean(
            [gain(r) / gain(range(1, min(k, s) + 1)) for r, s in zip(ranks, sizes, strict=True)]
        )
        figures[f"mrr@{k}"] = mean([Fraction(1, r[0]) if r else Fraction(0) for r in ranks])
        shown = [i for t, _ in rows for i in t[:k] if i]
        figures[f"coverage@{k}"] = len(set(shown)) / len(popularity)
        figures[f"popularity@{k}"] = mean([popularity[i - 1].item() for i in shown]) / mean(chosen)
    return figures


@pytest.mark.parametrize(("seed", "targets"), [(0, 5), (1, 5), (2, 5), (3, 5), (4, 33), (5, 1)])
def test_a_slow_reference_agrees(seed, targets):
    scores, _, wanted, weight, popularity = random_case(seed, targets=targets)
    metrics = RankingMetrics(popularity, targets)
    metrics.update(top_items([scores], 20)[0], wanted, weight)
    expected = slow_figures(slow_top(scores, 20), wanted, weight, popularity, (5, 10, 20))
    assert metrics.compute() == pytest.approx(expected, rel=1e-13)
    assert metrics.compute().keys() == expected.keys()


@pytest.mark.parametrize("items", [1, 3, 6, 40])
@pytest.mark.parametrize("levels", [1, 4, 1000])
def test_both_rankings_agree_with_the_slow_twin_on_small_catalogues(items, levels):
    """Ties, targets that repeat or are in no catalogue, fewer items than the cut-off, or none."""
    case = random_case(items, windows=150, items=items, levels=levels)
    scores, inputs, wanted, weight, popularity = case
    popularity = popularity + 1
    inputs[:, 2:] = 0  # some see nearly the whole catalogue, some all of it
    windows = torch.arange(150) * 7
    judge = Judge(popularity, 5)
    judge.update(*both_rankings([scores], 20, inputs, windows), wanted, weight)
    found = judge.judgement().groups
    seen = torch.zeros(150, items + 1, dtype=torch.bool).scatter_(1, inputs, True)[:, 1:]
    for name, left in (("unmasked", scores), ("masked", scores.masked_fill(seen, -INF))):
        top = slow_drawn(left, 20, windows)
        if not top.any():
            continue
        expected = slow_figures(top, wanted, weight, popularity, (5, 10, 20))
        assert found[name] == pytest.approx(expected, rel=1e-12), name


@pytest.mark.parametrize("items", slow_after(1, [12, 3, 40]))
@pytest.mark.parametrize("levels", [1, 4, 1000])
@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_torchmetrics_agrees(k, levels, items):
    """It is given the ranking as scores without ties, for it breaks those in its own way."""
    scores, _, wanted, weight, popularity = random_case(k, windows=60, items=items, levels=levels)
    metrics = RankingMetrics(popularity + 1, 5, cutoffs=(k,))
    windows = torch.arange(60)
    ranking = top_items([scores], max(k, items), window_ids_B=windows)[0]
    metrics.update(ranking, wanted, weight)
    places = torch.arange(items, 0, -1).float().expand(60, -1)
    scores = torch.zeros(60, items + 1).scatter_(1, ranking[:, :items], places)[:, 1:]
    relevant = torch.zeros(60, items + 1, dtype=torch.bool).scatter_(1, wanted, True)[:, 1:]
    counted = (weight > 0) & relevant.any(1)
    scores, relevant = scores[counted], relevant[counted]
    figures = metrics.compute()
    for name, function in {
        "precision": library.retrieval_precision,
        "hit_rate": library.retrieval_hit_rate,
        "recall": library.retrieval_recall,
        "ndcg": library.retrieval_normalized_dcg,
        "mrr": library.retrieval_reciprocal_rank,
    }.items():
        theirs = [function(s, r, top_k=k).item() for s, r in zip(scores, relevant, strict=True)]
        assert figures[f"{name}@{k}"] == pytest.approx(sum(theirs) / len(theirs), abs=1e-6), name


# ---------------------------------------------------------------------------- workers


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_any_number_of_workers_gives_bit_identical_figures(workers):
    scores, inputs, wanted, weight, popularity = random_case(1)
    whole = Judge(popularity, 5)
    whole.update(*both_rankings([scores], 20, inputs), wanted, weight)
    total = 0
    for rank in range(workers):
        worker = Judge(popularity, 5)
        for batch in torch.arange(rank, len(scores), workers).split(32):
            rankings = both_rankings([scores[batch]], 20, inputs[batch])
            worker.update(*rankings, wanted[batch], weight[batch])
        total = worker.state() + total
    summed = Judge(popularity, 5)
    summed.load(total)
    assert summed.judgement() == whole.judgement()
    assert total.dtype == torch.float64


def test_a_judge_counts_both_rankings_and_the_loss():
    scores, inputs, wanted, weight, popularity = random_case(3)
    judge = Judge(popularity, 5)
    judge.update(*both_rankings([scores], 20, inputs), wanted, weight)
    judge.add_loss(torch.tensor(30.0), torch.tensor(10.0))
    judge.add_loss(10.0, 10)
    found = json.loads(json.dumps(judge.judgement().to_json(), allow_nan=False))
    real = weight > 0
    seen = torch.zeros(211, 41, dtype=torch.bool).scatter_(1, inputs, True)[:, 1:]
    arguments = wanted[real], weight[real], popularity, (5, 10, 20)
    unmasked = slow_figures(slow_top(scores[real], 20), *arguments)
    masked = slow_figures(slow_top(scores.masked_fill(seen, -INF)[real], 20), *arguments)
    assert found["unmasked"] == pytest.approx(unmasked, rel=1e-13)
    assert found["masked"] == pytest.approx(masked, rel=1e-13)
    assert found["masked"] != found["unmasked"]
    assert found["loss"] == 2.0
    assert found["num_windows"] == judge.unmasked.num_windows


def test_without_a_loss_the_judgement_says_null():
    judge = Judge(torch.ones(9), 1)
    rankings = both_rankings([torch.rand(4, 9)], 20, ids([1], [2], [3], [4]))
    judge.update(*rankings, ids([5], [6], [7], [8]), torch.ones(4))
    assert judge.judgement().loss is None
