"""Rankings taken block by block against the definition and against ranking everything at once."""

import math

import pytest
import torch

from itrec_dist.errors import ConfigError
from itrec_dist.models.item_table import BLOCK, ItemTable, Queries
from itrec_dist.models.rank import both_rankings, top_items
from tests.cases import slow_after
from tests.drawn_ties import slow_drawn

pytestmark = pytest.mark.usefixtures("one_thread")
INF = math.inf


def slow_top(scores, n):
    """The definition, per row: by falling score, then by rising id; -inf never."""
    tops = []
    for row in scores.tolist():
        ranked = sorted((-s, i + 1) for i, s in enumerate(row) if s > -INF)
        tops.append(([i for _, i in ranked] + [0] * n)[:n])
    return torch.tensor(tops)


def tied(seed, rows=200, items=8, levels=4):
    """Scores with ties and a fifth of them excluded."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (rows, items), generator=generator).float() / 4 - 1
    scores[torch.rand(rows, items, generator=generator) < 0.2] = -INF
    return scores


def at_once(scores, n):
    return top_items([scores], n)[0]


@pytest.mark.parametrize("n", [1, 3, 5, 7, 8, 12])
@pytest.mark.parametrize("levels", [1, 2, 4, 1000])
def test_a_ranking_is_the_definition_whatever_the_ties(n, levels):
    scores = tied(n * levels, levels=levels)
    assert torch.equal(at_once(scores, n), slow_top(scores, n))


@pytest.mark.parametrize("block", slow_after(4, [1, 7, 64, 1000, 2, 3, 40, 100, 101]))
@pytest.mark.parametrize("levels", [1, 3, 20, 10**6])
@pytest.mark.parametrize("n", [1, 20, 100, 130])
def test_blocks_of_any_size_give_the_ranking_of_all_scores(block, levels, n):
    scores = tied(block + levels, rows=60, items=101, levels=levels)
    scores[0] = -INF  # nothing to recommend
    scores[1] = torch.where(torch.arange(101) < 99, -INF, 0.0)  # all that there is comes last
    scores[2] = torch.where(torch.arange(101) % 2 == 0, 0.0, -0.0)
    ids, values = top_items(scores.split(block, dim=1), n)
    expected_ids, expected_values = top_items([scores], n)
    assert torch.equal(ids, expected_ids)
    assert torch.equal(values, expected_values)
    assert torch.equal(ids, slow_top(scores, n))
    picked = scores.gather(1, (ids - 1).clamp(min=0))
    assert torch.equal(values, torch.where(ids > 0, picked, -INF))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_coarse_type_and_a_long_catalogue(dtype):
    scores = torch.randn(20, 3000, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(at_once(scores, 20), slow_top(scores.double(), 20))
    assert torch.equal(top_items(scores.split(700, dim=1), 20)[0], at_once(scores, 20))


def test_small_rankings_by_hand():
    scores = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0], [-INF, 0.0, -0.0, -INF, -INF]])
    assert at_once(scores, 2).tolist() == [[2, 3], [2, 3]]
    assert at_once(scores, 4).tolist() == [[2, 3, 5, 4], [2, 3, 0, 0]]
    assert at_once(torch.tensor([[-0.0, 0.0, -1.0]]), 1).tolist() == [[1]]
    assert at_once(torch.tensor([[INF, INF, 0.0]]), 2).tolist() == [[1, 2]]
    assert at_once(torch.zeros(0, 5), 2).shape == (0, 2)
    assert at_once(torch.zeros(2, 0), 3).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("block", [7, 10, 50])
@pytest.mark.parametrize("column", [0, 9, 40, 49])
def test_nan_in_any_block_is_refused_with_what_to_do(block, column):
    scores = torch.zeros(3, 50)
    scores[1, column] = math.nan
    with pytest.raises(ConfigError, match=r"1 of 3 windows hold NaN.*learning rate"):
        top_items(scores.split(block, dim=1), 5)


@pytest.mark.parametrize("block", [1, 4, 15])
@pytest.mark.parametrize(("n", "num_seen"), [(3, 4), (12, 4), (20, 4), (3, 40), (12, 33)])
def test_leaving_the_seen_out_equals_ranking_without_them(block, n, num_seen):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(6, (300, 15), generator=generator).float()
    before = scores.clone()
    seen_ids = torch.randint(16, (300, num_seen), generator=generator)  # with padding, with repeats
    seen = torch.zeros(300, 16, dtype=torch.bool).scatter_(1, seen_ids, True)[:, 1:]
    expected = slow_top(scores.masked_fill(seen, -INF), n)
    blocks = scores.split(block, dim=1)
    assert torch.equal(top_items(blocks, n, seen_ids)[0], expected)
    both = both_rankings(blocks, n, seen_ids)
    assert torch.equal(both[0], slow_top(scores, n))
    assert torch.equal(both[1], expected)
    assert torch.equal(scores, before)


@pytest.mark.parametrize("size", [BLOCK, 4096, 1000, 64])
@pytest.mark.parametrize("items", [4999, 2 * BLOCK + 1])
@pytest.mark.parametrize("rows", [1, 33])
def test_a_tables_blocks_rank_as_its_whole_product_to_the_bit(size, items, rows):
    """Including a catalogue of one item more than a block, which a narrow rest would round."""
    generator = torch.Generator().manual_seed(items)
    queries = Queries(
        torch.randn(rows, 64, generator=generator),
        torch.randint(items + 1, (rows, 6), generator=generator),
        torch.randn(rows, 6, generator=generator),
    )
    table = ItemTable(
        torch.randn(items, 64, generator=generator), torch.randn(items, generator=generator)
    )
    whole = table.all_scores(queries)
    assert torch.equal(torch.cat(list(table.blocks(queries, size)), dim=1), whole)
    found, expected = top_items(table.blocks(queries, size), 50), top_items([whole], 50)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


# ---------------------------------------------------------------------------- equal scores, judged


@pytest.mark.parametrize("block", slow_after(2, [7, 64, 1, 40, 101]))
@pytest.mark.parametrize("levels", [1, 3, 20, 10**6])
@pytest.mark.parametrize("n", [1, 20, 130])
def test_a_judge_draws_equal_scores_alike_in_any_block_and_batch(block, levels, n):
    scores = tied(block + levels, rows=60, items=101, levels=levels)
    windows = torch.randperm(10**6, generator=torch.Generator().manual_seed(n))[:60]
    ids, values = top_items(scores.split(block, dim=1), n, window_ids_B=windows)
    assert torch.equal(ids, slow_drawn(scores, n, windows))
    assert torch.equal(values, top_items([scores], n)[1])
    for rows in torch.arange(60).split(7):
        part, _ = top_items([scores[rows]], n, window_ids_B=windows[rows])
        assert torch.equal(part, ids[rows])


@pytest.mark.parametrize("block", [1, 7, 50])
def test_a_judges_two_rankings_are_drawn_alike(block):
    scores, windows = tied(5, rows=300, items=50, levels=3), torch.arange(300) + 17
    seen_ids = torch.randint(51, (300, 6), generator=torch.Generator().manual_seed(1))
    seen = torch.zeros(300, 51, dtype=torch.bool).scatter_(1, seen_ids, True)[:, 1:]
    top, unseen = both_rankings(scores.split(block, dim=1), 12, seen_ids, windows)
    assert torch.equal(top, slow_drawn(scores, 12, windows))
    assert torch.equal(unseen, slow_drawn(scores.masked_fill(seen, -INF), 12, windows))


def test_rankings_without_equal_scores_are_what_they_were():
    generator = torch.Generator().manual_seed(0)
    scores = torch.stack([torch.randperm(500, generator=generator) for _ in range(80)]).float()
    for blocks in ([scores], scores.split(60, dim=1)):
        drawn = top_items(blocks, 20, window_ids_B=torch.arange(80))
        plain = top_items(blocks, 20)
        assert torch.equal(drawn[0], plain[0])
        assert torch.equal(drawn[1], plain[1])


def test_scores_that_say_nothing_are_as_good_as_chance():
    """Targets are popular, which is to say that their ids are low."""
    windows, items, width = 20_000, 200, 5
    generator = torch.Generator().manual_seed(0)
    targets = torch.multinomial(1 / torch.arange(1.0, items + 1), windows * width, True,
                                generator=generator).view(windows, width) + 1  # fmt: skip
    scores = torch.zeros(windows, items)

    def precision(ranking):
        """Of the first five, against the mean over items of how often they are a target."""
        hit = (ranking[:, :5, None] == targets[:, None, :]).any(2).double().mean(1)
        relevant = torch.tensor([len(set(row)) for row in targets.tolist()]).double()
        return hit, float(relevant.mean()) / items

    by_id, chance = precision(top_items([scores], 5)[0])
    assert by_id.mean() > 5 * chance
    drawn, _ = precision(top_items([scores], 5, window_ids_B=torch.arange(windows))[0])
    assert abs(float(drawn.mean()) - chance) < 4 * float(drawn.std()) / windows**0.5
    shown = top_items([scores], 5, window_ids_B=torch.arange(windows))[0].flatten().bincount()
    expected = windows * 5 / items
    assert ((shown[1:] - expected).abs() < 5 * expected**0.5).all()
