"""SASRec: what each position may see, its positions, and its shapes."""

import pytest
import torch

from itrec_dist.data import spec as data_spec
from itrec_dist.data.history_feeds import HistoryTable
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import reader
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.losses import LOSSES
from itrec_dist.models.item_table import StepModel
from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.tasks.next_items.task import NextItems
from tests.histories_factory import judged_rows, training_rows
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = SasrecConfig(width=16, num_heads=2, dropout=0.0, feedforward_multiplier=2)


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> DataSpec:
    folder = tmp_path_factory.mktemp("spec") / "shards"
    made = make_shards(folder, {"train": random_windows(50, input_length=12, target_length=1)})
    return data_spec.build(made, reader.read_items(folder, made))


def batch_of(rows, width: int) -> Batch:
    table = HistoryTable(rows, torch.device("cpu"), 2)
    tensors = table.judged(torch.arange(len(rows)), width)
    return Batch(**tensors, weight_B=torch.ones(len(rows)), denominator=len(rows))


def drawn(config: SasrecConfig, spec: DataSpec):
    """The model with weights that tell: those of the start hardly differ from each other."""
    torch.manual_seed(1)
    model = config.build(spec).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        model.item_embedding.weight[0].zero_()
    return model


@pytest.mark.parametrize("config", [SMALL, SasrecConfig(width=8, num_layers=1, causal=False)])
def test_padding_on_the_left_changes_nothing(spec, config):
    model = drawn(config, spec)
    rows = judged_rows(20, longest=8, targets=1)
    narrow, wide = (model.encode(batch_of(rows, width)).hidden_ND for width in (8, 12))
    torch.testing.assert_close(narrow, wide, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(narrow[0], narrow[1])


def test_a_position_sees_no_later_event_and_every_earlier_one(spec):
    model = drawn(SMALL, spec)
    batch = batch_of(training_rows(1, longest=12, seed=9), 10)
    assert (batch.item_ids_BL != 0).sum() > 5
    before = model.encode_steps(batch)
    for place in range(10):
        if not batch.item_ids_BL[0, place]:
            continue
        ids_BL = batch.item_ids_BL.clone()
        ids_BL[0, place] = ids_BL[0, place] % 12 + 1
        after = model.encode_steps(Batch(**{**vars(batch), "item_ids_BL": ids_BL}))
        changed = [bool(c) for c in (before != after).any(dim=2)[0]]
        assert changed == [False] * place + [True] * (10 - place)


def test_steps_end_with_the_query(spec):
    model = drawn(SMALL, spec)
    batch = batch_of(judged_rows(9, longest=8, targets=1), 8)
    assert torch.equal(model.encode_steps(batch)[:, -1], model.encode(batch).hidden_ND)
    assert model.encode_steps(batch).isfinite().all()


def test_what_attends_to_later_events_learns_from_the_last_target_alone(spec):
    task = NextItems(SasrecConfig(causal=False), LOSSES["softmax"](), spec)
    assert not isinstance(task.model, StepModel)
    assert not task.learns_steps
    assert NextItems(SasrecConfig(), LOSSES["softmax"](), spec).learns_steps


@pytest.mark.parametrize("item_bias", [True, False])
def test_the_item_table_is_the_embedding_with_or_without_a_bias(spec, item_bias):
    task = NextItems(SasrecConfig(item_bias=item_bias), LOSSES["softmax"](), spec)
    table = task.model.item_table()
    assert table.weight_CD.data_ptr() == task.model.item_embedding.weight[1:].data_ptr()
    if item_bias:  # it starts at the training popularity
        assert table.bias_C.argmax() == spec.target_counts_C.argmax()
    else:
        assert table.bias_C is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_heads": 3}, "must divide"),
        ({"num_layers": 0}, "at least 1"),
        ({"dropout": 1.0}, "below 1"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        SasrecConfig(**given)
