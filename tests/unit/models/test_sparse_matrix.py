"""The constant sparse matrix against a dense one."""

import pytest
import torch

from itrec_dist.models.sparse_matrix import SparseMatrix, dots


def test_a_sparse_product_is_the_dense_one_with_its_gradient():
    torch.manual_seed(0)
    rows, columns = torch.randint(0, 6, (20,)), torch.randint(0, 4, (20,))
    values = torch.randn(20)
    matrix = SparseMatrix(6, 4, 20)
    matrix.fill(rows, columns, values)
    dense = torch.zeros(6, 4).index_put_((rows, columns), values, accumulate=True)
    for is_sparse in (True, False):
        weight = torch.arange(12.0).view(4, 3).requires_grad_()
        product = matrix @ weight if is_sparse else dense @ weight
        product.square().sum().backward()
        if is_sparse:
            kept = product.detach(), weight.grad
    torch.testing.assert_close(kept, (product.detach(), weight.grad))


def test_dot_products_of_pairs_are_those_of_gathered_vectors_with_their_gradients():
    torch.manual_seed(0)
    rows, columns = torch.randint(0, 6, (30,)), torch.randint(0, 4, (30,))  # some pairs twice
    kept = []
    for is_gathered in (True, False):
        left = torch.linspace(-1, 1, 18).view(6, 3).requires_grad_()
        right = torch.linspace(2, -1, 12).view(4, 3).requires_grad_()
        if is_gathered:
            products = (left[rows] * right[columns]).sum(dim=1)
        else:
            products = dots(left, right, rows, columns)
        (products * torch.arange(30.0)).sum().backward()
        kept.append((products.detach(), left.grad, right.grad))
    torch.testing.assert_close(kept[1], kept[0])


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_low_precision_around_them_changes_nothing(low):
    torch.manual_seed(0)
    rows, columns = torch.randint(0, 6, (20,)), torch.randint(0, 4, (20,))
    matrix = SparseMatrix(6, 4, 20)
    matrix.fill(rows, columns, torch.randn(20))
    kept = []
    for enabled in (False, True):
        weight, left = torch.randn(4, 3, generator=torch.manual_seed(1)), torch.ones(6, 3)
        weight.requires_grad_()
        with torch.autocast("cpu", low, enabled=enabled):
            product = matrix @ weight
            products = dots(left, weight, rows, columns)
        (product.square().sum() + products.square().sum()).backward()
        kept.append((product.detach(), products.detach(), weight.grad))
    assert {part.dtype for part in kept[1]} == {torch.float32}
    assert all(torch.equal(one, other) for one, other in zip(*kept, strict=True))
