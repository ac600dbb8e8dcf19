"""The item table: the same scores whole, in blocks and one by one."""

import pytest
import torch

from itrec_dist.models.item_table import ItemTable, Queries

pytestmark = pytest.mark.usefixtures("one_thread")
N, C, D, J = 9, 23, 5, 4


def case(with_bias=True, with_additions=True):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, D, generator=generator, requires_grad=True)
    ids = torch.randint(C + 1, (N, J), generator=generator, dtype=torch.int32)
    ids[:, 1] = ids[:, 0]  # an item that stands twice
    added = torch.randn(N, J, generator=generator, requires_grad=True)
    weight = torch.randn(C, D, generator=generator, requires_grad=True)
    bias = torch.randn(C, generator=generator, requires_grad=True) if with_bias else None
    queries = Queries(hidden, ids, added) if with_additions else Queries(hidden)
    return queries, ItemTable(weight, bias)


def slow_scores(queries, table):
    rows = []
    for n in range(N):
        scores = [
            (queries.hidden_ND[n] * table.weight_CD[c]).sum()
            + (0 if table.bias_C is None else table.bias_C[c])
            for c in range(C)
        ]
        if queries.bias_ids_NJ is not None:
            for item, added in zip(
                queries.bias_ids_NJ[n].tolist(), queries.bias_NJ[n], strict=True
            ):
                if item:
                    scores[item - 1] = scores[item - 1] + added
        rows.append(torch.stack(scores))
    return torch.stack(rows)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_additions", [False, True])
def test_the_three_ways_to_ask_give_one_score_and_one_gradient(with_bias, with_additions):
    queries, table = case(with_bias, with_additions)
    assert table.num_items == C
    expected = slow_scores(queries, table)
    chosen = torch.tensor([[0, 1, 5, 5, C, 0]] * N)
    weights = [queries.hidden_ND, table.weight_CD]
    weights += [table.bias_C] if with_bias else []
    weights += [queries.bias_NJ] if with_additions else []
    whole = table.all_scores(queries)
    torch.testing.assert_close(whole, expected)
    pick = torch.randn(N, C)
    grads = torch.autograd.grad((expected * pick).sum(), weights, retain_graph=True)
    for found in (whole, torch.cat(list(table.blocks(queries, 4)), dim=1)):
        torch.testing.assert_close(found, expected)
        for one, other in zip(
            torch.autograd.grad((found * pick).sum(), weights), grads, strict=True
        ):
            torch.testing.assert_close(one, other)
    of_chosen = table.scores_of(queries, chosen)
    twin = torch.where(chosen > 0, expected.gather(1, (chosen - 1).clamp(min=0)), 0.0)
    torch.testing.assert_close(of_chosen, twin)
    grads = torch.autograd.grad(twin.square().sum(), weights)
    for one, other in zip(
        torch.autograd.grad(of_chosen.square().sum(), weights), grads, strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("items", "size", "widths"),
    [
        (0, 100, [0]),
        (100, 100, [100]),
        (163, 100, [163]),
        (164, 100, [100, 64]),
        (263, 100, [100, 163]),
        (23, 10, [10, 13]),
        (20, 10, [10, 10]),
    ],
)
def test_no_block_is_very_narrow(items, size, widths):
    table = ItemTable(torch.randn(items, D))
    assert [b.shape[1] for b in table.blocks(Queries(torch.randn(N, D)), size)] == widths


def test_scores_are_exact_under_autocast():
    queries, table = case()
    exact = table.all_scores(queries)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(table.all_scores(queries), exact)
        assert table.scores_of(queries, torch.ones(N, 2, dtype=torch.int32)).dtype == torch.float32


def test_an_initial_bias_is_set_only_in_a_table_with_a_bias():
    queries, table = case()
    table.set_bias(torch.arange(C))
    assert table.bias_C.tolist() == list(range(C))
    without = case(with_bias=False)[1]
    before = without.all_scores(queries)
    without.set_bias(torch.arange(C))
    assert torch.equal(without.all_scores(queries), before)
