"""GRU4Rec: its states are those of a net that is fed one event after another."""

import pytest
import torch

from itrec_dist.data import spec as data_spec
from itrec_dist.data.shards import reader
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.losses import LOSSES
from itrec_dist.models.gru4rec import GRU4Rec, Gru4recConfig
from itrec_dist.tasks.next_items.task import NextItems
from tests.histories_factory import judged_batch, judged_rows, training_batch, training_rows
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = Gru4recConfig(width=8, num_layers=2, dropout=0.0)


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> DataSpec:
    folder = tmp_path_factory.mktemp("spec") / "shards"
    made = make_shards(folder, {"train": random_windows(50, input_length=12, target_length=1)})
    return data_spec.build(made, reader.read_items(folder, made))


@pytest.fixture
def model(spec) -> GRU4Rec:
    torch.manual_seed(1)
    return SMALL.build(spec).eval()


def test_states_are_those_of_one_event_after_another(model):
    rows = judged_rows(20, longest=8, targets=1)
    found_BLD = model.encode_steps(judged_batch(rows, 10))
    for row in range(len(rows)):
        ids = torch.from_numpy(rows.item_ids[row].astype("int64"))
        states = [torch.zeros(8) for _ in model.layers]
        for at, item in enumerate(ids):
            given = model.item_embedding.weight[item] * 8**0.5
            for n, layer in enumerate(model.layers):
                cell = torch.nn.GRUCell(8, 8)
                cell.load_state_dict(
                    {name.removesuffix("_l0"): w for name, w in layer.state_dict().items()}
                )
                given = states[n] = cell(given, states[n])
            place = 10 - len(ids) + at
            torch.testing.assert_close(found_BLD[row, place], given, rtol=1e-4, atol=1e-6)


def test_padding_on_the_left_changes_nothing(model):
    rows = judged_rows(20, longest=8, targets=1)
    narrow, wide = (model.encode(judged_batch(rows, width)).hidden_ND for width in (8, 12))
    torch.testing.assert_close(narrow, wide, rtol=1e-5, atol=1e-6)


def test_it_learns_from_every_position_and_padding_gets_no_gradient(spec):
    task = NextItems(SMALL, LOSSES["softmax"](), spec).train()
    assert task.learns_steps
    task(training_batch(training_rows(30, longest=9), 12)).loss_B.sum().backward()
    assert not task.model.item_embedding.weight.grad[0].any()
    assert all(p.grad.any() for p in task.model.parameters())


def test_it_learns_a_rule(spec):
    torch.manual_seed(0)
    config = Gru4recConfig(width=16, dropout=0.0)
    task = NextItems(config, LOSSES["softmax"](), spec).train()
    optimizer = torch.optim.Adam(task.parameters(), 0.02)
    walks = torch.arange(40)[:, None] * 5 + torch.arange(9) * 2  # every item is two on
    batch = training_batch(training_rows(40, longest=9), 8)
    ids_BL = (walks % 12 + 1).int()
    vars(batch).update(item_ids_BL=ids_BL[:, :-1], step_target_ids_BL=ids_BL[:, 1:])
    first = task(batch).loss_B.sum().item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = task(batch).loss_B.sum()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * first


@pytest.mark.parametrize(
    ("given", "words"), [({"width": 0}, "at least 1"), ({"dropout": 1.0}, "below 1")]
)
def test_shapes_that_cannot_be_built_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        Gru4recConfig(**given)
