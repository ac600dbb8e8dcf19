"""Losses over the catalogue by chunks equal those over all scores at once."""

import pytest
import torch

from itrec_dist.losses import LOSSES, catalogue
from itrec_dist.models.item_table import ItemTable, Queries

pytestmark = pytest.mark.usefixtures("one_thread")
EXACT = ("bce", "ce", "softmax")
ITEMS, WIDTH, QUERIES = 37, 6, 50


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks that divide neither the queries nor the items."""
    monkeypatch.setattr(catalogue, "_CHUNK_CPU", (7, 5))


def case(*, bias=True, added=True, dtype=torch.float32):
    """Leaves (hidden, weight, bias, added) and targets: repeats, padding, and rows without any."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(QUERIES, WIDTH, generator=generator)
    weight = torch.randn(ITEMS, WIDTH, generator=generator)
    weight[3] = weight[8]  # a tie in every query, and of the highest scores in some
    leaves = [hidden, weight]
    leaves += [torch.randn(ITEMS, generator=generator)] if bias else []
    leaves += [torch.randn(QUERIES, 4, generator=generator)] if added else []
    ids = torch.randint(ITEMS + 1, (QUERIES, 4), generator=generator)
    ids[:, 3] = ids[:, 2]  # an item that is biased twice
    targets = torch.randint(ITEMS + 1, (QUERIES, 5), generator=generator)
    targets[:, 1] = targets[:, 0]
    targets[::9] = 0
    return [x.to(dtype).requires_grad_() for x in leaves], ids, targets


def found(name, memory, leaves, ids, targets):
    """The losses and the gradients of a weighted sum of them."""
    hidden, weight, *more = leaves
    bias = more.pop(0) if more and more[0].dim() == 1 else None
    queries = Queries(hidden, ids, more[0]) if more else Queries(hidden)
    loss = LOSSES[name](memory=memory).per_query(queries, targets, ItemTable(weight, bias))
    pick = torch.linspace(0.5, 2.0, len(loss))
    return loss, torch.autograd.grad((loss * pick).sum(), leaves)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("parts", [(True, True), (True, False), (False, True), (False, False)])
def test_losses_and_gradients_are_those_of_all_scores(name, parts):
    given = case(bias=parts[0], added=parts[1])
    chunks, whole = found(name, "chunks", *given), found(name, "whole", *given)
    torch.testing.assert_close(chunks, whole, rtol=1e-5, atol=1e-5)
    assert not chunks[0][::9].any(), "queries without targets"
    assert (chunks[0][1::9] > 0).all()


@pytest.mark.parametrize("name", EXACT)
def test_bf16_weights_get_gradients_of_their_own_type(name):
    given = case(dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        chunks, whole = found(name, "chunks", *given), found(name, "whole", *given)
    assert chunks[0].dtype == torch.float32
    torch.testing.assert_close(chunks[0], whole[0], rtol=1e-5, atol=1e-5)
    for one, other in zip(chunks[1], whole[1], strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("size", [1e3, 1e30])
def test_losses_stay_finite_at_large_scores(name, size):
    hidden = torch.full((3, 1), size, requires_grad=True)
    weight = torch.linspace(-1, 1, 12).unsqueeze(1).requires_grad_()
    targets = torch.tensor([[1, 12], [6, 6], [12, 12]])
    loss = LOSSES[name](memory="chunks").per_query(Queries(hidden), targets, ItemTable(weight))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert hidden.grad.isfinite().all()
    assert weight.grad.isfinite().all()
    assert weight.grad[0] < 0, "the target that scores low is pushed up"


def test_items_at_minus_infinity_have_no_probability():
    bias = torch.zeros(12)
    bias[:9] = -torch.inf  # more than a chunk
    hidden = torch.zeros(2, 3, requires_grad=True)
    table = ItemTable(torch.ones(12, 3), bias)
    loss = LOSSES["softmax"](memory="chunks").per_query(
        Queries(hidden), torch.tensor([[10], [12]]), table
    )
    torch.testing.assert_close(loss, torch.full((2,), 3.0).log())


@pytest.mark.parametrize("name", EXACT)
def test_all_scores_are_never_computed(name, monkeypatch):
    monkeypatch.setattr(catalogue, "_WHOLE_CPU", QUERIES * ITEMS - 1)
    leaves, ids, targets = case()
    expected = found(name, "whole", leaves, ids, targets)
    monkeypatch.delattr(ItemTable, "all_scores")
    chunks = found(name, "auto", leaves, ids, targets)
    torch.testing.assert_close(chunks, expected, rtol=1e-5, atol=1e-5)
    monkeypatch.undo()
    torch.testing.assert_close(found(name, "auto", leaves, ids, targets), expected, rtol=0, atol=0)
