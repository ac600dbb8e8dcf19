"""A run that was stopped and resumed is the run that was not stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from itrec_dist.reports import runs
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import retention
from itrec_dist.runs.checkpoints.manager import CheckpointManager
from itrec_dist.runs.directory import RunDirectory
from tests.cases import slow_after
from tests.fixtures import DEBUG_RECIPE
from tests.stopped_runs import (
    STEPS_PER_EPOCH,
    Stopped,
    config_of,
    go_on,
    losses,
    make_data,
    outcome,
    start,
)

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("resume") / "shards")


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    return start(config_of(data, tmp_path_factory.mktemp("whole") / "run"))


def test_the_run_of_these_tests_has_what_can_go_wrong(undisturbed):
    found = outcome(undisturbed)
    assert len(losses(undisturbed)) == 3 * STEPS_PER_EPOCH
    assert len(found["epochs"]) == 3
    assert {
        "checkpoints/last/state/optimizer.safetensors",
        "checkpoints/best/model.safetensors",
    } < (set(found["files"]))
    assert not (undisturbed.checkpoints / "best" / "state").exists(), "best stays small"


@pytest.mark.parametrize(("stop", "at"), slow_after(2, [(5, 4), (11, 9), (4, 3), (7, 6), (9, 8)]))
def test_a_run_stopped_anywhere_ends_to_the_bit_as_one_that_was_not(
    stop, at, data, undisturbed, tmp_path
):
    run = config_of(data, tmp_path / "run")
    start(run, stop_at=stop)
    assert checkpoint_format.read_record(run.out / "checkpoints" / "last").step == at
    resumed = go_on(run)
    assert outcome(resumed) == outcome(undisturbed)
    assert losses(resumed)[at:] == losses(undisturbed)[at:]
    (note,) = [e for e in resumed.events("note") if e["message"].startswith("resumed")]
    within = f"within epoch {at // 4 + 1}, after" if at % 4 else f"from epoch {at // 4},"
    assert note["message"] == f"resumed {within} step {at}"


def test_a_run_stopped_after_every_single_step_ends_the_same(data, undisturbed, tmp_path):
    run = config_of(data, tmp_path / "run", checkpoints={"steps": 1})
    start(run, stop_at=2)
    for step in range(3, 13):
        go_on(run, stop_at=step)
    assert outcome(go_on(run)) == outcome(undisturbed)


def test_patience_goes_on_counting(data, tmp_path):
    changes = {"training": {"epochs": 30}, "optimizer": {"learning_rate": 0.5}}
    whole = start(config_of(data, tmp_path / "whole", **changes))
    reason, best = outcome(whole)["end"]
    assert reason == "stopped early"
    run = config_of(data, tmp_path / "run", **changes)
    start(run, stop_at=(best + 1) * STEPS_PER_EPOCH + 1)  # one epoch of patience is used up
    assert outcome(go_on(run)) == outcome(whole)


def test_a_run_stopped_while_it_was_judged_is_judged(data, undisturbed, tmp_path, monkeypatch):
    run = config_of(data, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointManager, "load_best", lambda _: (_ for _ in ()).throw(Stopped))
        start(run)
    assert not RunDirectory(run.out).is_complete
    assert outcome(go_on(run)) == outcome(undisturbed)
    assert len(RunDirectory(run.out).events("epoch")) == 3, "nothing was trained again"


@pytest.mark.parametrize("step", [4, 8])
def test_a_run_stopped_between_best_and_last_ends_the_same(
    step, data, undisturbed, tmp_path, monkeypatch
):
    run = config_of(data, tmp_path / "run")
    plain = retention.put

    def put(folder, kind, at, keep, fill):
        if (kind, at) == ("last", step):
            raise Stopped
        plain(folder, kind, at, keep, fill)

    with monkeypatch.context() as patch:
        patch.setattr(retention, "put", put)
        start(run)
    assert outcome(go_on(run)) == outcome(undisturbed)


@pytest.mark.parametrize(
    "changes",
    slow_after(
        2,
        [
            {"feed": {"cache": "none", "shuffle_buffer": 12}},
            {"optimizer": {"name": "adagrad"}, "engine": {"precision": "bf16"}},
            {"optimizer": {"name": "sgd", "beta1": 0.0}},
            {"optimizer": {"name": "adam", "schedule": "linear"}, "engine": {"precision": "fp16"}},
        ],
    ),
    ids=["streamed", "adagrad bf16", "sgd", "adam fp16"],
)
def test_every_feed_and_optimiser_is_taken_up_to_the_bit(changes, data, tmp_path):
    whole = start(config_of(data, tmp_path / "whole", **changes))
    run = config_of(data, tmp_path / "run", **changes)
    start(run, stop_at=7)
    resumed = go_on(run)
    assert outcome(resumed) == outcome(whole)
    for name in ("optimizer.json", "state.json"):
        paths = [r.checkpoints / "last" / "state" / name for r in (resumed, whole)]
        one, other = (json.loads(path.read_text()) for path in paths)
        assert one == other


def test_reports_count_an_epoch_once(data, undisturbed, tmp_path):
    run = config_of(data, tmp_path / "run", checkpoints={"steps": None})
    before_stop = start(run, stop_at=7)
    # As if it had been killed between the epoch's line in the log and its checkpoint.
    again = before_stop.events("epoch")[-1] | {"epoch": 2, "loss": 99.0, "is_best": True}
    before_stop.append(**{k: v for k, v in again.items() if k != "time"})
    before_stop.append("end", reason="interrupted", best_epoch=1, seconds=1.0)
    go_on(run, stop_at=9)
    half = runs.read(run.out)
    assert half.end == {}, "it went on after that end"
    assert [e.number for e in half.epochs] == [1, 2]
    resumed = runs.read(go_on(run).path)
    whole = runs.read(undisturbed.path)
    assert [(e.number, e.loss, e.is_best) for e in resumed.epochs] == [
        (e.number, e.loss, e.is_best) for e in whole.epochs
    ]
    assert resumed.best_epoch == whole.best_epoch
    assert sum(note.startswith("resumed") for note in resumed.notes) == 2
    assert len(resumed.environment["resumed"]) == 2


# ---------------------------------------------------------------------------- killed


@pytest.mark.slow
def test_a_killed_process_is_resumed_to_the_same_bits(shards, tmp_path, itrec):
    def arguments(out):
        return [
            "train", "--local", "--config", DEBUG_RECIPE, "--shards", shards, "--out", out,
            "--training.epochs", 3, "--model.dropout", 0.2, "--checkpoints.steps", 5,
        ]  # fmt: skip

    assert itrec(*arguments(tmp_path / "whole"))[0] == 0
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "itrec_dist", *map(str, arguments(out))],
        cwd=Path(__file__).parents[3], stdout=subprocess.DEVNULL,
    )  # fmt: skip
    last = RunDirectory(out).checkpoints / "last" / checkpoint_format.RECORD_FILE
    deadline = time.monotonic() + 120
    while not last.is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not RunDirectory(out).is_complete
    code, _, err = itrec(*arguments(out), "--resume")
    assert (code, err) == (0, "")
    assert outcome(RunDirectory(out)) == outcome(RunDirectory(tmp_path / "whole"))
    assert sorted(p.name for p in RunDirectory(out).checkpoints.iterdir()) == ["best", "last"]


# ---------------------------------------------------------------------------- two workers


# Adam turns the rounding of a gradient that should be 0 into a step: two and one may then differ.
STILL = {"model": {"dropout": 0.0}, "optimizer": {"name": "sgd"}}


def work(context, data, out):
    """What each of the two processes does."""
    start(config_of(data, out / "whole"), context)
    start(config_of(data, out / "stopped"), context, stop_at=7)
    go_on(config_of(data, out / "stopped"), context)
    start(config_of(data, out / "two, then one", **STILL), context, stop_at=7)
    go_on(config_of(data, out / "one, then two", **STILL), context)


@pytest.fixture(scope="module")
def two_workers(data, pair, tmp_path_factory):
    """Runs of two workers: whole, stopped and resumed, stopped, and one that one worker began."""
    out = tmp_path_factory.mktemp("two")
    start(config_of(data, out / "one, then two", **STILL), stop_at=7)
    pair.run(work, data, out)
    return out


def same_within_tolerance(one, other):
    files = [run.checkpoints / "last" / "model.safetensors" for run in (one, other)]
    weights, others = (safetensors.torch.load_file(file) for file in files)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], atol=2e-4, rtol=1e-3)
    found = [
        {e["epoch"]: (e["loss"], e["validation"]["loss"]) for e in run.events("epoch")}
        for run in (one, other)
    ]
    assert found[0].keys() == found[1].keys()
    for epoch, pair in found[0].items():
        assert pair == pytest.approx(found[1][epoch], rel=1e-4)


@pytest.mark.slow
def test_two_workers_with_dropout_go_on_as_if_nothing_had_been(two_workers):
    whole, resumed = (RunDirectory(two_workers / name) for name in ("whole", "stopped"))
    same_within_tolerance(resumed, whole)
    assert losses(resumed) == pytest.approx(losses(whole), rel=1e-5)
    state = whole.checkpoints / "last" / "state"
    of_workers = safetensors.torch.load_file(state / "workers.safetensors")
    assert not torch.equal(*of_workers["random/cpu"])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["two, then one", "one, then two"])
def test_a_run_goes_on_with_another_number_of_workers(way, data, two_workers, tmp_path):
    whole = start(config_of(data, tmp_path / "whole", **STILL))
    run = config_of(data, two_workers / way, **STILL)
    resumed = go_on(run) if way == "two, then one" else RunDirectory(run.out)
    same_within_tolerance(resumed, whole)
    (note,) = [e for e in resumed.events("note") if e["message"].startswith("resumed")]
    told = "1 worker in place of 2" if way == "two, then one" else "2 workers in place of 1"
    assert note["message"] == f"resumed within epoch 2, after step 6; {told}"
    described = json.loads((resumed.checkpoints / "last" / "state" / "state.json").read_text())
    assert described["made"]["engine"] == ("single" if way == "two, then one" else "ddp")
