"""`itrec evaluate`: the figures of training again, and figures against a slow twin."""

import json
import shutil

import pytest
import torch

from itrec_dist.data import batches, manifest
from itrec_dist.data.shards import splits
from itrec_dist.inference.load import restore
from itrec_dist.tasks.next_items.windows import WindowConfig, window
from tests.fixtures import CUT


def written(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_judging_again_gives_the_same_figures_to_the_last_bit(trained, tmp_path, itrec):
    out = tmp_path / "again.json"
    code, shown, err = itrec("evaluate", trained, "--out", out)
    assert code == 0, err
    assert out.read_text() == (trained / "evaluation.json").read_text()
    figures = written(out)["splits"]["test"]
    assert f"{figures['unmasked']['precision@5']:.4f}" in shown
    assert f"{figures['masked']['hit_rate@5']:.4f}" in shown


def test_the_figures_are_those_of_a_count_by_hand(trained, shards):
    """Hit rate, precision and MRR of the test split, window by window in plain Python."""
    restored = restore(trained)
    described = manifest.read(shards)
    windows = splits.read_split(shards, described, "test")
    batch = batches.whole_batch(windows, restored.engine.device)
    with torch.no_grad():
        scores_BC = torch.cat(list(restored.task.catalogue_scores(batch)), dim=1).cpu()
    judged = written(trained / "evaluation.json")["splits"]["test"]
    for ranking in ("unmasked", "masked"):
        hits, found, reciprocal = 0, 0, 0.0
        for row, inputs, targets in zip(
            scores_BC.tolist(), windows.item_ids.tolist(), windows.target_ids.tolist(), strict=True
        ):
            left_out = {i - 1 for i in inputs if i} if ranking == "masked" else set()
            order = sorted(set(range(len(row))) - left_out, key=lambda i: -row[i])
            places = [r for r, i in enumerate(order[:5], start=1) if i + 1 in targets]
            found += len(places)
            hits += bool(places)
            reciprocal += 1 / places[0] if places else 0.0
        count = len(windows)
        assert judged[ranking]["precision@5"] == pytest.approx(found / count / 5)
        assert judged[ranking]["hit_rate@5"] == pytest.approx(hits / count)
        assert judged[ranking]["mrr@5"] == pytest.approx(reciprocal / count)
    assert judged["num_windows"] == len(windows)


def test_the_last_checkpoint_is_the_last_epochs(trained, tmp_path, itrec):
    out = tmp_path / "last.json"
    assert itrec("evaluate", trained, "--checkpoint", "last", "--out", out)[0] == 0
    events = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    last = [event for event in events if event["event"] == "epoch"][-1]
    judged = written(out)
    assert (judged["checkpoint"], judged["epoch"]) == ("last", last["epoch"])
    assert judged["splits"]["validation"].pop("slices")  # which are not counted every epoch
    assert judged["splits"]["validation"] == last["validation"]


@pytest.fixture(scope="module")
def other_windows(ratings_folder, tmp_path_factory):
    """The same ratings and catalogue, but other windows."""
    folder = tmp_path_factory.mktemp("other") / "shards"
    cut = {"top_items": 60, "stride": 3, "validation_fraction": 0.5, "seed": 9, "threads": 1}
    window("ml-1m", ratings_folder, folder, WindowConfig(**cut))
    return folder


def test_other_windows_of_the_same_catalogue_are_judged(trained, other_windows, tmp_path, itrec):
    out = tmp_path / "other.json"
    code, _, err = itrec("evaluate", trained, "--shards", other_windows, "--out", out)
    assert code == 0, err
    splits = written(out)["splits"]
    described = manifest.read(other_windows)
    assert set(splits) == {"validation"}
    assert splits["validation"]["num_windows"] == described.num_windows("validation")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"top_items": 50}, "another catalogue (50 items)"),
        ({"input_length": 8}, "input_length 8"),
        ({"target_length": 4}, "target_length 4"),
    ],
)
def test_windows_that_do_not_fit_the_model_are_refused(
    changes, told, trained, ratings_folder, tmp_path, itrec
):
    settings = {"top_items": 60, "stride": 4, "threads": 1, **changes}
    window("ml-1m", ratings_folder, tmp_path / "shards", WindowConfig(**settings))
    out = tmp_path / "refused.json"
    code, shown, err = itrec("evaluate", trained, "--shards", tmp_path / "shards", "--out", out)
    assert (code, shown) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert len(err) < 500
    assert not out.exists()


def test_other_codes_of_user_features_are_refused(trained, shards, tmp_path, itrec):
    other = tmp_path / "other"
    shutil.copytree(shards, other)
    described = written(other / "manifest.json")
    values = described["user_features"][0]["values"]
    described["user_features"][0]["values"] = values[::-1]
    (other / "manifest.json").write_text(json.dumps(described))
    code, _, err = itrec("evaluate", trained, "--shards", other)
    assert code == 2
    assert "user features" in err
    assert len(err) < 500


def test_shards_with_nothing_to_judge_are_refused(trained, ratings_folder, tmp_path, itrec):
    cut = {"top_items": 60, "stride": 4, "validation_fraction": 0.0, "threads": 1}
    window("ml-1m", ratings_folder, tmp_path / "shards", WindowConfig(**cut))
    code, _, err = itrec("evaluate", trained, "--shards", tmp_path / "shards")
    assert code == 2
    assert "nothing to evaluate" in err


def test_a_run_is_judged_from_any_folder(trained, tmp_path, itrec, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert itrec("evaluate", trained)[0] == 0
    assert CUT.top_items == restore(trained).manifest.num_items
