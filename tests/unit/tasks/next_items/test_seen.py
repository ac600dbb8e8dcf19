"""What a ranking leaves out: the history, the input, or nothing, by models and by baselines."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist.data import manifest as manifests
from itrec_dist.data import spec as data_spec
from itrec_dist.data.batches import whole_batch
from itrec_dist.data.history_feeds import HistoryFeed, HistoryShare, HistoryTable
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.errors import ConfigError
from itrec_dist.evaluation import per_window
from itrec_dist.losses import LOSSES
from itrec_dist.metrics import slices
from itrec_dist.metrics.metric import FigureName, MetricChoice
from itrec_dist.models.seen import left_out
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.tasks.next_items.baselines import NextItemsBaselines
from itrec_dist.tasks.next_items.task import NextItems
from tests.histories_factory import judged_rows
from tests.step_model import StepsConfig

CPU = torch.device("cpu")


@pytest.mark.parametrize("seen", [None, "history", "input", "none"])
def test_a_model_leaves_out_what_its_judge_is_told(seen, history_shards):
    data = manifests.read(history_shards)
    spec = data_spec.build(data, reader.read_items(history_shards, data))
    task = NextItems(StepsConfig(), LOSSES["softmax"](), replace(spec, target_length=2)).eval()
    table = HistoryTable(judged_rows(30, longest=12, targets=2), CPU, 2)
    judge = task.judge(CPU, MetricChoice(seen=seen))
    num_targets = num_left_out = 0
    for batch in HistoryFeed(table, HistoryShare(8), CPU, "judged").epoch(None):
        with torch.no_grad():
            output = task(batch)
        judge.add(batch, output)
        gone = {"input": batch.item_ids_BL, "none": batch.item_ids_BL[:, :0]}
        gone_BS = gone.get(seen, batch.seen_ids_BS)
        for row in batch.weight_B.nonzero().flatten().tolist():
            ids = set(gone_BS[row].tolist())
            kept = [i for i in output.top_ids_BN[row].tolist() if i and i not in ids]
            unseen = [i for i in output.unseen_ids_BN[row].tolist() if i]
            assert unseen[: len(kept)] == kept
            assert not ids & set(unseen)
            targets = {i for i in batch.target_ids_BK[row].tolist() if i}
            num_targets += len(targets)
            num_left_out += len(targets & ids)
    counts = judge.judgement().targets
    assert (counts.num_targets, counts.left_out) == (num_targets, num_left_out)
    assert (num_left_out == 0) == (seen == "none")


def test_windows_have_no_history_to_leave_out(shards):
    data = manifests.read(shards)
    windows = read_split(shards, data, "test")
    batch = whole_batch(windows, CPU)
    assert torch.equal(left_out(batch, None), batch.item_ids_BL)
    assert left_out(batch, "none").shape == (len(windows), 0)
    with pytest.raises(ConfigError, match="give input or none, or window with --samples hist"):
        left_out(batch, "history")
    baselines = NextItemsBaselines()
    training = baselines.training(shards, data)
    fitted = baselines.registry["popularity"]().fit(training)
    judged = {
        seen: baselines.judge(fitted, windows, training, MetricChoice(seen=seen))
        for seen in (None, "input", "none")
    }
    assert judged[None] == judged["input"]
    assert judged["none"].groups["masked"] == judged["none"].groups["unmasked"]
    assert judged["input"].groups["masked"] != judged["input"].groups["unmasked"]
    assert judged["none"].targets == replace(judged["input"].targets, left_out=0)


@pytest.mark.parametrize(
    ("verb", "option"),
    [("train", "evaluation.seen"), ("evaluate", "--seen"), ("baselines", "--seen")],
)
def test_a_history_that_windows_do_not_hold_is_refused_before_anything_is_written(
    verb, option, shards, trained, tmp_path, itrec
):
    given = {
        "train": ("--local", "--shards", shards, "--evaluation.seen", "history"),
        "evaluate": (trained, "--seen", "history"),
        "baselines": ("--shards", shards, "--seen", "history", "--only", "popularity"),
    }
    code, _, err = itrec(verb, *given[verb], "--out", tmp_path / "out")
    assert code == 2
    assert err.startswith(f"itrec: error: {option}=history is for histories")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_other_figures_follow_from_what_is_left_out_and_many_lost_targets_are_said(
    trained, tmp_path, itrec
):
    code, shown, err = itrec("evaluate", trained, "--seen", "none", "--out", tmp_path / "x.json")
    assert (code, err) == (0, "")
    assert "warning" not in shown
    found = json.loads((tmp_path / "x.json").read_text())["splits"]["test"]
    assert found["masked"] == found["unmasked"]
    assert found["targets"]["left_out"] == 0


@pytest.fixture(scope="module")
def player(itrec, tmp_path_factory):
    """Listeners who come back to a few tracks of their own, and a model hardly trained on them."""
    folder = tmp_path_factory.mktemp("player")
    rng = np.random.default_rng(4)
    columns: dict[str, list[int]] = {"user": [], "item": [], "timestamp": []}
    for user in range(60):
        own = rng.choice(40, 4, replace=False)
        for time in np.sort(rng.integers(0, 10**6, 14)):
            for name, value in zip(columns, (user, rng.choice(own), time), strict=True):
                columns[name].append(int(value))
    pq.write_table(pa.table(columns), folder / "plays.parquet")
    for arguments in (
        ("window", "--samples", "histories", "--source", "table", "--input",
         folder / "plays.parquet", "--out", folder / "shards", "--max_length", 8),
        ("train", "--local", "--shards", folder / "shards", "--out", folder / "run",
         "--model.kind", "sasrec", "--model.width", 8, "--model.num_layers", 1,
         "--training.epochs", 2, "--cluster.threads", 1),
    ):  # fmt: skip
        code, _, err = itrec(*arguments)
        assert code == 0, err
    return folder / "run"


def test_a_player_of_the_same_tracks_is_told_what_leaving_them_out_costs(player, itrec):
    (note,) = [text for text in (e["message"] for e in RunDirectory(player).events("note"))
               if text.startswith("warning")]  # fmt: skip
    judged = json.loads((player / "evaluation.json").read_text())["splits"]
    found = judged["validation"]["targets"]
    share = found["left_out"] / found["num_targets"]
    assert share > 0.9
    assert note.startswith(f"warning: {share:.0%} of the targets of validation (")
    assert note.endswith("choose --evaluation.seen none")
    code, shown, _ = itrec("evaluate", player)
    warnings = [line for line in shown.splitlines() if line.startswith("warning")]
    assert (code, len(warnings)) == (0, 2)
    assert all(line.endswith("choose --seen none") for line in warnings)
    code, shown, _ = itrec("evaluate", player, "--seen", "none")
    assert (code, "warning" in shown) == (0, False)


def test_slices_of_histories_are_by_length_popularity_and_age_and_are_counted_again_alike(
    player, itrec, tmp_path
):
    out = tmp_path / "again.json"
    assert itrec("evaluate", player, "--out", out)[0] == 0
    again, first = (json.loads(f.read_text()) for f in (out, player / "evaluation.json"))
    assert again["splits"] == first["splits"]
    for judged in first["splits"].values():
        kinds = Counter()
        for each in judged["slices"]:
            kinds[each["kind"]] += each["num_targets"]
        total = judged["targets"]["num_targets"]
        assert kinds == dict.fromkeys((slices.LENGTH, slices.POPULARITY, slices.AGE), total)
    (epoch, *_) = RunDirectory(player).events("epoch")
    assert "slices" not in epoch["validation"]


def test_the_metrics_per_history_are_those_of_the_evaluation(player):
    per_window.write(player)
    found = per_window.read(player)
    judged = json.loads((player / "evaluation.json").read_text())["splits"]["test"]
    assert len(found) == judged["num_windows"] == 60
    checked = 0
    for ranking in ("unmasked", "masked"):
        for key, value in judged[ranking].items():
            name = FigureName.within(ranking, key)
            if found.holds(name):
                checked += 1
                assert found.values(name).mean() == pytest.approx(value, abs=1e-15)
            else:
                assert name.metric in ("coverage", "popularity")
    assert checked == 2 * 5 * 3
