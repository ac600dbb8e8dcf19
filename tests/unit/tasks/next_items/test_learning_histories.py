"""Learning from histories: exact whatever the padding, and from the command to recommendations."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist.data import manifest as manifests
from itrec_dist.data import spec as data_spec
from itrec_dist.data.history_feeds import HistoryFeed, HistoryShare, HistoryTable
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.arrays import HistoryRows
from itrec_dist.data.spec import DataSpec
from itrec_dist.losses import LOSSES
from itrec_dist.tasks.next_items.task import NextItems
from tests.cases import slow_after
from tests.histories_factory import judged_rows, training_rows
from tests.shards_factory import make_shards, random_windows
from tests.small_models import SPEC, STEP_MODELS
from tests.step_model import KIND, StepsConfig

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
ROWS = training_rows(40, longest=12, seed=5)
SOME_ROWS = training_rows(12, longest=12, seed=6)
ITE = ["--model.kind", "ite", "--model.side_information", "none", "--model.width", "32"]
ITE += ["--model.movie_feature_width", "8", "--model.dropout", "0.0"]


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> DataSpec:
    folder = tmp_path_factory.mktemp("spec") / "shards"
    made = make_shards(folder, {"train": random_windows(50, input_length=12, target_length=1)})
    return data_spec.build(made, reader.read_items(folder, made))


def batches(rows, use="steps", width=None, seed=(0, 1), **share) -> list[Batch]:
    table = HistoryTable(rows, CPU, 2)
    return list(HistoryFeed(table, HistoryShare(8, **share), CPU, use, width).epoch(seed))


def learned(
    task: NextItems, given: list[Batch]
) -> tuple[dict[int, float], dict[str, torch.Tensor]]:
    """The loss of every row, and the gradients of their sum."""
    task.zero_grad()
    losses = {}
    for batch in given:
        loss_B = task(batch).loss_B
        (loss_B * batch.weight_B).sum().backward()
        for row, loss, weight in zip(batch.window_ids_B, loss_B, batch.weight_B, strict=True):
            if weight:
                losses[int(row)] = loss.item()
    return losses, {name: p.grad.clone() for name, p in task.named_parameters()}


def exactness(task: NextItems, rows: HistoryRows) -> None:
    """Fail unless rows by themselves and in batches of any width give the same."""
    alone = [batch for n in range(len(rows)) for batch in batches(rows.take(np.array([n])))]
    losses, gradients = learned(task, alone)
    assert min(losses.values()) > 0
    for share, width in (({}, None), ({"batch_tokens": 30}, None), ({}, 12), ({"multiple": 5}, 12)):
        found, others = learned(task, batches(rows, width=width, **share))
        assert found == pytest.approx(losses, rel=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_padding_changes_neither_losses_nor_gradients(spec, loss):
    torch.manual_seed(0)
    exactness(NextItems(StepsConfig(), LOSSES[loss](), spec).train(), ROWS)


@pytest.mark.parametrize("name", slow_after(4, list(STEP_MODELS)))
def test_padding_changes_no_model_of_ours(name):
    torch.manual_seed(0)
    exactness(NextItems(STEP_MODELS[name], LOSSES["softmax"](), SPEC).train(), SOME_ROWS)


def test_learning_at_every_position_is_learning_from_every_prefix(spec):
    torch.manual_seed(0)
    task = NextItems(StepsConfig(), LOSSES["softmax"](), spec).train()
    # They are counted from the end, so that one event has another in each prefix.
    task.model.positions.weight.data.zero_()
    whole = sum((task(b).loss_B * b.weight_B).sum().item() for b in batches(ROWS))
    table, total = HistoryTable(ROWS, CPU, 1), 0.0
    for row in range(len(ROWS)):
        for place in range(int(ROWS.num_context[row]), len(ROWS.item_ids[row])):
            tensors = table.prefixes(torch.tensor([row]), torch.tensor([place]), 12)
            batch = Batch(**tensors, weight_B=torch.ones(1), denominator=1)
            total += task(batch).loss_B.item()
    assert whole == pytest.approx(total, rel=1e-5)


def test_a_share_of_fillers_alone_has_no_loss_and_a_gradient_of_zero(spec):
    task = NextItems(StepsConfig(), LOSSES["softmax"](), spec).train()
    (batch, *_) = batches(ROWS)
    fillers = replace(batch, weight_B=torch.zeros_like(batch.weight_B))
    assert not task(fillers).loss_B.any()
    _, gradients = learned(task, [fillers])
    assert all(not gradient.any() for gradient in gradients.values())


def test_the_whole_history_is_left_out_of_the_ranking(spec):
    task = NextItems(StepsConfig(), LOSSES["softmax"](), spec).eval()
    rows = judged_rows(30, longest=12, targets=2)
    for batch in batches(rows, "judged", seed=None):
        output = task(batch)
        for seen, unseen, top in zip(
            batch.seen_ids_BS.tolist(), output.unseen_ids_BN.tolist(), output.top_ids_BN.tolist(),
            strict=True,
        ):  # fmt: skip
            kept = [i for i in top if i and i not in seen]
            assert [i for i in unseen if i] == kept


@pytest.fixture(scope="module")
def histories(itrec, tmp_path_factory):
    """A cycle of items that each user walks, from a start of their own, for 1 to 25 events."""
    folder = tmp_path_factory.mktemp("walks")
    rng = np.random.default_rng(0)
    rows = [
        (user, (start + step) % 30, step)
        for user in range(150)
        for start in [int(rng.integers(30))]
        for step in range(int(rng.integers(1, 26)))
    ]
    columns = zip(*rows, strict=True)
    names = ["user", "item", "timestamp"]
    pq.write_table(pa.table([list(c) for c in columns], names=names), folder / "walks.parquet")
    code, _, err = itrec(
        "window", "--samples", "histories", "--source", "table", "--input",
        folder / "walks.parquet", "--out", folder / "shards", "--max_length", "10",
    )  # fmt: skip
    assert code == 0, err
    return folder / "shards"


@pytest.mark.parametrize(
    ("model", "epochs"), slow_after(1, [(["--model.kind", KIND], 12), (ITE, 20)])
)
def test_histories_are_trained_judged_evaluated_and_recommended(
    histories, itrec, tmp_path, model, epochs
):
    run = tmp_path / "run"
    code, out, err = itrec(
        "train", "--local", "--shards", histories, "--out", run, *model, "--loss", "softmax",
        "--training.epochs", epochs, "--training.batch_tokens", 200, "--cluster.threads", 1,
        "--optimizer.learning_rate", 0.01, "--engine.precision", "fp32",
    )  # fmt: skip
    assert code == 0, err
    assert "epoch   1" in out
    judged = json.loads((run / "evaluation.json").read_text())["splits"]
    made = manifests.read(histories)
    assert judged["test"]["num_windows"] == made.num_windows("test") > 120
    assert judged["test"]["unmasked"]["hit_rate@5"] > 0.9  # at random a sixth
    again = tmp_path / "again.json"
    assert itrec("evaluate", run, "--out", again)[0] == 0
    assert json.loads(again.read_text())["splits"] == judged
    code, _, err = itrec("recommend", run, "--out", tmp_path / "top.parquet", "-k", 3)
    assert code == 0, err
    top = pq.read_table(tmp_path / "top.parquet").to_pylist()
    assert len({row["user"] for row in top}) > 100


def test_settings_of_the_other_kind_of_samples_are_refused(histories, shards, itrec, tmp_path):
    for given, words in (
        (
            ("--shards", histories, "--feed.cache", "none", "--feed.shuffle_events", 99),
            "feed.shuffle_events=99 is too small for batches of up to",
        ),
        (
            ("--shards", histories, "--model.kind", "bert4rec", "--training.next_targets", 2),
            "learns from hidden events and not from those that follow",
        ),
        (("--shards", shards, "--training.batch_tokens", 9), "window with --samples histories"),
    ):
        code, _, err = itrec("train", "--local", "--out", tmp_path / "run", *given)
        assert code == 2
        assert words in err
        assert not (tmp_path / "run").exists()
