"""The parts of transformers, each against a slow twin or values worked out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.data.schema import PAD
from itrec_dist.models.parts import pairs
from itrec_dist.models.parts.attention import TimeBias, self_attention
from itrec_dist.models.parts.fuxi_block import FuxiBlock
from itrec_dist.models.parts.inputs import PositionVectors
from itrec_dist.models.parts.layout import events_first, padding_first
from itrec_dist.models.parts.ligr_block import LigrBlock
from itrec_dist.models.parts.pairs import NUM_BUCKETS, Pairs, time_buckets
from itrec_dist.models.parts.pointwise_block import PointwiseBlock
from tests.histories_factory import judged_rows
from tests.small_models import batch_of

B, L, D = 2, 5, 8


def told(block: nn.Module) -> nn.Module:
    """The block with weights that matter."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.5)
    return block.eval()


def hidden() -> torch.Tensor:
    return torch.randn(B, L, D, generator=torch.Generator().manual_seed(1))


def test_buckets_of_time_grow_by_a_third():
    gaps = torch.tensor([0, 1, 2, 3, 60, 86_400, 10**9, 2**62])
    # ln 2 / 0.301 = 2.3, ln 3 -> 3.6, ln 60 -> 13.6, a day in seconds 37.8, 10^9 -> 68.8
    assert time_buckets(gaps).tolist() == [0, 0, 2, 3, 13, 37, 68, NUM_BUCKETS - 1]


def test_gaps_are_between_inputs_or_up_to_the_next_event():
    batch = events_first(batch_of(judged_rows(6, longest=5, targets=1), 5))
    own, query = pairs.see_times(batch), pairs.see_times_of_query(batch)
    for row, ids in enumerate(batch.item_ids_BL.tolist()):
        num_events = sum(i != PAD for i in ids)
        times = batch.times_BL[row, :num_events].tolist()
        following = [*times[1:], int(batch.target_time_B[row])]
        for i in range(num_events):
            for j in range(i + 1):
                for found, at in ((own, times[i]), (query, following[i])):
                    bucket = int(math.log(max(1, abs(at - times[j]))) / 0.301)
                    assert found.buckets_BLL[row, i, j] == bucket


def test_positions_are_counted_from_the_end_wherever_the_padding_stands():
    vectors = PositionVectors(5, 1)
    with torch.no_grad():
        vectors.weight.copy_(torch.arange(5.0).unsqueeze(1))
    ids = torch.tensor([[0, 0, 7, 8, 9], [7, 8, 9, 0, 0]])
    assert vectors(ids)[0, 2:, 0].tolist() == vectors(ids)[1, :3, 0].tolist() == [2, 1, 0]


def test_turning_rows_round_and_back_changes_nothing():
    batch = batch_of(judged_rows(9, longest=7, targets=1), 7)
    turned = events_first(batch)
    num_padding = (batch.item_ids_BL == PAD).sum(dim=1)
    for row, count in enumerate(num_padding.tolist()):
        for name in ("item_ids_BL", "ratings_BL", "times_BL"):
            was, now = getattr(batch, name)[row], getattr(turned, name)[row]
            assert now.tolist() == [*was[count:].tolist(), *was[:count].tolist()]
    back = padding_first(turned.item_ids_BL.unsqueeze(2).float(), num_padding)
    assert torch.equal(back.squeeze(2).long(), batch.item_ids_BL.long())


def test_a_ligr_block_is_torchs_attention_and_a_swiglu_through_gates():
    block, x = told(LigrBlock(D, 2, 3 * D, 0.0)), hidden()
    attention = nn.MultiheadAttention(D, 2, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight.copy_(block.qkv.weight)
        attention.in_proj_bias.copy_(block.qkv.bias)
    attention.out_proj = block.attended
    later = torch.ones(L, L, dtype=torch.bool).triu(1)
    normed = block.norm_attention(x)
    mixed, _ = attention(normed, normed, normed, attn_mask=later)
    y = x + torch.sigmoid(block.gate_attention(x)) * mixed
    z = block.norm_feedforward(y) @ block.expand.weight.t()
    inner = z[..., : 3 * D] * torch.sigmoid(z[..., : 3 * D]) * z[..., 3 * D :]
    expected = y + torch.sigmoid(block.gate_feedforward(y)) * (inner @ block.contract.weight.t())
    torch.testing.assert_close(block(x, Pairs()), expected, rtol=1e-5, atol=1e-5)


def normalised(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean()) / (x.var(unbiased=False) + 1e-6).sqrt()


@torch.no_grad()
def test_a_pointwise_block_is_its_equations_pair_by_pair():
    block, x, heads = told(PointwiseBlock(D, 2, 9, 0.0)), hidden(), 2
    buckets = torch.randint(0, 40, (B, L, L), dtype=torch.int32)
    found = block(x, Pairs(buckets_BLL=buckets))
    for b in range(B):
        projected = [block.uvqk.weight @ normalised(x[b, i]) for i in range(L)]
        u, v, q, k = zip(*((p * torch.sigmoid(p)).chunk(4) for p in projected), strict=True)
        for i in range(L):
            parts = []
            for head in range(heads):
                E = slice(head * D // heads, (head + 1) * D // heads)
                mixed = torch.zeros(D // heads)
                for j in range(i + 1):
                    score = q[i][E] @ k[j][E] + block.position_bias.weight[i - j]
                    score = score + block.time_bias.weight[buckets[b, i, j]]
                    mixed = mixed + score * torch.sigmoid(score) / 9 * v[j][E]
                parts.append(mixed)
            gated = normalised(torch.cat(parts)) * u[i]
            expected = x[b, i] + block.output.weight @ gated + block.output.bias
            torch.testing.assert_close(found[b, i], expected, rtol=1e-4, atol=1e-5)


def rms_normalised(x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()


@torch.no_grad()
def test_a_fuxi_block_is_its_equations_pair_by_pair():
    block, x, heads = told(FuxiBlock(D, 2, 9, 3 * D, 0.0)), hidden(), 2
    buckets = torch.randint(0, 40, (B, L, L), dtype=torch.int32)
    found = block(x, Pairs(buckets_BLL=buckets))
    for b in range(B):
        projected = [block.uvqk.weight @ rms_normalised(x[b, i]) for i in range(L)]
        active = [p * torch.sigmoid(p) for p in projected]
        u, v, q, k = zip(*(a.split([3 * D, D, D, D]) for a in active), strict=True)
        for i in range(L):
            meaning, position, time = torch.zeros(3, D)
            for j in range(i + 1):
                for head in range(heads):
                    E = slice(head * D // heads, (head + 1) * D // heads)
                    score = q[i][E] @ k[j][E]
                    meaning[E] += score * torch.sigmoid(score) / 9 * v[j][E]
                position += block.position_bias.weight[i - j] * v[j]
                time += block.time_bias.weight[buckets[b, i, j]] * v[j]
            channels = rms_normalised(torch.cat([meaning, position, time]))
            y = x[b, i] + block.joined.weight @ (channels * u[i]) + block.joined.bias
            left, right = (block.expand.weight @ rms_normalised(y)).chunk(2)
            inner = left * torch.sigmoid(left) * right
            expected = y + block.contract.weight @ inner
            torch.testing.assert_close(found[b, i], expected, rtol=1e-4, atol=1e-5)


def test_biases_and_their_gradients_are_those_of_an_embedding():
    bias, index = told(TimeBias()), torch.randint(0, 9, (B, L, L), dtype=torch.int32)
    weights = torch.randn(B, L, L)
    embedded = F.embedding(index, bias.weight.unsqueeze(1)).squeeze(-1)
    assert torch.equal(bias(index), embedded)
    (expected,) = torch.autograd.grad((embedded * weights).sum(), bias.weight)
    (found,) = torch.autograd.grad((bias(index) * weights).sum(), bias.weight)
    torch.testing.assert_close(found, expected)
    assert found[:9].all()
    assert not found[9:].any()


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_in_bf16_sees_what_attention_in_fp32_sees(heads):
    qkv = torch.randn(B, L, 3 * D, generator=torch.Generator().manual_seed(2))
    exact = self_attention(qkv, heads, Pairs())
    assert torch.equal(exact[:, 0], qkv[:, 0, 2 * D :])  # the first event sees itself alone
    rounded = self_attention(qkv.bfloat16(), heads, Pairs())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.03, atol=0.03)
