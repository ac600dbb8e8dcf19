"""BERT4Rec: what is hidden, what it may know of it, and that it learns from both sides."""

from dataclasses import replace

import pytest
import torch

from itrec_dist.data import spec as data_spec
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import reader
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.losses import LOSSES
from itrec_dist.models.bert4rec import BERT4Rec, Bert4recConfig
from itrec_dist.models.item_table import StepModel
from itrec_dist.models.parts.masking import Masking
from itrec_dist.tasks.next_items.task import NextItems
from tests.histories_factory import judged_batch, judged_rows, training_batch, training_rows
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = Bert4recConfig(width=16, num_heads=2, dropout=0.0, rating=True, side_information="both")
MASK = 13


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> DataSpec:
    folder = tmp_path_factory.mktemp("spec") / "shards"
    made = make_shards(folder, {"train": random_windows(50, input_length=12, target_length=1)})
    return data_spec.build(made, reader.read_items(folder, made))


def drawn(config: Bert4recConfig, spec: DataSpec) -> BERT4Rec:
    """The model with weights that tell: those of the start hardly differ from each other."""
    torch.manual_seed(1)
    model = config.build(spec).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        model.item_embedding.weight[0].zero_()
    return model


def with_users(batch: Batch) -> Batch:
    codes_BF = torch.stack([batch.user_ids_B % 3, batch.user_ids_B % 4], dim=1)
    return replace(batch, user_features_BF=codes_BF.int())


def test_hidden_events_are_targets_and_the_others_stay_as_they_are():
    rows = training_rows(300, longest=11, seed=3)
    batch = training_batch(rows, 11)
    torch.manual_seed(0)
    masked, target_ids_BL = Masking(MASK, 0.3, 0.2).drawn(batch)
    assert masked.item_ids_BL.shape == target_ids_BL.shape == (300, 12)
    whole_BL = torch.cat([batch.item_ids_BL, batch.target_ids_BK], dim=1)
    is_hidden_BL = masked.item_ids_BL == MASK
    assert torch.equal(target_ids_BL, whole_BL * is_hidden_BL)
    assert torch.equal(masked.item_ids_BL[~is_hidden_BL], whole_BL[~is_hidden_BL])
    for hidden in (masked.ratings_BL, masked.times_BL):
        assert not hidden[is_hidden_BL].any()
        assert hidden[~is_hidden_BL & (whole_BL != 0)].all()
    assert is_hidden_BL.any(dim=1).all()  # something is learned from every history
    for row in range(300):  # and never from what another row has as its target
        first = 12 - len(rows.item_ids[row]) + int(rows.num_context[row])
        assert not is_hidden_BL[row, :first].any()


def test_as_many_are_hidden_as_set():
    rows = training_rows(20_000, longest=11, seed=3)
    batch = training_batch(rows, 11)
    num_targets_B = (batch.step_target_ids_BL != 0).sum(dim=1)
    long_B = num_targets_B == 10
    assert long_B.sum() > 100
    torch.manual_seed(0)
    _, target_ids_BL = Masking(MASK, 0.4, 0.0).drawn(batch)
    assert (target_ids_BL != 0).sum(dim=1)[long_B].float().mean() == pytest.approx(4, abs=0.15)
    _, target_ids_BL = Masking(MASK, 0.4, 0.25).drawn(batch)
    is_alone_B = ((target_ids_BL != 0).sum(dim=1) == 1) & (target_ids_BL[:, -1] != 0)
    assert is_alone_B[long_B].float().mean() == pytest.approx(0.25, abs=0.06)


def test_a_hidden_event_does_not_reach_any_hidden_state(spec):
    model = drawn(SMALL, spec)
    batch = with_users(training_batch(training_rows(40, longest=9, seed=9), 9))
    torch.manual_seed(3)
    steps = model.choose_steps(batch)
    is_hidden_BL = steps.target_ids_BL != 0
    other = replace(  # every hidden item and rating becomes another one
        batch,
        item_ids_BL=torch.where(
            is_hidden_BL[:, :-1], batch.item_ids_BL % 12 + 1, batch.item_ids_BL
        ),
        ratings_BL=torch.where(is_hidden_BL[:, :-1], 0.5, batch.ratings_BL),
        target_ids_BK=torch.where(
            is_hidden_BL[:, -1:], batch.target_ids_BK % 12 + 1, batch.target_ids_BK
        ),
        target_ratings_BK=torch.where(is_hidden_BL[:, -1:], 0.5, batch.target_ratings_BK),
    )
    torch.manual_seed(3)
    again = model.choose_steps(other)
    assert torch.equal(
        again.target_ids_BL[is_hidden_BL], steps.target_ids_BL[is_hidden_BL] % 12 + 1
    )
    assert torch.equal(again.hidden_BLD, steps.hidden_BLD)


@pytest.mark.parametrize("changed", ["item_ids_BL", "ratings_BL", "user_features_BF"])
def test_everything_else_reaches_the_query(spec, changed):
    model = drawn(SMALL, spec)
    batch = with_users(judged_batch(judged_rows(12, longest=8, targets=1), 8))
    before = model.encode(batch).hidden_ND
    values = getattr(batch, changed)
    values = torch.where(batch.item_ids_BL[:, :1] != 0, values % 2 + 1, values)
    after = model.encode(replace(batch, **{changed: values})).hidden_ND
    is_full_B = batch.item_ids_BL[:, 0] != 0
    assert is_full_B.any()
    assert (before != after).any(dim=1)[is_full_B].all()


def test_padding_on_the_left_changes_nothing_and_histories_may_have_their_full_length(spec):
    model = drawn(SMALL, spec)
    rows = judged_rows(20, longest=12, targets=1)
    queries = model.encode(with_users(judged_batch(rows, 12))).hidden_ND
    short = rows.take((rows.item_ids.lengths <= 8).nonzero()[0])
    narrow = model.encode(with_users(judged_batch(short, 8))).hidden_ND
    torch.testing.assert_close(narrow, queries[rows.item_ids.lengths <= 8], rtol=1e-5, atol=1e-5)


def test_what_is_judged_is_what_was_trained_with_the_newest_hidden(spec):
    model = drawn(replace(SMALL, mask_probability=0.001, newest_alone=1.0), spec)
    batch = with_users(training_batch(training_rows(20, longest=9), 9))
    hidden_BD = model.choose_steps(batch).hidden_BLD[:, -1]
    torch.testing.assert_close(model.encode(batch).hidden_ND, hidden_BD)


def test_the_losses_of_those_chosen_stand_for_all_targets(spec):
    config = replace(SMALL, rating=False, side_information="none", item_bias=False)
    task = NextItems(config, LOSSES["softmax"](), spec).train()
    assert task.learns_steps
    assert not isinstance(task.model, StepModel)
    with torch.no_grad():
        task.model.item_embedding.weight.zero_()  # every loss is log C
    batch = training_batch(training_rows(50, longest=9), 9)
    num_targets = int((batch.step_target_ids_BL != 0).sum())
    assert task(batch).loss_B.sum().item() == pytest.approx(
        num_targets * torch.tensor(12.0).log().item(), rel=1e-5
    )


def test_it_learns_a_rule(spec):
    torch.manual_seed(0)
    config = Bert4recConfig(width=32, num_heads=2, dropout=0.0, mask_probability=0.3)
    task = NextItems(config, LOSSES["softmax"](), spec).train()
    optimizer = torch.optim.Adam(task.parameters(), 0.005)
    walks = torch.arange(40)[:, None] * 5 + torch.arange(9) * 2  # every item is two on
    ids_BL = (walks % 12 + 1).int()
    batch = replace(
        training_batch(training_rows(40, longest=9), 8),
        item_ids_BL=ids_BL[:, :-1], step_target_ids_BL=ids_BL[:, 1:], target_ids_BK=ids_BL[:, -1:],
    )  # fmt: skip
    for _ in range(80):
        optimizer.zero_grad()
        task(batch).loss_B.mean().backward()
        optimizer.step()
    top_BN = task.eval()(replace(batch, step_target_ids_BL=None)).top_ids_BN
    assert (top_BN[:, 0] == ids_BL[:, -1]).float().mean() > 0.6  # a twelfth by chance


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mask_probability": 0.0}, "above 0"),
        ({"newest_alone": 1.5}, "from 0 to 1"),
        ({"feedforward_multiplier": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        Bert4recConfig(**given)
