"""item2vec against a slow twin, similar items, and models that start from vectors."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from itrec_dist.data import manifest
from itrec_dist.data import spec as data_spec
from itrec_dist.data.batches import whole_batch
from itrec_dist.data.shards import reader
from itrec_dist.errors import ConfigError
from itrec_dist.inference import similar
from itrec_dist.models.item2vec import Item2Vec, Item2VecConfig
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.tasks.next_items.windows import window
from itrec_dist.training import warm_start
from itrec_dist.training.warm_start import ItemEmbedding
from tests.cases import slow_after
from tests.fixtures import CUT
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = (
    "--training.monitor", "loss", "--training.batch_size", 64, "--training.epochs", 3,
    "--cluster.threads", 1,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(spec, items, windows) of small shards with padded windows."""
    folder = tmp_path_factory.mktemp("vectors") / "shards"
    windows = random_windows(20)
    data = make_shards(folder, {"train": windows})
    items = reader.read_items(folder, data)
    return data_spec.build(data, items), items, windows


@pytest.fixture(scope="module")
def vectors(itrec, shards, tmp_path_factory):
    """A run of item2vec, 20 wide."""
    out = tmp_path_factory.mktemp("trained") / "vectors"
    code, text, err = itrec(
        "train", "--local", "--shards", shards, "--out", out, "--loss", "contrast", *QUICK,
        "--model.kind", "item2vec", "--model.width", 20, "--optimizer.learning_rate", 0.05,
    )  # fmt: skip
    assert code == 0, err
    assert "validation loss" in text
    return out


def softplus(x):
    return math.log1p(math.exp(x))


@pytest.mark.parametrize("method", ["skip_gram", "cbow"])
def test_the_loss_is_that_computed_pair_by_pair(method, made):
    spec, _, windows = made
    torch.manual_seed(0)
    model = Item2Vec(Item2VecConfig(width=3, method=method, negatives=4), spec).eval()
    with torch.no_grad():
        model.item_embedding.weight[1:].normal_()
        model.context_embedding.weight[1:].normal_()
    batch = whole_batch(windows, torch.device("cpu"))
    found = model(batch)
    drawn = model._negatives(len(windows)).tolist()
    vector, context = (
        w.detach().double().numpy()
        for w in (model.item_embedding.weight, model.context_embedding.weight)
    )
    for row in range(len(windows)):
        ids = [i for i in (*windows.item_ids[row], *windows.target_ids[row]) if i]
        total = 0.0
        for at, item in enumerate(ids):
            others = ids[:at] + ids[at + 1 :]
            if method == "skip_gram":
                middle = vector[item]
                true = [softplus(-middle @ context[other]) for other in others]
                total += sum(true) / len(true)
            else:
                middle = np.mean([vector[other] for other in others], axis=0)
                total += softplus(-middle @ context[item])
            total += sum(softplus(middle @ context[other]) for other in drawn[row])
        assert found[row].item() == pytest.approx(total / len(ids), rel=1e-4)


def test_judged_epochs_meet_the_same_drawn_items_and_training_other_ones(made):
    spec, _, windows = made
    model = Item2Vec(Item2VecConfig(width=3), spec)
    batch = whole_batch(windows, torch.device("cpu"))
    with torch.no_grad():
        model.context_embedding.weight[1:].normal_()
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    assert torch.equal(model(batch), model(batch))


def test_similar_items_are_those_of_the_highest_cosine(made):
    _, items, _ = made
    vectors_VD = torch.zeros(13, 2)
    angles = torch.arange(12) * 0.2
    vectors_VD[1:] = torch.stack([angles.cos(), angles.sin()], 1) * torch.arange(1, 13)[:, None]
    found = ItemEmbedding(items, vectors_VD)
    near = similar.similar(found, "m5", 3)
    assert {source_id for source_id, *_ in near[:2]} == {"m4", "m6"}
    assert near[0][2] == pytest.approx(math.cos(0.2), abs=1e-6)
    assert similar.similar(found, "Film 5 (1990)", 3) == near
    with pytest.raises(ConfigError, match=r"did you mean Film 1 \(1990\)"):
        similar.similar(found, "film 1", 3)
    with pytest.raises(ConfigError, match="between 1 and the catalogue's other 11"):
        similar.similar(found, "m5", 12)


def test_an_embedding_starts_from_the_vectors_of_the_items_that_it_knows(made):
    _, items, _ = made
    theirs = replace(items, source_ids=(*items.source_ids[6:], *(f"x{i}" for i in range(6))))
    given = ItemEmbedding(theirs, torch.randn(13, 4, generator=torch.Generator().manual_seed(0)))
    embedding = torch.nn.Embedding(13, 4, padding_idx=0)
    before = embedding.weight.detach().clone()
    assert warm_start.start(embedding.weight, given, items) == 6
    assert torch.equal(embedding.weight[:7], before[:7])
    cosines = torch.cosine_similarity(embedding.weight[7:], given.vectors_VD[1:7])
    torch.testing.assert_close(cosines, torch.ones(6))
    assert embedding.weight[7:].std().item() == pytest.approx(before[1:].std().item(), rel=1e-4)


def test_the_loss_of_held_out_windows_falls_and_the_command_lists_neighbours(vectors, itrec):
    code, text, err = itrec("similar", vectors, "--item", "1", "-k", 4)
    assert code == 0, err
    lines = text.splitlines()
    assert len(lines) == 4
    cosines = [float(line.split()[0]) for line in lines]
    assert cosines == sorted(cosines, reverse=True)
    code, _, err = itrec("similar", vectors, "--item", "1", "--checkpoint", "nowhere")
    assert (code, err.count("\n")) == (2, 1)
    assert "holds no checkpoint 'nowhere'" in err
    code, text, err = itrec("evaluate", vectors, "--out", vectors.parent / "judged.json")
    assert code == 0, err
    judged = json.loads((vectors.parent / "judged.json").read_text(encoding="utf-8"))
    loss = judged["splits"]["validation"]["loss"]
    assert f"{loss:.4f}" in text
    assert loss < 21 * math.log(2)  # where all vectors are zero
    code, _, err = itrec("recommend", vectors, "--out", vectors.parent / "top.parquet")
    assert code == 2
    assert "gives no recommendations" in err


@pytest.mark.parametrize("kind", slow_after(1, ["ite", "bst"]))
def test_a_model_starts_from_vectors(kind, vectors, itrec, shards, tmp_path):
    more = {
        "bst": ("--model.kind", "bst", "--model.width", 20, "--loss", "mse"),
        "ite": ("--model.width", 24, "--model.movie_feature_width", 3, "--model.num_heads", 2),
    }[kind]
    code, text, err = itrec(
        "train", "--local", "--shards", shards, "--out", tmp_path / "run", *QUICK, *more,
        "--item_vectors", vectors, "--optimizer.learning_rate", 1e-9,
    )  # fmt: skip
    assert code == 0, err
    assert "warning" not in text
    started = warm_start.read(tmp_path / "run").vectors_VD[1:]
    cosines = torch.cosine_similarity(started, warm_start.read(vectors).vectors_VD[1:])
    torch.testing.assert_close(cosines, torch.ones(len(cosines)), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_vectors_of_other_windows_start_a_model_with_a_warning(
    vectors, itrec, shards, ratings_folder, tmp_path
):
    """Other windows of the same ratings: what is held out here was seen there."""
    window("ml-1m", ratings_folder, tmp_path / "shards", replace(CUT, seed=9))
    code, text, err = itrec(
        "train", "--local", "--shards", tmp_path / "shards", "--out", tmp_path / "run", *QUICK,
        "--item_vectors", vectors, "--model.width", 24, "--model.movie_feature_width", 3,
        "--model.num_heads", 2,
    )  # fmt: skip
    assert code == 0, err
    notes = [e["message"] for e in RunDirectory(tmp_path / "run").events("note")]
    theirs, mine = (manifest.read(s).fingerprint[:12] for s in (shards, tmp_path / "shards"))
    (told,) = [note for note in notes if note.startswith("warning: ")]
    assert f"{vectors} were learned on other windows (fingerprint {theirs})" in told
    assert f"this run's ({mine})" in told
    assert "warning: the vectors" in text


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--model.width", 64), "are 20 wide, the item embedding of this model is 31 wide"),
        (("--model.kind", "svdpp", "--loss", "mse"), "model.kind=svdpp has no item embedding"),
        (("--item_vectors", "no/such/run"), "is not a run directory"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(more, told, vectors, itrec, shards, tmp_path):
    code, _, err = itrec(
        "train", "--local", "--shards", shards, "--out", tmp_path / "run", *QUICK,
        "--item_vectors", vectors, *more,
    )  # fmt: skip
    assert code == 2
    assert told in err
    assert not (tmp_path / "run").exists()
