"""Training in the processes that torchrun starts: two of them act as one command."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from torch.distributed import TCPStore

from itrec_dist.distributed import torchrun
from itrec_dist.errors import ConfigError
from itrec_dist.runs.directory import RunDirectory
from tests.fixtures import DEBUG_RECIPE, ROOT
from tests.stopped_runs import outcome

EPOCHS = 30  # of the longer run: some seconds, in which it can be disturbed


def command(*options, script=("-m", "itrec_dist", "train")):
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    return [*start, *options, *script]


def start(shards, out, *more, options=(), script=("-m", "itrec_dist", "train")):
    """Start torchrun with its `options`, and two workers if they do not say otherwise."""
    given = ["--config", DEBUG_RECIPE, "--shards", shards, "--out", out, *more]
    return subprocess.Popen(
        [*command(*options, script=script), *map(str, given)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def told(err):
    """The lines of the command itself, among those of torchrun and torch."""
    return [line for line in err.splitlines() if line.startswith("itrec: ")]


def exit_codes(err):
    """Those of the workers, from the summary of torchrun, which itself always ends with 1."""
    return [int(code) for code in re.findall(r"^  exitcode  : (-?\d+)", err, re.MULTILINE)]


def all_ended_with_2(err):
    """Whether the workers did, but for one that a quick torchrun ended before it had heard."""
    codes = exit_codes(err)
    return len(codes) == 2 and 2 in codes and {2, -signal.SIGTERM} >= set(codes)


def losses(out):
    """The loss of each epoch, the last time it was trained."""
    found = {e["epoch"]: e["loss"] for e in RunDirectory(out).events("epoch")}
    return [found[epoch] for epoch in sorted(found)]


def wait_for_epochs(process, out, count):
    run = RunDirectory(out)
    deadline = time.monotonic() + 120
    while len(run.events("epoch")) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"not {count} epochs in two minutes"
        time.sleep(0.05)


def workers(process):
    return sorted(psutil.Process(process.pid).children(), key=lambda child: child.pid)


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory, itrec):
    """The longer run, in one process and without an interruption."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    given = ("--config", DEBUG_RECIPE, "--shards", shards, "--out", out)
    code, _, err = itrec("train", "--local", *given, "--training.epochs", EPOCHS)
    assert code == 0, err
    return out


@pytest.mark.slow
def test_two_processes_train_and_judge_as_one_does(trained, shards, tmp_path):
    out = tmp_path / "run"
    process = start(shards, out, "--training.epochs", 4, script=["jobs/train.py"])
    shown, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    lines = shown.splitlines()
    assert "2 workers" in lines[0]
    assert [line[:9] for line in lines[1:5]] == [f"epoch   {i}" for i in (1, 2, 3, 4)]
    assert lines[5].startswith("finished")
    assert lines[-1] == f"run: {out}"
    assert sum("test: " in line for line in lines) == 1, "one process prints the figures"
    assert losses(out) == pytest.approx(losses(trained), rel=1e-5)
    assert {p.name for p in out.iterdir()} == {p.name for p in trained.iterdir()}
    mine, other = (json.loads((run / "evaluation.json").read_text()) for run in (out, trained))
    assert mine["epoch"] == other["epoch"]
    for split, judged in other["splits"].items():
        assert mine["splits"][split]["num_windows"] == judged["num_windows"]
        assert mine["splits"][split]["loss"] == pytest.approx(judged["loss"], rel=1e-5)


@pytest.mark.slow
def test_a_mistake_that_worker_0_meets_is_reported_once_and_both_end_with_2(shards, tmp_path):
    """Two processes with the store and the environment that torchrun gives them."""
    given = ["--config", DEBUG_RECIPE, "--shards", shards, "--out", tmp_path / "run"]
    program = [sys.executable, "-m", "itrec_dist", "train", *map(str, given)]
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": "2",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    both = [
        subprocess.Popen(
            [*program, "--training.batch_size", "33"], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, **place, "RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip
    ended = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [2, 2], ended
    assert [shown for shown, _ in ended] == ["", ""]
    (line,) = told("".join(err for _, err in ended))
    assert line.startswith("itrec: error: ")
    assert "shared equally by 2 workers" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--loss", "hinge"], "there is no loss.kind 'hinge'"),
        (["--training.batch_size", 33], "shared equally by 2 workers"),
        (["--address", "auto"], "torchrun has started the workers"),
    ],
    ids=["every worker meets it", "worker 0 meets it", "two ways at once"],
)
def test_a_mistake_is_reported_once_and_every_worker_ends_with_2(given, sentence, shards, tmp_path):
    process = start(shards, tmp_path / "run", *given)
    shown, err = process.communicate(timeout=120)
    (line,) = told(err)
    assert line.startswith("itrec: error: ")
    assert sentence in line
    assert shown == ""
    assert all_ended_with_2(err)
    assert "commands/train.py" not in err, "a traceback"
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_mistake_that_one_worker_meets_in_mid_run_ends_all(shards, tmp_path):
    """A file of the right size whose content is damaged: only who is dealt it can tell."""
    broken = tmp_path / "broken"
    shutil.copytree(shards, broken)
    part = broken / "train" / "part-00002.parquet"
    part.write_bytes(b"\0" * part.stat().st_size)
    process = start(broken, tmp_path / "run", "--feed.cache", "none", "--training.epochs", 50)
    _, err = process.communicate(timeout=120)
    (line,) = told(err)
    assert str(part) in line
    assert all_ended_with_2(err)
    assert "training/loop.py" not in err, "a traceback"


@pytest.mark.slow
def test_verbs_that_cannot_share_their_work_are_refused(trained):
    script = ["-m", "itrec_dist", "evaluate", str(trained)]
    done = subprocess.run(
        command(script=script), capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )
    (line,) = told(done.stderr)
    assert "`itrec evaluate` 2 times" in line
    assert all_ended_with_2(done.stderr)


@pytest.mark.slow
def test_a_restart_leaves_alone_what_it_did_not_begin(trained, shards, tmp_path):
    """A taken place is refused at the second attempt too: it is not a run of the first one."""
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    (out / "evaluation.json").unlink()
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    _, err = start(shards, out, options=["--max-restarts=1"]).communicate(timeout=120)
    assert len(told(err)) == 2  # once in each attempt
    assert all("already exists" in line for line in told(err))
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_a_killed_worker_costs_what_came_after_the_last_checkpoint(undisturbed, shards, tmp_path):
    out = tmp_path / "run"
    process = start(
        shards, out, "--training.epochs", EPOCHS, "--overwrite", options=["--max-restarts=1"]
    )
    wait_for_epochs(process, out, 3)
    workers(process)[1].kill()
    shown, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (line,) = told(err)  # on a busy machine torchrun ends the other one before it can tell
    assert "a worker was lost" in line or line == "itrec: interrupted"
    assert "resumed " in shown
    assert shown.count(f"run: {out}") == 1
    run = RunDirectory(out)
    assert len(run.events("start")) == 2
    assert run.events()[-1]["reason"] == "finished"
    assert losses(out) == pytest.approx(losses(undisturbed), rel=1e-4)
    assert len(run.events("epoch")) <= EPOCHS + 1
    assert run.is_complete


@pytest.mark.slow
def test_two_torchruns_as_on_two_machines_go_on_after_a_killed_worker(
    undisturbed, shards, tmp_path
):
    """Each counts its own failures, so that they do not agree on the number of the attempt."""
    out = tmp_path / "run"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meeting = ["--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    options = ["--max-restarts=2", *meeting, "--rdzv-id=one", "--nproc-per-node=1"]
    both = [start(shards, out, "--training.epochs", EPOCHS, options=options) for _ in range(2)]
    wait_for_epochs(both[0], out, 3)
    workers(both[1])[0].kill()
    ended = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert len(RunDirectory(out).events("start")) == 2
    assert losses(out) == pytest.approx(losses(undisturbed), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_all_in_order_and_the_run_can_go_on(
    number, undisturbed, shards, tmp_path, itrec
):
    out = tmp_path / "run"
    process = start(shards, out, "--training.epochs", EPOCHS)
    wait_for_epochs(process, out, 3)
    children = workers(process)
    assert len(children) == 2
    process.send_signal(number)
    shown, err = process.communicate(timeout=120)
    assert told(err) == ["itrec: interrupted"]
    assert "commands/train.py" not in err, "a traceback"
    assert not any(child.is_running() for child in children)
    assert shown.splitlines()[-1].startswith("interrupted")
    run = RunDirectory(out)
    end = run.events()[-1]
    assert (end["event"], end["reason"]) == ("end", "interrupted")
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["best", "last"]
    resumed = ("--config", out / "config.yaml", "--resume")
    if number == signal.SIGTERM:
        code, _, err = itrec("train", "--local", *resumed)
    else:
        process = start(shards, out, *resumed)
        _, err = process.communicate(timeout=120)
        code = process.returncode
    assert code == 0, err
    assert losses(out) == pytest.approx(losses(undisturbed), rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system must say when a parent has died")
def test_workers_do_not_outlive_a_torchrun_that_was_killed(shards, tmp_path):
    out = tmp_path / "run"
    process = start(shards, out, "--training.epochs", 100_000)
    wait_for_epochs(process, out, 2)
    children = workers(process)
    process.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    process.communicate(timeout=60)
    assert alive == []
    assert RunDirectory(out).events()[-1]["reason"] == "interrupted"


# What the environment says


@pytest.fixture
def launched(monkeypatch):
    """The variables of torchrun, set for worker 1 of 2 on the first of two machines."""
    for name, value in {
        "RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_place_is_read_from_the_environment(launched):
    assert torchrun.rank_of_process() == torchrun.Rank(1, 4, 1, 2)
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        launched.delenv(name)
    assert torchrun.rank_of_process() == torchrun.Rank(1, 4, 1, 4)
    launched.delenv("MASTER_PORT")
    assert torchrun.rank_of_process() is None


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [("RANK", "4", "RANK=4 of WORLD_SIZE=4"), ("WORLD_SIZE", "two", "WORLD_SIZE=two must be")],
)
def test_an_impossible_place_is_refused(name, value, sentence, launched):
    launched.setenv(name, value)
    with pytest.raises(ConfigError, match=sentence):
        torchrun.rank_of_process()


def test_a_verb_that_cannot_share_its_work_is_refused_before_it_is_read(monkeypatch, itrec):
    at = torchrun.Rank(1, 2, 1, 2)
    monkeypatch.setattr(torchrun, "_peers", SimpleNamespace(at=at))
    code, _, err = itrec("evaluate", "no such run")
    assert code == 2
    assert "`itrec evaluate` 2 times" in err
    assert err.count("\n") == 1


def test_a_store_that_does_not_answer_is_one_sentence(launched, itrec, monkeypatch):
    monkeypatch.setattr(torchrun, "_STORE_SECONDS", 1.0)
    monkeypatch.setattr(torchrun, "_end_with_parent", lambda: None)
    code, _, err = itrec("--version")
    assert code == 2
    assert err.startswith("itrec: error: the workers' store at 127.0.0.1:1 ")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_killed_run_of_sharded_items_is_resumed_to_the_same_end(history_shards, tmp_path):
    def start_sharded(out, *more):
        given = [
            "--shards", history_shards, "--out", out, "--model.kind", "sasrec",
            "--model.width", 16, "--model.num_layers", 1, "--loss.kind", "sampled_softmax",
            "--engine.item_table", "sharded", "--engine.precision", "fp32",
            "--training.epochs", 4, "--training.batch_size", 16, "--checkpoints.steps", 3,
            "--training.log_seconds", 0, "--cluster.use_gpu", "false", *more,
        ]  # fmt: skip
        return subprocess.Popen(
            [*command(), *map(str, given)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    process = start_sharded(tmp_path / "whole")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    killed = start_sharded(tmp_path / "killed")
    wait_for_epochs(killed, tmp_path / "killed", 1)
    for one in (psutil.Process(killed.pid), *workers(killed)):
        one.kill()
    killed.communicate(timeout=60)
    resumed = start_sharded(tmp_path / "killed", "--resume")
    _, err = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, err
    whole, again = (RunDirectory(tmp_path / name) for name in ("whole", "killed"))
    assert len(list((again.checkpoints / "last").rglob("items-*"))) == 4
    assert outcome(again) == outcome(whole)
