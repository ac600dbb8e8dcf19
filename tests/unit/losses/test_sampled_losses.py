"""Losses against drawn items: their expectation, their correction, and values by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from itrec_dist.errors import ConfigError
from itrec_dist.losses.bce import BceConfig
from itrec_dist.losses.gbce import GbceConfig
from itrec_dist.losses.negatives import Sampler
from itrec_dist.losses.sampled_softmax import SampledSoftmaxConfig
from itrec_dist.losses.softmax import SoftmaxConfig
from itrec_dist.models.item_table import ItemTable, Queries

pytestmark = pytest.mark.usefixtures("one_thread")
SOURCES = ("uniform", "popularity", "in_batch", "mixed")
COUNTS = torch.tensor([40, 20, 10, 10, 5, 5, 4, 3, 2, 1])
ITEMS = len(COUNTS)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def batch(queries, targets=1):
    """Targets that are drawn as often as COUNTS says, independently of the query."""
    drawn = torch.multinomial(COUNTS.double(), queries * targets, replacement=True)
    return drawn.view(queries, targets) + 1


@pytest.mark.parametrize("source", SOURCES)
def test_items_are_drawn_as_often_as_the_sampler_says(source):
    sampler, number = Sampler(source, 7, COUNTS), 7
    for queries, groups in ((5, 1), (128, 1), (129, 2), (2_048, 16), (25_600, 32)):
        assert sampler.draw(batch(queries), shared=True).shape == (groups, number)
    ids = sampler.draw(batch(20_000), shared=False)
    assert ids.shape == (20_000, number)
    found = torch.bincount(ids.flatten(), minlength=ITEMS + 1)[1:] / 20_000
    expected = sampler.log_expected(torch.arange(1, ITEMS + 1)).exp()
    assert expected.sum().item() == pytest.approx(number, rel=1e-5)
    # Beside the draws, what the batch holds is drawn.
    error = (expected / 20_000).sqrt() + number * (COUNTS / COUNTS.sum() / 20_000).sqrt()
    assert ((found - expected).abs() < 5 * error).all()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("shared", "targets"), [(True, 1), (True, 3), (False, 1)])
def test_the_denominator_is_unbiased(source, shared, targets):
    """Mean of exp(loss + mean score of the targets) over the draws, against the exact sum."""
    loss = SampledSoftmaxConfig(negatives=source, num_negatives=16, shared=shared)
    loss, rounds = loss.for_counts(COUNTS), 100 if shared else 20
    logits = 2 * torch.randn(ITEMS)
    queries, table, means = Queries(logits.repeat(300, 1)), ItemTable(torch.eye(ITEMS)), []
    for _ in range(rounds):
        ids = batch(300, targets)
        score = logits[ids - 1].mean(dim=1)
        means.append((loss.per_query(queries, ids, table) + score).double().exp().mean())
    mean, exact = torch.stack(means).mean(), logits.double().exp().sum()
    error = torch.stack(means).std() / math.sqrt(rounds)
    # A query's own targets are in its batch, which the correction by all counts does not know.
    bias = exact * targets / 300 if source in ("in_batch", "mixed") else 0.0
    assert (mean - exact).abs() < 5 * error + bias
    assert error < 0.05 * exact, "that many draws say something"


@pytest.mark.parametrize("source", SOURCES)
def test_with_many_draws_the_gradient_is_that_of_the_full_softmax(source):
    generator = torch.Generator().manual_seed(1)
    queries = torch.randn(200, 3, generator=generator, requires_grad=True)
    weight = torch.randn(ITEMS, 3, generator=generator, requires_grad=True)
    bias = torch.randn(ITEMS, generator=generator, requires_grad=True)
    leaves, table, targets = (queries, weight, bias), ItemTable(weight, bias), batch(200, 2)
    full = SoftmaxConfig().per_query(Queries(queries), targets, table).mean()
    loss = SampledSoftmaxConfig(negatives=source, num_negatives=5_000)
    if source != "uniform":  # the batch's own shares, so that only the draws are random
        counts = torch.bincount(targets.flatten(), minlength=ITEMS + 1)[1:]
        counts = counts - 1 if source == "popularity" else counts
    else:
        counts = COUNTS
    sampled = loss.for_counts(counts).per_query(Queries(queries), targets, table).mean()
    torch.testing.assert_close(sampled, full, rtol=0.02, atol=0.02)
    for one, other in zip(
        torch.autograd.grad(sampled, leaves), torch.autograd.grad(full, leaves), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("shared", [True, False])
def test_as_many_draws_as_items_are_all_items(shared):
    loss = SampledSoftmaxConfig(negatives="uniform", num_negatives=2 * ITEMS, shared=shared)
    hidden, targets = torch.randn(300, ITEMS, requires_grad=True), batch(300, 2)
    table = ItemTable(torch.eye(ITEMS))
    found = loss.for_counts(COUNTS).per_query(Queries(hidden), targets, table)
    expected = SoftmaxConfig().per_query(Queries(hidden), targets, table)
    torch.testing.assert_close(found, expected)
    (one,), (other,) = (torch.autograd.grad(x.sum(), hidden) for x in (found, expected))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("source", SOURCES)
def test_groups_share_out_what_is_drawn(source):
    """16 groups draw 10 of 160 items each, and all of these once if none is likelier."""
    sampler, targets = Sampler(source, 10, torch.ones(160)), torch.arange(1, 2049).unsqueeze(1)
    ids = sampler.draw((targets - 1) % 160 + 1, shared=True)
    found = torch.bincount(ids.flatten(), minlength=161)[1:]
    assert found.sum() == 160
    assert found.max() <= {"uniform": 1, "popularity": 1, "in_batch": 7, "mixed": 5}[source]


def test_the_mean_gradient_is_nearer_to_the_full_softmax_than_that_of_the_estimate():
    """An item with a tenth of the probability, which is drawn once in four times."""
    number, drawn = 40, 10
    logits = torch.zeros(number)
    logits[3] = math.log((number - 1) / 9)
    targets = torch.full((20_000, 1), 8)
    loss = SampledSoftmaxConfig(negatives="uniform", num_negatives=drawn, shared=False)
    loss = loss.for_counts(torch.ones(number))
    hidden, table = logits.repeat(len(targets), 1).requires_grad_(), ItemTable(torch.eye(number))
    (found,) = torch.autograd.grad(loss.per_query(Queries(hidden), targets, table).mean(), hidden)
    ids = loss._sampler.draw(targets, shared=False)  # the same without a correction
    scores = (hidden.gather(1, ids - 1) - math.log(drawn / number)).masked_fill(
        ids == 8, -torch.inf
    )
    estimate = torch.cat([hidden[:, 7:8], scores], dim=1).logsumexp(dim=1) - hidden[:, 7]
    (plain,) = torch.autograd.grad(estimate.mean(), hidden)
    exact = torch.softmax(logits, dim=0)
    assert exact[3].item() == pytest.approx(0.1)
    missed, plainly = exact[3] - found.sum(dim=0)[3], exact[3] - plain.sum(dim=0)[3]
    assert plainly > 0.15 * exact[3]
    assert missed.abs() < 0.7 * plainly
    assert found.sum().abs() < 1e-4, "all shares are one together"


@pytest.fixture(params=[True, False])
def by_hand(request, monkeypatch):
    """Scores of three queries, and their losses: items 3, 3 and 1 are drawn for two, thrice 4."""
    groups = torch.tensor([[3, 3, 1], [4, 4, 4]])
    drawn = groups if request.param else groups[[0, 1, 0]]
    monkeypatch.setattr(Sampler, "draw", lambda *_, **__: drawn)
    logits = torch.tensor([math.log(2), 0.0, math.log(5), math.log(7)]).repeat(3, 1)
    loss = SampledSoftmaxConfig(negatives="uniform", num_negatives=3, shared=request.param)
    loss, table = loss.for_counts(torch.ones(4)), ItemTable(torch.eye(4))

    def losses(target_ids):
        return loss.per_query(Queries(logits), torch.tensor(target_ids).expand(3, -1), table)

    return logits.requires_grad_(), losses


def test_the_gradient_by_hand(by_hand):
    logits, losses = by_hand
    losses([1])[0].backward()
    # A draw of item 3 counts 20/3 in the denominators of others, and 5 in its own.
    own, other = 2 / (2 + 40 / 3), (20 / 3) / (2 + 20 / 3 + 5)
    own, other = own / (own + 2 * other), other / (own + 2 * other)
    assert logits.grad[0].tolist() == pytest.approx([own - 1, 0, 2 * other, 0])
    assert not logits.grad[1:].any()


def test_sampled_softmax_by_hand(by_hand):
    _, losses = by_hand
    value = losses([1, 1])
    # Each draw of an item stands for 4 / 3 items; the draw of the target is left out.
    of_first, of_second = math.log((2 + 2 * 5 * 4 / 3) / 2), math.log((2 + 3 * 7 * 4 / 3) / 2)
    assert value.tolist() == pytest.approx([of_first, of_second, of_first])


@pytest.mark.parametrize("loss", [SampledSoftmaxConfig(), GbceConfig(), GbceConfig(shared=False)])
def test_padding_and_queries_without_targets(loss):
    loss = loss.for_counts(COUNTS) if isinstance(loss, SampledSoftmaxConfig) else loss
    hidden = torch.randn(6, ITEMS, requires_grad=True)
    weight = torch.eye(ITEMS).requires_grad_()
    targets = batch(6, 3)
    targets[0] = 0
    padded = torch.cat([torch.zeros(6, 1, dtype=torch.int64), targets], dim=1)
    values = []
    for ids in (targets, padded):
        torch.manual_seed(5)
        values.append(loss.per_query(Queries(hidden), ids, ItemTable(weight)))
    torch.testing.assert_close(*values)
    assert values[0][0] == 0
    assert (values[0][1:] > 0).all()
    values[1].sum().backward()
    assert not hidden.grad[0].any()
    assert hidden.grad.isfinite().all()
    nothing = loss.per_query(Queries(hidden), torch.zeros(6, 2).long(), ItemTable(weight))
    assert not nothing.any()
    no_ids = torch.zeros(0, 3).long()  # a worker may have no row of a last batch
    none = loss.per_query(Queries(hidden[:0]), no_ids, ItemTable(weight))
    assert none.shape == (0,)
    none.sum().backward()


def test_evaluation_reports_the_full_softmax():
    loss, targets = SampledSoftmaxConfig().for_counts(COUNTS), batch(9, 2)
    queries, table = Queries(torch.randn(9, ITEMS)), ItemTable(torch.eye(ITEMS))
    with torch.no_grad():
        found = loss.per_query(queries, targets, table)
        torch.testing.assert_close(found, SoftmaxConfig().per_query(queries, targets, table))


def test_gbce_by_hand(monkeypatch):
    """Item 2 is drawn twice and the target once, of five items: alpha = 3/4, beta = 1 - t/4."""
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([[2, 1, 2]]))
    logits = torch.tensor([[math.log(3), 0.0, 9.0, 9.0, 9.0]])
    loss = GbceConfig(num_negatives=3, calibration=0.6)
    beta = 0.75 * (0.6 * (1 - 1 / 0.75) + 1 / 0.75)
    assert loss.beta(5) == pytest.approx(beta)
    assert beta == pytest.approx(0.85)
    value = loss.per_query(Queries(logits), torch.tensor([[1, 1]]), ItemTable(torch.eye(5)))
    # sigmoid(ln 3) = 3/4; each draw of item 2 costs ln 2, the draw of the target nothing.
    assert value.item() == pytest.approx(beta * math.log(4 / 3) + 2 * math.log(2))


def test_beta_is_the_paper_s_at_its_ends():
    assert GbceConfig(calibration=0.0).beta(4000) == pytest.approx(1.0)
    assert GbceConfig(calibration=1.0).beta(4001) == pytest.approx(256 / 4000)


def test_gbce_without_calibration_is_binary_cross_entropy():
    logits, targets = torch.randn(30, ITEMS), batch(30)
    loss = GbceConfig(num_negatives=1, calibration=0.0, shared=False)
    torch.manual_seed(3)
    found = loss.per_query(Queries(logits), targets, ItemTable(torch.eye(ITEMS)))
    torch.manual_seed(3)
    drawn = torch.randint(1, ITEMS + 1, (30, 1))
    pairs = logits.gather(1, torch.cat([targets, drawn], dim=1) - 1)
    labels = torch.tensor([[1.0, 0.0]]).expand(30, 2)
    kept = torch.cat([torch.ones(30, 1), (drawn != targets).float()], dim=1)
    cost = F.binary_cross_entropy_with_logits(pairs, labels, weight=kept, reduction="none")
    torch.testing.assert_close(found, cost.sum(dim=1))
    assert (drawn == targets).any()


def test_gbce_in_evaluation_is_the_mean_over_the_draws():
    logits, targets, table = torch.randn(4, ITEMS), batch(4, 2), ItemTable(torch.eye(ITEMS))
    loss = GbceConfig(num_negatives=5, shared=False)
    many, ids = Queries(logits.repeat(5000, 1)), targets.repeat(5000, 1)
    drawn = loss.per_query(many, ids, table).view(5000, 4)
    with torch.no_grad():
        found = loss.per_query(Queries(logits), targets, table)
    error = drawn.std(dim=0) / math.sqrt(len(drawn))
    assert ((drawn.mean(dim=0) - found).abs() < 5 * error).all()


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce_starts_at_the_scores_that_are_best_for_all_queries(calibration):
    loss, counts = GbceConfig(num_negatives=4, calibration=calibration), COUNTS * 50
    targets = torch.arange(1, ITEMS + 1).repeat_interleave(counts).unsqueeze(1)
    start = loss.initial_bias(counts, len(targets))

    def mean_loss(bias):  # in evaluation, the expectation over the draws
        table = ItemTable(torch.zeros(ITEMS, 1), bias)
        return loss.per_query(Queries(torch.zeros(len(targets), 1)), targets, table).mean()

    with torch.no_grad():
        for move in 0.2 * torch.cat([torch.eye(ITEMS), -torch.eye(ITEMS)]):
            assert mean_loss(start + move) > mean_loss(start)
    if calibration == 1.0:  # wholly calibrated: the probabilities are those of bce
        expected = BceConfig().initial_bias(counts, len(targets))
        torch.testing.assert_close(start, expected, atol=1.01 / (ITEMS - 1), rtol=0)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (SampledSoftmaxConfig, "num_negatives", 0), (GbceConfig, "num_negatives", 0),
        (GbceConfig, "calibration", 1.5), (GbceConfig, "calibration", -0.1),
    ],
)  # fmt: skip
def test_settings_without_a_meaning_are_refused(kind, name, value):
    with pytest.raises(ConfigError, match=rf"loss\.{name}={value} must be"):
        kind(**{name: value})
