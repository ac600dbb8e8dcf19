"""SASRec without causality, its item table, and the shapes that it refuses."""

import pytest
import torch

from itrec_dist.data import spec as data_spec
from itrec_dist.data.shards import reader
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.losses import LOSSES
from itrec_dist.models.item_table import StepModel
from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.tasks.next_items.task import NextItems
from tests.histories_factory import judged_rows
from tests.shards_factory import make_shards, random_windows
from tests.small_models import batch_of, drawn

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> DataSpec:
    folder = tmp_path_factory.mktemp("spec") / "shards"
    made = make_shards(folder, {"train": random_windows(50, input_length=12, target_length=1)})
    return data_spec.build(made, reader.read_items(folder, made))


def test_padding_on_the_left_changes_nothing_where_all_is_seen():
    model = drawn(SasrecConfig(width=8, num_layers=1, causal=False))
    rows = judged_rows(20, longest=8, targets=1)
    narrow, wide = (model.encode(batch_of(rows, width)).hidden_ND for width in (8, 12))
    torch.testing.assert_close(narrow, wide, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(narrow[0], narrow[1])


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
