"""Exported models beside the checkpoint, and what the folder says of them."""

import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

import itrec_dist
from itrec_dist import __version__
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.errors import ConfigError, OutputError
from itrec_dist.inference.export import folder
from itrec_dist.inference.export.scorer import Scorer
from itrec_dist.inference.load import restore
from itrec_dist.inference.served import from_shards
from itrec_dist.models.hstu import HstuConfig
from tests import exported
from tests.small_models import SPEC, STEP_MODELS, drawn, small

MODELS = {
    **{name: config for name, config in STEP_MODELS.items() if "query" not in name},
    "bert4rec": small("bert4rec"),
    "sasrec, sees all": small("sasrec", causal=False, temperature=0.1),
    "ite, repeat bias": small("ite", repeat_bias=True),
}
COUNTS = [5, 5, 9, 1, 1, 1, 0, 0, 7, 5, 2, 2]
ITEMS = SimpleNamespace(num_train_targets=np.array(COUNTS))


def drawn_users(count, length, seed=0):
    """Item ids, ratings and times of histories of 0 to `length` events, and items to leave out."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, SPEC.num_items + 1, (count, length))
    is_padding = np.arange(length) < rng.integers(0, length, (count, 1))
    is_padding[0] = True
    ids[is_padding] = PAD
    times = np.where(is_padding, 0, 10**9 + rng.integers(0, 10**6, ids.shape).cumsum(axis=1))
    ratings = np.where(is_padding, 0, rng.integers(1, 6, ids.shape)).astype(np.float32)
    left_out = rng.integers(0, SPEC.num_items + 1, (count, 4))
    return tuple(map(torch.from_numpy, (ids, ratings, times, left_out)))


def row_of(ids, ratings, times):
    """One user's newest events as a batch of the model's full length."""
    length = SPEC.input_length
    ids, ratings, times = (
        torch.nn.functional.pad(x, (max(0, length - len(x)), 0))[-length:][None]
        for x in (ids, ratings, times)
    )
    nothing = torch.zeros(1, dtype=torch.int64)
    return Batch(
        window_ids_B=nothing, user_ids_B=nothing, user_features_BF=ids[:, :0], item_ids_BL=ids,
        ratings_BL=ratings, target_ids_BK=ids[:, :0], target_ratings_BK=ratings[:, :0],
        weight_B=torch.ones(1), denominator=1.0, times_BL=times, target_time_B=nothing,
    )  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("length", [7, SPEC.input_length + 9])
def test_a_scorer_gives_what_the_model_gives_one_user_at_a_time(name, length):
    model = drawn(MODELS[name])
    scorer = Scorer(model, ITEMS, SPEC.input_length, k=10).eval()
    ids, ratings, times, left_out = drawn_users(12, length)
    scores, top, top_scores = scorer(ids, ratings, times, left_out=left_out)
    assert torch.isinf(scores[:, PAD]).all()
    for row in range(len(ids)):
        expected = COUNTS
        if row > 0:  # the first one has no events
            batch = row_of(ids[row], ratings[row], times[row])
            with torch.no_grad():
                expected = model.item_table().all_scores(model.encode(batch))[0].tolist()
        np.testing.assert_allclose(scores[row, 1:].numpy(), expected, rtol=1e-5, atol=1e-5)
        free = sorted({*range(1, 13)} - {*left_out[row].tolist()})
        best = sorted(free, key=lambda i: (-scores[row, i].item(), i))[:10]
        assert top[row].tolist() == best + [PAD] * (10 - len(best))
        found = [scores[row, i].item() for i in best] + [-math.inf] * (10 - len(best))
        assert top_scores[row].tolist() == found


def test_equal_scores_rank_by_index_and_nothing_wrong_is_left_out():
    model = drawn(MODELS["sasrec"])
    with torch.no_grad():
        model.item_embedding.weight[3:6] = model.item_embedding.weight[3]
        model.item_bias.fill_(0.0)
        model.item_bias[2:5] = 50.0
    scorer = Scorer(model, ITEMS, SPEC.input_length, k=5).eval()
    none = torch.tensor([[0], [-3], [99]])
    scores, top, _ = scorer(torch.tensor([[1, 2], [1, 2], [1, 2]]), left_out=none)
    assert scores[0, 3] == scores[0, 4] == scores[0, 5]
    assert top[:, :3].tolist() == [[3, 4, 5]] * 3


def test_the_scorers_copy_leaves_the_model_as_it_was():
    model = drawn(MODELS["sasrec"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scorer = Scorer(model, ITEMS, SPEC.input_length)
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert len(scorer(torch.ones(2, 3, dtype=torch.int64))) == 1
    # Tied vectors are held once.
    assert scorer.weight_VD is None


@pytest.fixture(scope="module")
def exported_run(trained, tmp_path_factory, itrec):
    out = tmp_path_factory.mktemp("exported") / "model"
    code, said, err = itrec("export", trained, "--out", out, "-k", 7, "--license", "cc0-1.0")
    assert code == 0, err
    assert said.startswith(f"model: {out / 'model.pt2'} (")
    return out


def test_a_program_ranks_users_as_the_checkpoint(exported_run, trained, shards):
    restored = exported.in_float32(restore(trained))
    served = from_shards(restored, shards)
    difference, same = exported.compared(
        restored, served, exported.loaded(exported_run, "torch"), k=7
    )
    assert difference < 1e-5
    assert same == 1.0


def test_the_folder_says_how_the_model_is_called(exported_run, trained):
    restored = restore(trained)
    said = json.loads((exported_run / "signature.json").read_text())
    assert (said["file"], said["format"], said["k"]) == ("model.pt2", "torch", 7)
    assert said["fingerprint"] == restored.manifest.fingerprint
    assert said["max_history"] == restored.manifest.input_length
    assert [(p["name"], p["dtype"]) for p in said["inputs"]] == [
        ("item_ids", "int64"), ("ratings", "float32"), ("user_features", "int64"),
        ("left_out", "int64"),
    ]  # fmt: skip
    for told, feature in zip(said["user_features"], restored.manifest.user_features, strict=True):
        assert (told["name"], tuple(told["values"])) == (feature.name, feature.values)
    assert [(p["name"], p["shape"]) for p in said["outputs"]] == [
        ("scores", ["batch", 61]), ("top_items", ["batch", 7]), ("top_scores", ["batch", 7]),
    ]  # fmt: skip
    items = pq.read_table(exported_run / "items.parquet").to_pydict()
    assert items["index"] == list(range(1, 61))
    assert tuple(items["id"]) == restored.items.source_ids
    assert tuple(items["title"]) == restored.items.titles
    assert {p.name for p in exported_run.iterdir()} == {
        "model.pt2", "signature.json", "items.parquet", "README.md",
    }  # fmt: skip


def test_the_model_card_holds_data_audit_figures_settings_and_licence(exported_run, trained):
    card = (exported_run / "README.md").read_text()
    restored = restore(trained)
    _, head, text = card.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "cc0-1.0"
    judged = json.loads((trained / "evaluation.json").read_text())["splits"]
    for figure in ("precision@5", "ndcg@10"):
        cells = " | ".join(f"{judged[s]['masked'][figure]:.4f}" for s in ("validation", "test"))
        assert f"| masked/{figure} | {cells} |" in text
    assert f"- Fingerprint: {restored.manifest.fingerprint}" in text
    assert "- Protocol: random_windows" in text
    share = restored.manifest.audit["test"]["targets_in_training_inputs_share"]
    assert f"({share:.1%})" in text
    settings = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert settings["model"]["kind"] == restored.run.model.kind
    assert str(trained.parent) not in card
    assert str(restored.run.shards) not in card
    assert f"itrec-dist\n{__version__}" in text


def test_the_cards_program_runs(exported_run, monkeypatch):
    card = (exported_run / "README.md").read_text()
    monkeypatch.chdir(exported_run)
    found = {}
    exec(card.partition("```python\n")[2].partition("```")[0], found)
    assert found["top_items"].shape == (1, 7)
    assert found["scores"].shape == (1, 61)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["-k", 61], "-k 61 is not between 1 and the catalogue's 60 items"),
        (["--format", "tflite"], "tflite"),
        (["--checkpoint", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_sentence(more, told, trained, tmp_path, itrec):
    code, _, err = itrec("export", trained, "--out", tmp_path / "model", *more)
    assert (code, err.count("\n")) == (2, 1)
    assert told in err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_taken_is_refused(exported_run, trained, tmp_path, itrec):
    (tmp_path / "mine").write_text("")
    for place, more in ((exported_run, ()), (tmp_path, ("--overwrite",))):
        code, _, err = itrec("export", trained, "--out", place, *more)
        assert (code, err.count("\n")) == (2, 1)
        with pytest.raises(OutputError) as refused:  # the library's sentence is the command's
            itrec_dist.load(trained).export(place, overwrite=bool(more))
        assert err == f"itrec: error: {refused.value}\n"
    assert (tmp_path / "mine").is_file()
    assert "--out is missing" in itrec("export", trained)[2]


def test_onnx_without_its_packages_is_one_sentence(trained, tmp_path, itrec, monkeypatch):
    monkeypatch.setattr("itrec_dist.inference.export.onnx.find_spec", lambda name: None)
    code, _, err = itrec("export", trained, "--out", tmp_path / "model", "--format", "onnx")
    assert (code, err.count("\n")) == (2, 1)
    assert "needs the packages onnx and onnxscript" in err
    assert "pip install 'itrec-dist[export]'" in err


def test_models_that_cannot_serve_so_are_refused(trained, tmp_path):
    restored = restore(trained)
    of_query = replace(restored.run, model=HstuConfig(time_of_query=True))
    untraceable = drawn(MODELS["sasrec"])
    untraceable.encode = lambda batch: 1 / 0
    for changed, told in (
        (replace(restored, run=of_query), "time_of_query=true"),
        (replace(restored, task=SimpleNamespace(model=torch.nn.Linear(1, 1))), "does not rank"),
        (
            replace(restored, task=SimpleNamespace(model=untraceable), items=ITEMS),
            "cannot be exported, since torch.export does not know how to trace it",
        ),
    ):
        with pytest.raises(ConfigError, match=told) as refusal:
            folder.export(changed, folder.Request("torch"), lambda _: "", tmp_path / "model")
        assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


ALONE = """
import sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p] + [{packages!r}]
sys.modules["itrec_dist"] = None  # importing it is an error
import numpy as np
given = dict(np.load("given.npz"))
{call}
np.savez("found.npz", scores=found[0], top=found[1])
assert not {{"itrec_dist.errors", "pyarrow", "ray", "duckdb", {other!r}}} & set(sys.modules)
"""
CALLS = {
    "torch": "import torch\n"
    "model = torch.export.load('model/model.pt2').module()\n"
    "found = [t.detach().numpy() for t in model(**{n: torch.tensor(a) for n, a in given.items()})]",
    "onnx": "import onnxruntime\n"
    "found = onnxruntime.InferenceSession('model/model.onnx').run(None, given)",
}
NEEDED = ("numpy", "numpy.libs", "onnxruntime", "flatbuffers", "packaging", "google")


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["torch", "onnx"])
def test_a_model_is_served_by_its_runtime_alone(format_, trained, shards, tmp_path, itrec):
    """In a process that finds no other packages than the runtime's, and never this one."""
    packages, other = Path(torch.__file__).parents[1], "onnxruntime"
    if format_ == "onnx":
        pytest.importorskip("onnxscript", reason="needs the extra export")
        onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
        places = {Path(m.__file__).parents[1] for m in (onnxruntime, np)}
        packages, other = tmp_path / "packages", "torch"
        packages.mkdir()
        for name, place in itertools.product(NEEDED, places):
            if (place / name).exists() and not (packages / name).exists():
                (packages / name).symlink_to(place / name)
    out = tmp_path / "model"
    code, _, err = itrec("export", trained, "--format", format_, "-k", 5, "--out", out)
    assert code == 0, err
    restored = exported.in_float32(restore(trained))
    served = from_shards(restored, shards)
    names = [port["name"] for port in json.loads((out / "signature.json").read_text())["inputs"]]
    given = exported.inputs(served)
    np.savez(tmp_path / "given.npz", **{name: given[name] for name in names})
    program = ALONE.format(packages=str(packages), other=other, call=CALLS[format_])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True, text=True, cwd=tmp_path, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    expected = exported.checkpoint_scores(restored, served)
    np.testing.assert_allclose(found["scores"][:, 1:], expected, atol=1e-5)
    assert (found["top"] == exported.recommended(restored, served, 5)).all()
