import math

import pytest
import torch
import torch.nn.functional as F

from itrec_dist.losses import LOSSES
from itrec_dist.losses.bce import BceConfig
from itrec_dist.losses.ce import CeConfig
from itrec_dist.losses.loss import CountingLoss, RankingLoss, RatingLoss
from itrec_dist.losses.mse import MseConfig
from itrec_dist.losses.softmax import SoftmaxConfig
from itrec_dist.models import item_table
from itrec_dist.models.item_table import ItemTable, Queries

pytestmark = pytest.mark.usefixtures("one_thread")
LN2 = math.log(2)
RANKING = ("bce", "ce", "softmax")
bce, ce, softmax = BceConfig(), CeConfig(), SoftmaxConfig()


def loss_of(loss, logits, targets):
    """The loss of given logits: the table of a query is the identity."""
    return loss.per_query(Queries(logits), targets, ItemTable(torch.eye(logits.shape[1])))


def old_loss(name, logits, targets):
    """Each loss as a formula of the matrix of all logits, for targets without padding."""
    columns = targets.long() - 1
    if name == "ce":
        return F.cross_entropy(logits, columns[:, 0], reduction="none")
    if name == "softmax":
        return logits.logsumexp(dim=1) - logits.gather(1, columns).mean(dim=1)
    labels = torch.zeros_like(logits).scatter(1, columns, 1.0)
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(dim=1)


@pytest.mark.parametrize("name", RANKING)
def test_a_loss_and_its_gradients_are_those_of_the_formula_over_all_logits(name):
    generator = torch.Generator().manual_seed(0)
    items, width = 30, 6
    hidden = torch.randn(50, width, generator=generator, requires_grad=True)
    weight = torch.randn(items, width, generator=generator, requires_grad=True)
    bias = torch.randn(items, generator=generator, requires_grad=True)
    added = torch.randn(50, 3, generator=generator, requires_grad=True)
    ids = torch.randint(items + 1, (50, 3), generator=generator)
    targets = torch.randint(1, items + 1, (50, 4), generator=generator)
    weights = (hidden, weight, bias, added)
    table, queries = ItemTable(weight, bias), Queries(hidden, ids, added)
    expected = old_loss(name, table.all_scores(queries), targets)
    found = LOSSES[name]().per_query(queries, targets, table)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    pick = torch.rand(50, generator=generator)
    for one, other in zip(
        torch.autograd.grad((found * pick).sum(), weights),
        torch.autograd.grad((expected * pick).sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RANKING)
def test_a_loss_without_gradients_is_summed_up_by_blocks(name, monkeypatch):
    logits, targets = random_case(items=30)
    widths = []
    block = ItemTable.block

    def seen(self, queries, start, stop):
        widths.append(stop - start)
        return block(self, queries, start, stop)

    monkeypatch.setattr(ItemTable, "block", seen)
    monkeypatch.setattr(ItemTable.blocks, "__defaults__", (7,))
    with torch.no_grad():
        found = loss_of(LOSSES[name](), logits, targets)
    assert widths == [7, 7, 7, 9]
    torch.testing.assert_close(found, old_loss(name, logits, targets))
    assert item_table.BLOCK > 7


@pytest.mark.parametrize("name", RANKING)
def test_padding_among_the_targets_adds_nothing(name):
    logits, targets = random_case()
    loss = LOSSES[name]()
    logits.requires_grad_()
    padding = torch.zeros(len(targets), 2, dtype=targets.dtype)
    padded = torch.cat([padding[:, :1], targets[:, :2], padding[:, :1], targets[:, 2:]], dim=1)
    found, expected = loss_of(loss, logits, padded), loss_of(loss, logits, targets)
    torch.testing.assert_close(found, expected)
    found, expected = (torch.autograd.grad(x.sum(), logits)[0] for x in (found, expected))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", RANKING)
@pytest.mark.parametrize("broken", [0.0, math.inf, math.nan])
def test_a_query_without_targets_has_no_loss_and_no_gradient(name, broken):
    logits, targets = random_case()
    targets[3] = 0
    logits[3] += broken
    logits.requires_grad_()
    loss = loss_of(LOSSES[name](), logits, targets)
    assert loss[3] == 0
    assert (loss[torch.arange(len(loss)) != 3] > 0).all()
    if broken == 0.0:
        loss.sum().backward()
        assert not logits.grad[3].any()
        assert logits.grad[4].any()


def test_kinds_and_what_they_are_for():
    kinds = {name: config() for name, config in LOSSES.items()}
    assert {name: loss.kind for name, loss in kinds.items()} == {name: name for name in kinds}
    assert {n for n, loss in kinds.items() if isinstance(loss, RankingLoss)} == {*RANKING, "gbce"}
    assert {n for n, loss in kinds.items() if isinstance(loss, CountingLoss)} == {"sampled_softmax"}
    assert {n for n, loss in kinds.items() if isinstance(loss, RatingLoss)} == {"mse"}


def test_mse_by_hand():
    loss = MseConfig().per_window(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.5]]))
    assert loss.tolist() == [(4 + 0.25) / 2]


def random_case(seed=0, batch=40, items=9, targets=4):
    """Logits and targets in which most rows hold a repeat."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, items, generator=generator)
    return logits, torch.randint(1, items + 1, (batch, targets), generator=generator)


def multi_hot(target_ids, items):
    labels = torch.zeros(len(target_ids), items)
    for row, targets in enumerate(target_ids.tolist()):
        for item in targets:
            labels[row, item - 1] = 1.0
    return labels


def test_bce_by_hand():
    # sigmoid(ln 3) = 3/4: the target costs -ln(3/4), the others at logit 0 cost ln 2 each.
    logits = torch.tensor([[math.log(3), 0.0, 0.0], [0.0, 0.0, math.log(3)]])
    loss = loss_of(bce, logits, torch.tensor([[1, 1], [1, 2]]))
    assert loss.tolist() == pytest.approx([math.log(4 / 3) + 2 * LN2, 2 * LN2 + math.log(4)])


def test_bce_is_torchs_over_the_multi_hot_targets():
    logits, targets = random_case()
    assert any(len(set(row)) < 3 for row in targets.tolist()), "the case must hold repeats"
    labels = multi_hot(targets, logits.shape[1])
    expected = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(1)
    torch.testing.assert_close(loss_of(bce, logits, targets), expected)


def test_bce_gradient_is_sigmoid_less_label():
    logits, targets = random_case()
    logits.requires_grad_()
    loss_of(bce, logits, targets).sum().backward()
    expected = logits.detach().sigmoid() - multi_hot(targets, logits.shape[1])
    torch.testing.assert_close(logits.grad, expected)


def test_ce_by_hand_and_on_the_first_target_only():
    logits = torch.tensor([[0.0, math.log(2), math.log(5)]])  # probabilities 1/8, 2/8, 5/8
    assert loss_of(ce, logits, torch.tensor([[2, 3]])).item() == pytest.approx(math.log(4))
    logits, targets = random_case()
    others = targets.clone()
    others[:, 1:] = 1
    assert torch.equal(loss_of(ce, logits, targets), loss_of(ce, logits, others))
    probabilities = logits.double().softmax(1)
    expected = [-math.log(p[t - 1]) for p, t in zip(probabilities, targets[:, 0], strict=True)]
    assert loss_of(ce, logits, targets).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_softmax_by_hand_and_against_a_slow_reference():
    logits = torch.tensor([[0.0, math.log(2), math.log(5)]])
    # a repeat counts again: (ln 8 + ln 8 + ln(8/5)) / 3
    expected = (2 * math.log(8) + math.log(8 / 5)) / 3
    assert loss_of(softmax, logits, torch.tensor([[1, 1, 3]])).item() == pytest.approx(expected)
    logits, targets = random_case()
    slow = []
    for row, ids in zip(logits.double().tolist(), targets.tolist(), strict=True):
        total = math.fsum(math.exp(x) for x in row)
        slow.append(math.fsum(-math.log(math.exp(row[i - 1]) / total) for i in ids) / len(ids))
    assert loss_of(softmax, logits, targets).tolist() == pytest.approx(slow, rel=1e-5, abs=1e-6)


def test_softmax_of_one_target_is_ce():
    logits, targets = random_case(targets=1)
    torch.testing.assert_close(loss_of(softmax, logits, targets), loss_of(ce, logits, targets))


@pytest.mark.parametrize("name", RANKING)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_one_loss_per_window_for_either_id_type(name, dtype):
    logits, targets = random_case()
    loss = loss_of(LOSSES[name](), logits, targets.to(dtype))
    assert loss.shape == (len(logits),)
    assert torch.equal(loss, loss_of(LOSSES[name](), logits, targets))
    assert (loss > 0).all()


@pytest.mark.parametrize("name", RANKING)
@pytest.mark.parametrize("size", [1e3, 1e30])
def test_loss_and_gradient_stay_finite_at_large_logits(name, size):
    logits = torch.tensor([[size, -size, 0.0], [-size, size, -size]], requires_grad=True)
    loss = loss_of(LOSSES[name](), logits, torch.tensor([[1, 2], [1, 1]]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()
    assert logits.grad[1, 0] < 0, "the target that scores low is pushed up"


COUNTS = torch.tensor([50, 7, 0, 1, 30])


def test_bce_starts_at_the_share_of_windows_that_hold_an_item():
    prior = bce.initial_bias(COUNTS, num_windows=198).sigmoid()
    assert prior.tolist() == pytest.approx([51 / 200, 8 / 200, 1 / 200, 2 / 200, 31 / 200])


def test_bce_starts_at_a_finite_bias_for_an_item_of_every_window():
    counts = torch.tensor([25, 10, 9, 0])  # repeats within a window: more targets than windows
    prior = bce.initial_bias(counts, num_windows=10).sigmoid()
    assert prior.tolist() == pytest.approx([11 / 12, 11 / 12, 10 / 12, 1 / 12])


@pytest.mark.parametrize("loss", [ce, softmax])
def test_the_softmax_losses_start_at_the_share_of_targets(loss):
    prior = loss.initial_bias(COUNTS, num_windows=198).softmax(0)
    assert prior.tolist() == pytest.approx([51 / 93, 8 / 93, 1 / 93, 2 / 93, 31 / 93])


@pytest.mark.parametrize("name", RANKING)
def test_no_constant_scores_are_better_than_the_initial_bias(name):
    """Moving any item's bias up or down raises the mean loss, with many windows to smooth over."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1])
    first = torch.multinomial(weights, 4000, replacement=True, generator=generator)
    targets = torch.stack([first, (first + 1) % 4], dim=1) + 1
    counts = torch.bincount(targets.flatten(), minlength=5)[1:]
    if name == "ce":  # its prior is that of all targets, what it learns from is the first
        counts = torch.bincount(targets[:, 0], minlength=5)[1:]
    bias = LOSSES[name]().initial_bias(counts, len(targets))

    def mean_loss(b):
        return loss_of(LOSSES[name](), b.expand(len(targets), 4), targets).mean().item()

    for item in range(4):
        for change in (-0.1, 0.1):
            moved = bias.clone()
            moved[item] += change
            assert mean_loss(moved) > mean_loss(bias)
