"""The constant sparse matrix against a dense one."""

import torch

from itrec_dist.models.sparse_product import SparseMatrix


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
