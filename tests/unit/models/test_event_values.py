"""Columns of events in every model over histories: seen where asked for, and never in advance."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from itrec_dist.data.event_features import EventFeature
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards.arrays import HistoryRows, Ragged
from itrec_dist.errors import ConfigError
from itrec_dist.models import MODELS
from itrec_dist.models.item_table import StepModel
from itrec_dist.models.parts.event_values import EventValues
from itrec_dist.models.parts.masking import Masking
from itrec_dist.testing import check_model
from tests.histories_factory import judged_batch, judged_rows, training_batch, training_rows
from tests.small_models import SPEC, small

pytestmark = pytest.mark.usefixtures("one_thread")
DEVICE = EventFeature("device", "category", values=("ios", "tv", "web"))
PRICE = EventFeature("price", "number", edges=(1.0, 5.0))
TOLD = replace(SPEC, event_features=(PRICE, DEVICE))
CASES = {
    kind: small(kind, event_features=("device",))
    for kind in MODELS
    if "event_features" in {field.name for field in dataclasses.fields(MODELS[kind])}
}
CASES["ite, causal"] = small("ite", event_features=("device",), causal=True)
each_case = pytest.mark.parametrize("case", CASES)


def told(rows: HistoryRows) -> HistoryRows:
    codes = np.random.default_rng(7).integers(0, 5, (len(rows.item_ids.values), 2), dtype=np.int32)
    return replace(rows, event_features=Ragged(codes, rows.item_ids.offsets))


def judged() -> Batch:
    return judged_batch(told(judged_rows(12, longest=8, targets=1)), 9)


def drawn(case: str) -> torch.nn.Module:
    """The model with weights that tell: those of the start hardly differ from each other."""
    torch.manual_seed(1)
    model = CASES[case].build(TOLD).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def turned(batch: Batch, column: int, place: int | slice = slice(None)) -> Batch:
    """The batch with other codes in a column."""
    codes_BLG = batch.event_features_BLG.clone()
    codes_BLG[:, place, column] = (codes_BLG[:, place, column] + 1) % 5
    return replace(batch, event_features_BLG=codes_BLG)


def test_all_models_over_histories_take_them():
    assert set(CASES) >= {"sasrec", "esasrec", "hstu", "fuxi", "gru4rec", "bert4rec", "ite"}


@each_case
def test_a_model_sees_the_columns_that_it_is_set_to_see(case):
    model, batch = drawn(case), judged()
    before = model.encode(batch).hidden_ND
    assert (model.encode(turned(batch, 1)).hidden_ND != before).any(dim=1).all()
    assert torch.equal(model.encode(turned(batch, 0)).hidden_ND, before)
    assert CASES[case].label("softmax").endswith(" device")
    # What stands where there is no event says nothing.
    is_padding_BL = batch.item_ids_BL == 0
    noisy_BLG = batch.event_features_BLG + 3 * is_padding_BL[:, :, None]
    noisy = replace(batch, event_features_BLG=noisy_BLG)
    assert torch.equal(model.encode(noisy).hidden_ND, before)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["gru4rec", "bert4rec"])
def test_they_keep_what_models_promise(case):
    check_model(CASES[case], spec=TOLD)


@pytest.mark.parametrize("case", [c for c in CASES if c not in ("ite", "bert4rec")])
def test_a_position_is_not_told_the_features_of_later_events(case):
    model = drawn(case)
    assert isinstance(model, StepModel)
    batch = training_batch(told(training_rows(9, longest=8)), 9)
    before_BLD = model.encode_steps(batch)
    others_BG = (batch.target_features_BG + 1) % 5
    after_BLD = model.encode_steps(replace(batch, target_features_BG=others_BG))
    assert torch.equal(after_BLD, before_BLD)
    is_event_BL = batch.item_ids_BL != 0
    for place in range(9):
        after_BLD = model.encode_steps(turned(batch, 1, place))
        is_before_BL = is_event_BL & (torch.arange(9) < place)
        torch.testing.assert_close(after_BLD[is_before_BL], before_BLD[is_before_BL])
        is_changed_B = (after_BLD[:, place] != before_BLD[:, place]).any(dim=1)
        assert is_changed_B[is_event_BL[:, place]].all()


def test_bert4rec_is_not_told_the_features_of_hidden_events(monkeypatch):
    model = drawn("bert4rec")
    batch = training_batch(told(training_rows(9, longest=8)), 9)
    is_hidden_BL = torch.rand(9, 10) < 0.5
    is_hidden_BL[:, -1] |= ~is_hidden_BL.any(dim=1)
    monkeypatch.setattr(Masking, "_draw", lambda _, is_target_BL: is_hidden_BL & is_target_BL)
    before_BLD = model.choose_steps(batch).hidden_BLD
    masked, _ = model.masking.drawn(batch)
    whole_BLG = torch.cat([batch.event_features_BLG, batch.target_features_BG[:, None]], dim=1)
    is_masked_BL = masked.item_ids_BL == model.masking.mask_id
    assert is_masked_BL.any()
    expected_BLG = whole_BLG.masked_fill(is_masked_BL[:, :, None], 0)
    assert torch.equal(masked.event_features_BLG, expected_BLG)
    other_BLG = torch.where(is_masked_BL[:, :, None], (whole_BLG + 1) % 5, whole_BLG)
    other = replace(
        batch, event_features_BLG=other_BLG[:, :-1], target_features_BG=other_BLG[:, -1]
    )
    assert torch.equal(model.choose_steps(other).hidden_BLD, before_BLD)


def test_each_value_has_a_vector_and_missing_and_unknown_start_as_nothing():
    values = EventValues(("device", "price"), TOLD, 4)
    device, price = (vectors.weight for vectors in values.values)
    assert (len(device), len(price)) == (5, 5)
    assert not device[:2].any()
    assert not price[:2].any()
    assert device[2:].any(dim=1).all()
    codes_BLG = torch.tensor([[[4, 2], [0, 3], [1, 1]]])
    given = replace(judged(), event_features_BLG=codes_BLG)
    found_LD = values(given, torch.tensor([[True, True, False]]))[0]
    torch.testing.assert_close(found_LD[0], device[2] + price[4])
    torch.testing.assert_close(found_LD[1], device[3])
    assert not found_LD[2].any()


@pytest.mark.parametrize(
    ("names", "there", "words"),
    [
        (("devise",), (DEVICE, PRICE), r"no column 'devise' of events, but device, price"),
        (("device",), (), "needs columns of events, the shards have none"),
        (("device", "device"), (DEVICE,), "names device twice"),
    ],
)
@pytest.mark.parametrize("kind", ["sasrec", "ite"])
def test_columns_that_the_data_lacks_are_refused(kind, names, there, words):
    blank = {field.name: None for field in dataclasses.fields(Manifest)}
    features = {"user_features": (), "item_features": (), "event_features": there}
    data = Manifest(**{**blank, **features})
    with pytest.raises(ConfigError, match=words):
        small(kind, event_features=names).check(data)
