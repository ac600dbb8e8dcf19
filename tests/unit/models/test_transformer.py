import math

import pytest
import torch
import torch.nn.functional as F

from itrec_dist.models.transformer import Dropout, EncoderLayer, attend

pytestmark = pytest.mark.usefixtures("one_thread")


def attention_case(dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(6, 2, 5, 8, generator=generator).to(dtype) for _ in range(3))
    may_look = torch.rand(6, 1, 1, 5, generator=generator) < 0.6
    may_look[..., -1] = True
    return q, k, v, may_look


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_attend_is_scaled_dot_product_attention(dtype):
    q, k, v, may_look = attention_case(dtype)
    mixed = attend(q, k, v, may_look)
    exact = F.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), attn_mask=may_look.expand(6, 2, 5, 5)
    )
    assert mixed.dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(mixed.double(), exact, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_leaks_from_masked_positions(dtype):
    q, k, v, may_look = attention_case(dtype)
    hidden = ~may_look.expand(6, 2, 1, 5).squeeze(2)
    other_k, other_v = k.clone(), v.clone()
    other_k[hidden], other_v[hidden] = 37.0, -41.0
    assert torch.equal(attend(q, k, v, may_look), attend(q, other_k, other_v, may_look))


def test_gradients_of_low_precision_attention_are_those_of_torchs():
    q, k, v, may_look = attention_case(torch.bfloat16)
    for t in (q, k, v):
        t.requires_grad_()
    given = torch.autograd.grad(attend(q, k, v, may_look).float().square().sum(), (q, k, v))
    exact = [t.detach().double().requires_grad_() for t in (q, k, v)]
    mixed = F.scaled_dot_product_attention(*exact, attn_mask=may_look.expand(6, 2, 5, 5))
    expected = torch.autograd.grad(mixed.square().sum(), exact)
    for one, other in zip(given, expected, strict=True):
        torch.testing.assert_close(one.double(), other, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("probability", [0.1, 0.2, 0.5, 0.9])
def test_dropout_drops_its_share_rounded_to_a_256th_and_keeps_the_mean(probability):
    torch.manual_seed(0)
    share = round(256 * probability) / 256
    x = torch.ones(1000, 999)  # not a multiple of eight
    dropped = Dropout(probability)(x)
    values = dropped.unique().tolist()
    assert values == pytest.approx([0.0, 1 / (1 - share)])
    error = math.sqrt(share * (1 - share) / x.numel())  # of the observed share
    assert (dropped == 0).float().mean().item() == pytest.approx(share, abs=5 * error)
    assert dropped.mean().item() == pytest.approx(1.0, abs=5 * error / (1 - share))


def test_dropout_decides_each_element_on_its_own():
    """Eight elements share a random word: they must not share its fate."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(80_000)) > 0).double().view(-1, 8)
    correlations = torch.corrcoef(kept.T) - torch.eye(8)
    assert correlations.abs().max() < 0.05
    following = torch.corrcoef(torch.stack([kept.flatten()[:-1], kept.flatten()[1:]]))[0, 1]
    assert abs(following) < 0.02


@pytest.mark.parametrize("probability", [0.001, 0.999])
def test_dropout_of_an_extreme_probability_is_not_rounded_away(probability):
    torch.manual_seed(0)
    share = (Dropout(probability)(torch.ones(400_000)) == 0).float().mean().item()
    assert share == pytest.approx(probability, abs=3e-4)


def test_dropout_is_off_in_evaluation_and_at_zero():
    x = torch.randn(50, 3)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not torch.equal(Dropout(0.5)(x), x)


def test_dropout_follows_the_seed():
    def draw(seed):
        torch.manual_seed(seed)
        return Dropout(0.3)(torch.ones(5, 7, 3))

    assert torch.equal(draw(4), draw(4))
    assert not torch.equal(draw(4), draw(5))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_shape_and_type(shape, dtype):
    dropped = Dropout(0.4)(torch.ones(shape, dtype=dtype))
    assert (dropped.shape, dropped.dtype) == (shape, dtype)


def test_gradient_flows_through_what_was_kept_alone():
    torch.manual_seed(0)
    x = torch.rand(40, 30).add(1).T.requires_grad_()  # not contiguous
    dropped = Dropout(0.25)(x)
    dropped.sum().backward()
    kept = dropped != 0
    assert 0 < kept.sum() < kept.numel()
    assert torch.equal(x.grad, torch.where(kept, 4 / 3, 0.0))
    torch.testing.assert_close(dropped, x * x.grad)


def test_a_layer_changes_with_its_dropout_in_training_only():
    torch.manual_seed(0)
    layer = EncoderLayer(16, 4, 32, dropout=0.5)
    x, may_look = torch.randn(3, 5, 16), torch.ones(3, 1, 1, 5, dtype=torch.bool)
    assert not torch.equal(layer(x, may_look), layer(x, may_look))
    layer.eval()
    assert torch.equal(layer(x, may_look), layer(x, may_look))
