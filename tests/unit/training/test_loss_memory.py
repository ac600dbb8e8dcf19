"""What the loss will hold: how many queries there are, what is said, and what is refused."""

from dataclasses import replace

import pytest
import torch

from itrec_dist import config
from itrec_dist.data import manifest
from itrec_dist.errors import ConfigError
from itrec_dist.training import loss_memory
from itrec_dist.training.config import RunConfig

CPU = torch.device("cpu")


def run_of(*settings):
    return config.load(RunConfig, None, ["shards=shards", "out=out", *settings])


@pytest.fixture
def data(shards):
    return replace(manifest.read(shards), num_items=1_000_000, input_length=50)


def test_the_most_queries_of_a_micro_batch(data):
    run = run_of("training.batch_size=96", "engine.accumulate=3")
    assert loss_memory.most_queries(run, data, 4, steps=True) == 8
    histories = replace(data, samples="histories")
    assert loss_memory.most_queries(run, histories, 4, steps=False) == 8
    assert loss_memory.most_queries(run, histories, 4, steps=True) == 8 * 50
    run = run_of("training.batch_tokens=8192", "engine.accumulate=2")
    assert loss_memory.most_queries(run, histories, 2, steps=True) == 2048
    run = run_of("training.batch_tokens=60", "engine.accumulate=2")
    assert loss_memory.most_queries(run, histories, 1, steps=True) == 50, "a whole history"


def test_little_is_not_worth_a_line(data):
    small = replace(data, num_items=1000)
    assert loss_memory.check(run_of("loss=softmax"), small, 512, CPU) is None
    assert loss_memory.check(run_of("loss=softmax", "loss.memory=whole"), data, 512, CPU, 10**11)


@pytest.fixture
def told(monkeypatch):
    """Whatever it is, it is said."""
    monkeypatch.setattr(loss_memory, "WORTH_SAYING", 0)


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("kind", ["softmax", "ce", "bce"])
def test_chunks_fit_where_the_whole_is_refused(kind, data):
    free = 300_000_000
    line = loss_memory.check(run_of(f"loss={kind}"), data, 512, CPU, free)
    assert line.startswith(f"loss {kind} holds the scores of 512 positions and 1,000,000 items in ")
    assert "chunks" in line
    run = run_of(f"loss={kind}", "loss.memory=whole")
    with pytest.raises(ConfigError) as refused:
        loss_memory.check(run, data, 512, CPU, free)
    assert str(refused.value) == (
        f"loss={kind} would hold the scores of 512 positions and 1,000,000 items as a whole, about "
        "8.2 GB, and 300.0 MB are free: set loss.memory=chunks, which gives the same result, take "
        "loss.kind=sampled_softmax, lower training.batch_size (or batch_tokens), or raise "
        "engine.accumulate"
    )
    small = replace(data, num_items=1000)
    assert "1,000 items as a whole" in loss_memory.check(run_of(f"loss={kind}"), small, 512, CPU)


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("kind", ["sampled_softmax", "gbce"])
def test_drawn_items_do_not_depend_on_the_catalogue(kind, data):
    run = run_of(f"loss={kind}")
    line = loss_memory.check(run, data, 512, CPU, 10**8)
    small = replace(data, num_items=1000)
    assert loss_memory.check(run, small, 512, CPU, 10**8) == line
    with pytest.raises(ConfigError, match=r"lower loss\.num_negatives or lower training\."):
        loss_memory.check(run, data, 512, CPU, 10**6)


@pytest.mark.usefixtures("told")
def test_the_log_and_the_screen_say_it(itrec, shards, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "model: {kind: ite, width: 16, movie_feature_width: 4}\n"
        "training: {epochs: 1, batch_size: 64}\n"
    )
    code, out, err = itrec(
        "train", "--local", "--config", recipe, "--shards", shards, "--out", tmp_path / "run",
        "--loss", "sampled_softmax", "--loss.num_negatives", 3,
    )  # fmt: skip
    assert code == 0, err
    assert "loss sampled_softmax holds the scores of 64 positions and 3 drawn items: at most" in out
    assert '"loss_memory"' in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8")
