"""Runs on histories: stopped and resumed, and by any number of workers, they learn the same."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch

from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.runs.directory import RunDirectory
from tests.cases import slow_after
from tests.stopped_runs import config_of, go_on, losses, outcome, start

pytestmark = pytest.mark.usefixtures("one_thread")

STILL = {"model": {"dropout": 0.0}, "optimizer": {"name": "sgd", "learning_rate": 0.05}}
"""The model of the other tests, which learns from the beginnings of histories."""


def run_of(data, out, kind):
    training = {"epochs": 2, "batch_tokens": 400, "patience": None}
    if kind == "ahead":
        training |= {"next_targets": 3}
    run = config_of(data, out, training=training, **STILL)
    if kind == "prefixes":
        return run
    return replace(run, model=SasrecConfig(width=16, num_layers=1, dropout=0.0))


@pytest.mark.parametrize("kind", slow_after(1, ["causal", "prefixes", "ahead"]))
def test_a_run_stopped_within_an_epoch_ends_to_the_bit_as_one_that_was_not(
    kind, history_shards, tmp_path
):
    whole = start(run_of(history_shards, tmp_path / "whole", kind))
    assert len(losses(whole)) > 12
    start(run_of(history_shards, tmp_path / "run", kind), stop_at=5)
    resumed = go_on(run_of(history_shards, tmp_path / "run", kind))
    (note,) = [e for e in resumed.events("note") if e["message"].startswith("resumed")]
    assert note["message"].startswith("resumed within epoch 1, after step")
    assert outcome(resumed) == outcome(whole)


def work(context, data, out):
    """What each of the two processes does."""
    for kind in ("causal", "prefixes"):
        start(run_of(data, out / kind, kind), context)
    start(run_of(data, out / "two, then one", "causal"), context, stop_at=5)


@pytest.fixture(scope="module")
def two_workers(history_shards, pair, tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    pair.run(work, history_shards, out)
    return out


def same_within_tolerance(one: RunDirectory, other: RunDirectory) -> None:
    files = [run.checkpoints / "last" / "model.safetensors" for run in (one, other)]
    weights, others = (safetensors.torch.load_file(file) for file in files)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], atol=1e-4, rtol=1e-3)
    found = [
        [(e["epoch"], e["loss"], e["validation"]["loss"]) for e in run.events("epoch")]
        for run in (one, other)
    ]
    assert len(found[0]) == 2
    for epoch, others in zip(*found, strict=True):
        assert epoch == pytest.approx(others, rel=1e-5)


@pytest.mark.parametrize("kind", slow_after(1, ["causal", "prefixes"]))
def test_two_workers_learn_what_one_learns(kind, history_shards, two_workers, tmp_path):
    alone = start(run_of(history_shards, tmp_path / "alone", kind))
    same_within_tolerance(RunDirectory(two_workers / kind), alone)


def test_one_worker_goes_on_where_two_stopped(history_shards, two_workers, tmp_path):
    alone = start(run_of(history_shards, tmp_path / "alone", "causal"))
    resumed = go_on(run_of(history_shards, two_workers / "two, then one", "causal"))
    same_within_tolerance(resumed, alone)
