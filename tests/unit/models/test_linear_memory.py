"""The linear model beside a transformer, against sums worked out event by event."""

import pytest
import torch
import torch.nn.functional as F

from itrec_dist.data.schema import PAD
from itrec_dist.errors import ConfigError
from itrec_dist.models.parts.linear_memory import LinearMemory
from itrec_dist.models.sasrec import SasrecConfig
from tests.histories_factory import judged_rows
from tests.small_models import SPEC, batch_of, drawn, small

LINEAR = {"linear_width": 5, "linear_decay": 0.5, "linear_dropout": 0.0}


def test_memory_is_the_sum_of_earlier_vectors_that_halves_with_every_event():
    memory = LinearMemory(small("sasrec", **LINEAR), num_items=12, length=6)
    hidden = 13  # the id of an event that a model hides
    found_BLR = memory(torch.tensor([[PAD, 3, 7, 7, hidden]]))
    a, b = memory.read.weight[3], memory.read.weight[7]
    expected = [a * 0, a, a / 2 + b, a / 4 + b / 2 + b, a / 8 + b / 4 + b / 2]
    torch.testing.assert_close(found_BLR[0], torch.stack(expected))


@pytest.mark.parametrize("kind", ["sasrec", "bert4rec", "hstu"])
@pytest.mark.parametrize("temperature", [None, 0.1])
def test_scores_are_those_of_the_transformer_plus_those_of_the_linear_model(kind, temperature):
    both = drawn(small(kind, temperature=temperature, **LINEAR))
    with torch.no_grad():
        both.linear.read.weight[PAD].zero_()
    alone = small(kind, temperature=temperature).build(SPEC).eval()
    alone.load_state_dict(both.state_dict(), strict=False)
    rows = judged_rows(7, longest=8, targets=1)
    batch = batch_of(rows, 8)
    expected_BC = alone.item_table().all_scores(alone.encode(batch))
    for row, ids in enumerate(batch.item_ids_BL.tolist()):
        events = [i for i in ids if i != PAD]
        # A hidden event stands after the newest one in BERT4Rec, which is then one event old.
        first_age = 1 if kind == "bert4rec" else 0
        for age, item in enumerate(reversed(events), start=first_age):
            read_R = both.linear.read.weight[item] * 0.5**age
            expected_BC[row] += F.linear(read_R, both.linear.written)
    found_BC = both.item_table().all_scores(both.encode(batch))
    torch.testing.assert_close(found_BC, expected_BC, rtol=1e-4, atol=1e-4)


def test_both_learn_from_one_loss_and_padding_stays_zero():
    model = SasrecConfig(width=8, dropout=0.0, **LINEAR).build(SPEC)
    batch = batch_of(judged_rows(7, longest=8, targets=1), 10)
    model.item_table().all_scores(model.encode(batch)).logsumexp(dim=1).sum().backward()
    assert model.linear.read.weight.grad[1:].any()
    assert not model.linear.read.weight.grad[PAD].any()
    assert model.linear.written.grad.any()
    assert model.item_embedding.weight.grad.any()


@pytest.mark.parametrize(
    ("name", "value"), [("linear_width", 0), ("linear_decay", 0.0), ("linear_decay", 1.5),
                        ("linear_dropout", 1.0)],
)  # fmt: skip
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"model.{name}={value} must be"):
        SasrecConfig(**{name: value})


def test_the_label_names_it():
    assert "linear 256" in SasrecConfig(linear_width=256).label("softmax")
