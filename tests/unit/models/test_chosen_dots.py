"""Scores of many chosen items: the same in parts as all at once."""

import pytest
import torch

from itrec_dist.models import chosen_dots as module
from itrec_dist.models.item_table import ItemTable, Queries

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("items", [12, 500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_parts_as_all_at_once(items, dtype, monkeypatch):
    """500 items are many for the six that each query chooses, so vectors are gathered."""
    torch.manual_seed(0)
    hidden = torch.randn(23, 4, requires_grad=True)
    weight = torch.randn(items, 4).to(dtype).requires_grad_()
    columns = torch.randint(items, (23, 6))
    columns[:, 1] = columns[:, 0]
    pick = torch.randn(23, 6)
    results = []
    for few in (1 << 22, 0):
        monkeypatch.setattr(module, "_FEW", few)
        monkeypatch.setattr(module, "_AT_ONCE_CPU", 5 * min(items, 24))  # five queries, then three
        dots = module.chosen_dots(hidden, weight, columns)
        results.append((dots, *torch.autograd.grad((dots * pick).sum(), (hidden, weight))))
    for one, other in zip(*results, strict=True):
        assert one.dtype == other.dtype
        tolerance = 1e-5 if one.dtype == torch.float32 else 0.02
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    assert results[0][0].grad_fn.name() != results[1][0].grad_fn.name(), "two ways were compared"


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("has_added", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4, 9])
def test_scores_of_shared_items_are_those_of_each_query_s_own(has_bias, has_added, groups):
    torch.manual_seed(0)
    leaves = [torch.randn(9, 3), torch.randn(20, 3)]
    leaves += [torch.randn(20)] if has_bias else []
    leaves += [torch.randn(9, 2)] if has_added else []
    leaves = [leaf.requires_grad_() for leaf in leaves]
    table = ItemTable(leaves[1], leaves[2] if has_bias else None)
    queries = Queries(leaves[0])
    if has_added:
        queries = Queries(leaves[0], torch.randint(6, (9, 2)), leaves[-1])
    ids, shared = torch.randint(6, (9, 3)), torch.randint(1, 21, (groups, 5))
    shared[0] = torch.tensor([1, 2, 5, 5, 20])
    own, of_shared = table.scores_of_shared(queries, ids, shared)
    expected = table.scores_of(queries, torch.cat([ids, shared[torch.arange(9) % groups]], dim=1))
    found = torch.cat([own, of_shared], dim=1)
    torch.testing.assert_close(found, expected)
    pick = torch.randn(9, 8)
    for one, other in zip(
        torch.autograd.grad((found * pick).sum(), leaves),
        torch.autograd.grad((expected * pick).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
