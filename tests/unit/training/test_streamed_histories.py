"""Runs that read histories again every epoch learn what those learn that keep them in memory."""

from dataclasses import replace

import pytest

from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.tasks.next_items.histories import HistoryConfig, histories
from tests.cases import slow_after
from tests.stopped_runs import config_of, go_on, losses, outcome, start

pytestmark = pytest.mark.usefixtures("one_thread")
BUFFERS = 8000  # events that may be held: some buffers of the shared data


def run_of(data, out, cache="none", kind="steps", **feed):
    feed = {"cache": cache, "shuffle_events": BUFFERS, **feed}
    training = {"epochs": 2, "batch_tokens": 400, "patience": None}
    run = config_of(data, out, training=training, feed=feed, optimizer={"name": "sgd"})
    if kind == "prefixes":
        return run
    return replace(run, model=SasrecConfig(width=16, num_layers=1, dropout=0.2))


@pytest.fixture(scope="module")
def one_file(ratings_folder, tmp_path_factory):
    """Histories in one training file, which a buffer may hold."""
    folder = tmp_path_factory.mktemp("one") / "file"
    histories("ml-1m", ratings_folder, folder, HistoryConfig(max_length=20, num_shards=1))
    return folder


def figures(run):
    return [(e["epoch"], e["step"], e["loss"], e["train"]) for e in run.events("epoch")]


def test_a_buffer_that_holds_all_gives_the_run_of_memory(one_file, tmp_path):
    streamed = start(run_of(one_file, tmp_path / "streamed", shuffle_events=10**6))
    kept = start(run_of(one_file, tmp_path / "kept", "host"))
    assert losses(streamed) == losses(kept)
    assert figures(streamed) == figures(kept)
    for one, other in zip(streamed.events("epoch"), kept.events("epoch"), strict=True):
        for name, value in one["validation"]["masked"].items():
            assert value == pytest.approx(other["validation"]["masked"][name], rel=1e-5), name


@pytest.mark.parametrize("kind", slow_after(1, ["steps", "prefixes"]))
def test_a_run_stopped_within_an_epoch_ends_to_the_bit_as_one_that_was_not(
    kind, history_shards, tmp_path
):
    whole = start(run_of(history_shards, tmp_path / "whole", kind=kind))
    start(run_of(history_shards, tmp_path / "run", kind=kind), stop_at=5)
    resumed = go_on(run_of(history_shards, tmp_path / "run", kind=kind))
    assert any("resumed within epoch 1" in e["message"] for e in resumed.events("note"))
    assert outcome(resumed) == outcome(whole)


def work(context, data, out):
    """What each of the two processes does."""
    start(run_of(data, out / "whole"), context)
    start(run_of(data, out / "stopped"), context, stop_at=5)
    go_on(run_of(data, out / "stopped"), context)


@pytest.mark.slow
def test_two_workers_learn_from_every_target_and_resume_to_the_bit(history_shards, pair, tmp_path):
    pair.run(work, history_shards, tmp_path)
    whole = RunDirectory(tmp_path / "whole")
    assert outcome(RunDirectory(tmp_path / "stopped")) == outcome(whole)
    alone = start(run_of(history_shards, tmp_path / "alone"))
    for one, two in zip(alone.events("epoch"), whole.events("epoch"), strict=True):
        assert one["validation"]["num_windows"] == two["validation"]["num_windows"]
        # Other batches and no other data: the mean loss of all targets is about the same.
        assert two["loss"] == pytest.approx(one["loss"], rel=0.02)
