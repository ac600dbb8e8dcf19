"""All models that learn from every position of a history: what each position may depend on."""

from dataclasses import replace

import pytest
import torch

from itrec_dist.data.history_feeds import HistoryTable
from itrec_dist.data.schema import PAD, Batch
from tests.histories_factory import judged_rows, training_rows
from tests.small_models import STEP_MODELS, batch_of, drawn

pytestmark = pytest.mark.usefixtures("one_thread")

each_model = pytest.mark.parametrize("name", STEP_MODELS)


def long_row() -> Batch:
    """A row of training of several events, two places of padding before them."""
    rows = training_rows(30, longest=10, seed=9)
    longest = int(rows.item_ids.lengths.argmax())
    table = HistoryTable(rows, torch.device("cpu"), 1)
    width = int(rows.item_ids.lengths.max()) + 1
    tensors = table.steps(torch.tensor([longest]), width)
    return Batch(**tensors, weight_B=torch.ones(1), denominator=1)


def changed(name: str, batch: Batch, other: Batch) -> list[bool]:
    """Which events of a row have another hidden state in another batch."""
    model = drawn(STEP_MODELS[name])
    before, after = model.encode_steps(batch), model.encode_steps(other)
    is_changed_BL = (before != after).any(dim=2) & (batch.item_ids_BL != PAD)
    return [bool(c) for c in is_changed_BL[0]]


@each_model
def test_padding_on_the_left_changes_nothing(name):
    model, rows = drawn(STEP_MODELS[name]), judged_rows(20, longest=8, targets=1)
    narrow, wide = (model.encode(batch_of(rows, width)).hidden_ND for width in (8, 12))
    torch.testing.assert_close(narrow, wide, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(narrow[0], narrow[1])


@each_model
def test_a_row_does_not_depend_on_the_others_of_its_batch(name):
    model, rows = drawn(STEP_MODELS[name]), judged_rows(9, longest=8, targets=1)
    together = model.encode(batch_of(rows, 8)).hidden_ND
    for row in range(len(rows)):
        alone = batch_of(rows.take([row]), int(rows.item_ids.lengths[row]))
        torch.testing.assert_close(
            model.encode(alone).hidden_ND[0], together[row], rtol=1e-4, atol=1e-5
        )


@each_model
def test_a_position_sees_no_later_item_and_every_earlier_one(name):
    batch = long_row()
    L = batch.item_ids_BL.shape[1]
    assert not batch.item_ids_BL[0, 1]
    for place in range(2, L):
        ids_BL = batch.item_ids_BL.clone()
        ids_BL[0, place] = ids_BL[0, place] % 12 + 1
        other = replace(batch, item_ids_BL=ids_BL)
        assert changed(name, batch, other) == [False] * place + [True] * (L - place)


@each_model
def test_a_position_sees_no_later_time_but_for_that_of_the_query(name):
    batch = long_row()
    L = batch.item_ids_BL.shape[1]
    uses_times = STEP_MODELS[name].uses_times
    early = 1 if "time of query" in name else 0
    for place in range(3, L):
        times_BL = batch.times_BL.clone()
        times_BL[0, place] += 10**9
        seen = changed(name, batch, replace(batch, times_BL=times_BL))
        first = place - early
        assert seen[:first] == [False] * first
        assert seen[first] == uses_times
        assert any(seen) == uses_times
    late = replace(batch, target_time_B=batch.target_time_B + 10**9)
    assert changed(name, batch, late) == [False] * (L - 1) + [bool(early)]


@each_model
def test_the_unit_of_the_first_time_means_nothing(name):
    batch = long_row()
    later = replace(
        batch, times_BL=batch.times_BL + 10**12, target_time_B=batch.target_time_B + 10**12
    )
    assert not any(changed(name, batch, later))


@each_model
def test_steps_end_with_the_query(name):
    model = drawn(STEP_MODELS[name])
    batch = batch_of(judged_rows(9, longest=8, targets=1), 8)
    assert torch.equal(model.encode_steps(batch)[:, -1], model.encode(batch).hidden_ND)
    assert model.encode_steps(batch).isfinite().all()


@each_model
def test_a_row_of_padding_alone_gives_something_finite(name):
    model = drawn(STEP_MODELS[name])
    batch = batch_of(judged_rows(3, longest=8, targets=1), 8)
    empty = replace(batch, item_ids_BL=torch.full_like(batch.item_ids_BL, PAD))
    model.encode_steps(empty).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_all_kinds_are_there():
    assert {"sasrec", "esasrec", "hstu", "hstu, time of query", "fuxi"} <= set(STEP_MODELS)
