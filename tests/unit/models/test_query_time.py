"""Queries changed by the time of the event to predict, against values worked out by hand."""

from dataclasses import replace

import pytest
import torch

from itrec_dist.data import spec as data_spec
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import reader
from itrec_dist.models import MODELS
from itrec_dist.models.parts.query_time import CumulativeVectors, QueryTime
from tests.histories_factory import judged_batch, judged_rows
from tests.shards_factory import make_shards, random_windows

GAPS_AND_BUCKETS = [(1, 0), (100, 15), (149, 16)]  # log(gap) / 0.301


def test_a_query_is_scaled_and_shifted_by_all_buckets_up_to_its_own():
    change = QueryTime(3)
    torch.nn.init.normal_(change.scale.increments)
    torch.nn.init.normal_(change.shift.increments)
    times_BL = torch.tensor([[0, *(sum(g for g, _ in GAPS_AND_BUCKETS[:n]) for n in (1, 2))]])
    given = replace(
        batch(), item_ids_BL=torch.tensor([[4, 5, 6]]), times_BL=times_BL,
        target_time_B=torch.tensor([sum(gap for gap, _ in GAPS_AND_BUCKETS)]),
    )  # fmt: skip
    query_BLD = torch.randn(1, 3, 3)
    found_BLD = change(query_BLD, given)
    for place, (_, bucket) in enumerate(GAPS_AND_BUCKETS):
        scale_D = sum(change.scale.increments[b] for b in range(bucket + 1))
        shift_D = sum(change.shift.increments[b] for b in range(bucket + 1))
        expected_D = query_BLD[0, place] * (1 + scale_D) + shift_D
        torch.testing.assert_close(found_BLD[0, place], expected_D)


def test_a_pause_longer_than_any_that_was_learned_is_taken_for_the_longest_that_was():
    vectors = CumulativeVectors(2)
    learned = torch.tensor([[3, 40]])
    vectors(learned).sum().backward()
    with torch.no_grad():
        vectors.increments -= vectors.increments.grad
    table_BLD = vectors(torch.tensor([[40, 41, 90, 127]]))[0]
    assert (table_BLD == table_BLD[0]).all()
    assert (table_BLD[0] != vectors(torch.tensor([[3]]))[0, 0]).all()


@pytest.mark.parametrize(
    ("kind", "more"), [("sasrec", {}), ("sasrec", {"linear_width": 5}), ("gru4rec", {})]
)
def test_a_model_begins_with_queries_that_do_not_depend_on_it(tmp_path, kind, more):
    windows = random_windows(50, input_length=12, target_length=1, times=True)
    manifest = make_shards(tmp_path / "shards", {"train": windows})
    spec = data_spec.build(manifest, reader.read_items(tmp_path / "shards", manifest))
    config = MODELS[kind](width=16, dropout=0.0, event_context=("time_of_query",), **more)
    model = config.build(spec).eval()
    first = batch()
    later = replace(first, target_time_B=first.target_time_B + 10**6)
    assert torch.equal(model.encode(first).hidden_ND, model.encode(later).hidden_ND)
    for name, parameter in model.named_parameters():
        if "shift" in name:
            torch.nn.init.normal_(parameter)
    changes_ND = model.encode(first).hidden_ND != model.encode(later).hidden_ND
    assert changes_ND[:, :16].all()
    assert not changes_ND[:, 16:].any(), "the linear model knows no times"


def batch() -> Batch:
    made = judged_batch(judged_rows(12, longest=8, targets=1), 8)
    times_BL = torch.arange(1000, 9000, 1000).cumsum(0) * (made.item_ids_BL != 0)
    return replace(made, times_BL=times_BL, target_time_B=torch.full((len(times_BL),), 10**5))
