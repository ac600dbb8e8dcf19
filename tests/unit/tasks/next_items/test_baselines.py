import dataclasses
import json

import numpy as np
import pytest
import torch

from itrec_dist.cli import app
from itrec_dist.data import manifest
from itrec_dist.data.shards import reader, splits
from itrec_dist.errors import ConfigError, EnvironmentProblem
from itrec_dist.metrics.metric import FigureName, MetricChoice
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.system import environment
from itrec_dist.tasks.baselines import is_installed
from itrec_dist.tasks.next_items import baselines
from itrec_dist.tasks.next_items.scoring import Inputs
from tests.drawn_ties import key
from tests.shards_factory import make_shards, random_windows

ITEM_IDS = torch.tensor([[0, 0, 3, 1], [2, 2, 4, 2], [0, 0, 0, 12]])
INPUTS = Inputs(ITEM_IDS, torch.tensor([0, 500, 2000]))
ON_WINDOWS = [name for name, kind in baselines.BASELINES.items() if "windows" in kind.samples]


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    make_shards(
        folder,
        {
            "train": random_windows(120),
            "validation": random_windows(30, seed=1, first_id=120),
            "test": random_windows(31, seed=2, first_id=150),
        },
    )
    return folder


def training(shards):
    described = manifest.read(shards)
    return baselines.NextItemsTrainingData(
        shards,
        described,
        splits.read_split(shards, described, "train"),
        reader.read_items(shards, described),
    )


def fitted(shards, name, **settings):
    return baselines.BASELINES[name](**settings).fit(training(shards))


def multi_hot(ids, weights=None):
    hot = np.zeros((len(ids), 13))
    for row, (items, values) in enumerate(
        zip(ids, np.ones(ids.shape) if weights is None else weights, strict=True)
    ):
        for item, value in zip(items, values, strict=True):
            hot[row, item] += value
    return hot[:, 1:]


def test_every_file_is_a_baseline_found_by_its_name():
    assert list(baselines.BASELINES) == [
        "cooccurrence", "ease", "ials", "item_knn", "last_items", "linear_history",
        "popularity", "recent_popularity", "ridge", "session_starts", "trending",
    ]  # fmt: skip
    for name in baselines.BASELINES:
        assert dataclasses.is_dataclass(baselines.BASELINES[name])
    with pytest.raises(ConfigError, match="there are: cooccurrence, ease, ials"):
        baselines.BASELINES["knn"]


def test_popularity_counts_training_targets(shards):
    scores = fitted(shards, "popularity")(INPUTS)
    counts = np.bincount(random_windows(120).target_ids.reshape(-1), minlength=13)[1:]
    assert scores.tolist() == [counts.tolist()] * 3


@pytest.mark.parametrize(("share", "kept"), [(0.1, 12), (0.101, 13), (1.0, 120), (1e-9, 1)])
def test_recent_popularity_counts_the_latest_windows(shards, share, kept):
    scores = fitted(shards, "recent_popularity", share=share)(INPUTS)
    windows = random_windows(120)
    order = sorted(range(120), key=lambda i: (windows.target_time[i], i))[-kept:]
    counts = np.bincount(windows.target_ids[order].reshape(-1), minlength=13)[1:]
    assert scores.tolist() == [counts.tolist()] * 3


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_cooccurrence_sums_counts_over_the_inputs(shards, damping):
    windows = random_windows(120)
    inputs, targets = multi_hot(windows.item_ids) > 0, multi_hot(windows.target_ids) > 0
    counts = inputs.T.astype(float) @ targets
    popularity = np.bincount(windows.target_ids.reshape(-1), minlength=13)[1:]
    expected = multi_hot(ITEM_IDS.numpy()) @ counts / popularity**damping
    scores = fitted(shards, "cooccurrence", damping=damping)(INPUTS)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-13)


def test_ridge_equals_the_dense_closed_form(shards, monkeypatch):
    monkeypatch.setattr("itrec_dist.tasks.next_items.baselines.ridge.WINDOWS_PER_CHUNK", 50)
    windows = random_windows(120)
    ages = np.broadcast_to(0.8 ** np.array([3, 2, 1, 0]), (120, 4))
    inputs = multi_hot(windows.item_ids, ages)
    targets = (multi_hot(windows.target_ids) > 0).astype(float)
    solved = np.linalg.inv(inputs.T @ inputs + 7 * np.eye(12)) @ inputs.T @ targets
    expected = multi_hot(ITEM_IDS.numpy(), ages[:3]) @ solved
    scores = fitted(shards, "ridge", penalty=7.0, decay=0.8)(INPUTS)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_ridge_by_hand(tmp_path):
    """One window, (1) -> (2): w = 1 / (1 + penalty) from item 1 to item 2, nothing else."""
    windows = dataclasses.replace(
        random_windows(1),
        item_ids=np.array([[0, 0, 0, 1]], np.int32),
        target_ids=np.array([[2, 2]], np.int32),
    )
    make_shards(tmp_path / "shards", {"train": windows}, num_items=2, num_files=1)
    score = fitted(tmp_path / "shards", "ridge", penalty=3.0, decay=0.5)
    given = torch.tensor([[0, 0, 0, 1], [0, 1, 2, 2], [0, 0, 0, 0]])
    assert score(Inputs(given, torch.zeros(3))).tolist() == [[0, 0.25], [0, 0.0625], [0, 0]]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ridge", {"penalty": 0.0}),
        ("ridge", {"penalty": float("nan")}),
        ("ridge", {"decay": 1.1}),
        ("recent_popularity", {"share": 0.0}),
        ("cooccurrence", {"damping": -1.0}),
        ("ease", {"penalty": 0.0}),
        ("item_knn", {"neighbours": 0}),
        ("item_knn", {"shrink": -0.1}),
        ("ials", {"width": 0}),
        ("linear_history", {"penalty": float("inf")}),
        ("linear_history", {"decay": 0.0}),
        ("trending", {"days": 0.0}),
        ("session_starts", {"pause_hours": 0.0}),
    ],
)
def test_impossible_settings_are_refused(name, settings):
    with pytest.raises(ConfigError, match=f"{name}.{next(iter(settings))} is"):
        baselines.BASELINES[name](**settings)


@pytest.mark.parametrize("name", ON_WINDOWS)
def test_evaluation_windows_are_not_learned_from(tmp_path, name):
    """Other evaluation windows, same training windows: the same scores."""
    if not is_installed(baselines.BASELINES[name]):
        pytest.skip(f"{name} needs a package")
    scores = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        judged = random_windows(30, seed=seed, first_id=120)
        make_shards(folder, {"train": random_windows(120), "test": judged})
        scores.append(fitted(folder, name)(INPUTS))
    assert torch.equal(*scores)


# ---------------------------------------------------------------------------- the command


def itrec(*arguments):
    return app.main(["baselines", *map(str, arguments)])


def test_the_command_writes_complete_runs_and_prints_them(shards, tmp_path, capsys):
    out = tmp_path / "runs"
    assert (
        itrec("--shards", shards, "--out", out, "--only", "popularity,ridge", "--ridge.decay", 1)
        == 0
    )
    printed = capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == ["popularity", "ridge"]
    run = RunDirectory.existing(out / "ridge")
    assert run.is_complete
    assert [e["event"] for e in run.events()] == ["start", "note", "end"]
    assert run.events("start")[0]["kind"] == "baseline"
    evaluation = run.read_json(run.evaluation)
    assert evaluation["kind"] == "baseline"
    assert evaluation["name"] == "ridge"
    assert evaluation["epoch"] is None
    assert list(evaluation["splits"]) == ["validation", "test"]
    assert evaluation["splits"]["test"]["num_windows"] == 31
    assert run.read_json(run.manifest) == json.loads((shards / "manifest.json").read_text())
    versions = run.read_json(run.environment)["packages"]
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert "decay: 1.0" in run.config.read_text()
    for ranking in ("unmasked", "masked"):
        figure = evaluation["splits"]["test"][ranking]["hit_rate@5"]
        assert f"{figure:.4f}" in printed
    assert "precision@5" in printed


def test_figures_are_those_of_the_definition(shards, tmp_path):
    itrec("--shards", shards, "--out", tmp_path / "runs", "--only", "popularity")
    run = RunDirectory.existing(tmp_path / "runs" / "popularity")
    figures = run.read_json(run.evaluation)["splits"]["test"]
    counts = np.bincount(random_windows(120).target_ids.reshape(-1), minlength=13)[1:]
    judged = random_windows(31, seed=2, first_id=150)
    for name, masked in (("unmasked", False), ("masked", True)):
        hits = []
        for window, inputs, targets in zip(
            judged.window_ids.tolist(), judged.item_ids, judged.target_ids, strict=True
        ):
            ranking = sorted(range(1, 13), key=lambda i: (-counts[i - 1], key(window, i)))
            top = [i for i in ranking if not (masked and i in inputs)][:5]
            hits.append(len(set(top) & set(targets.tolist())))
        assert figures[name]["precision@5"] == pytest.approx(sum(hits) / 5 / 31, rel=1e-12)
        assert figures[name]["hit_rate@5"] == pytest.approx(np.mean(np.array(hits) > 0), rel=1e-12)


def test_scores_that_say_nothing_are_judged_as_chance(shards):
    """By id the most popular items would come first, of which most targets are."""
    trained = training(shards)
    rare = random_windows(4000, seed=5)  # their targets become items 1 to 3
    rare = dataclasses.replace(rare, target_ids=rare.target_ids.clip(max=3))
    judge = baselines.NextItemsBaselines().judge
    found = judge(lambda inputs: torch.zeros(len(inputs), 12), rare, trained, MetricChoice((1,)))
    sizes = [len(set(row)) for row in rare.target_ids.tolist()]
    assert np.mean(sizes) > 1
    chance = np.mean(sizes) / 12
    spread = (chance * (1 - chance) / 4000) ** 0.5
    assert abs(found.value(FigureName("unmasked", "precision", 1)) - chance) < 4 * spread


def test_a_second_run_is_refused_or_replaces(shards, tmp_path, capsys):
    arguments = ("--shards", shards, "--out", tmp_path / "runs", "--only", "popularity")
    assert itrec(*arguments) == 0
    assert itrec(*arguments) == 2
    assert "already exists" in capsys.readouterr().err
    arguments = (*arguments[:-1], "[popularity]")  # a list, as other options take it
    assert itrec(*arguments, "--overwrite") == 0
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["popularity"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--only", "popularity,rigde"),
            "no baseline 'rigde' (did you mean ridge?); there are: cooccurrence",
        ),
        (("--only", ","), "names no baseline"),
        (("--only", "[]"), "names no baseline"),
        (
            ("--only", "[popularity, rigde]"),
            "no baseline 'rigde' (did you mean ridge?); there are: cooccurrence",
        ),
        (("--ridge.penalty", "-1"), "ridge.penalty is -1.0, allowed is above 0"),
        (("--ridge.alpha", "1"), "ridge.alpha"),
        (("--shards", "nowhere"), "nowhere holds no manifest.json"),
    ],
)
def test_mistakes_cost_one_sentence_and_leave_nothing(
    shards, tmp_path, capsys, arguments, sentence
):
    out = tmp_path / "runs"
    assert itrec("--shards", shards, "--out", out, *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_nothing_to_judge_is_refused(tmp_path, capsys):
    make_shards(tmp_path / "shards", {"train": random_windows(10)})
    assert itrec("--shards", tmp_path / "shards", "--out", tmp_path / "runs") == 2
    assert "neither a validation nor a test split" in capsys.readouterr().err


def test_a_catalogue_that_memory_cannot_hold_is_refused_before_work():
    baselines.refuse_too_large("ridge", 1000)
    baselines.refuse_too_large("popularity", 50_000_000)
    baselines.refuse_too_large("item_knn", 50_000_000)
    for name in ("ridge", "ease", "linear_history"):
        sentence = rf"{name} over 5,000,000 items needs .* leave it out with --only"
        with pytest.raises(EnvironmentProblem, match=sentence):
            baselines.refuse_too_large(name, 5_000_000)


def test_the_environment_is_plain_and_names_no_machine():
    found = environment.record(seed=3)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["seed"] == 3
    assert found["cores"] >= 1
    assert found["packages"]["pyarrow"]
    assert not {"hostname", "node", "user"} & found.keys()
