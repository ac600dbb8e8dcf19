"""Runs that lose workers, nodes or their driver: they continue, say so, and leave no litter."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import safetensors.torch
import torch

from itrec_dist import config
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.sweeps.directory import SweepDirectory
from itrec_dist.training.config import RunConfig
from tests.clusters import NodesOnThisMachine, is_training
from tests.fixtures import DEBUG_RECIPE, ROOT, train_on_two
from tests.stopped_runs import go_on, losses, start
from tests.swept import outcomes, run_here, sweep_of

pytestmark = pytest.mark.ray
INTERVAL = 20  # updates between two checkpoints
EPOCHS = 6
SETTINGS = {
    "training.epochs": EPOCHS,
    "training.log_seconds": 0,
    "checkpoints.steps": INTERVAL,
    # Adam turns the rounding of a gradient that should be 0 into a step: two and one then differ.
    "optimizer.name": "sgd",
}
THREE = {"evaluation.batch_size": 129}  # what three workers can share
PROGRAM = (  # a suite in the background of a shell hands its children an ignored SIGINT
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from itrec_dist.cli.app import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture(scope="module")
def two_nodes():
    with NodesOnThisMachine() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory):
    """What every disturbed run has to end as: the same run in one process, never stopped."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    values = [f"{name}={value}" for name, value in SETTINGS.items()]
    return start(config.load(RunConfig, DEBUG_RECIPE, [f"shards={shards}", f"out={out}", *values]))


class Driver:
    """`itrec train` in a process of its own."""

    def __init__(self, shards, out, environment, flags=(), **settings):
        self.run = RunDirectory(out)
        given = SETTINGS | settings
        options = [str(part) for name, value in given.items() for part in (f"--{name}", value)]
        arguments = ["--config", DEBUG_RECIPE, "--shards", shards, "--out", out]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "train", *map(str, arguments), *options, *flags],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        )  # fmt: skip

    def wait_for(self, reached, seconds=240):
        """Wait until the log says so."""
        deadline = time.monotonic() + seconds
        while not reached():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, self.run.events()[-3:]
            time.sleep(0.05)

    def wait_for_step(self, step):
        self.wait_for(lambda: any(e["step"] >= step for e in self.run.events("progress")))

    def end(self, seconds=300):
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err


@pytest.fixture
def train_on(two_nodes, shards, tmp_path):
    """Starts a run on the two nodes, a worker on each; whatever it is, it is ended afterwards."""
    started = []

    def begin(*, resume=False, **settings):
        defaults = {"cluster.num_workers": 2, "cluster.cpus_per_worker": 2}
        options = {"address": two_nodes.address, **defaults, **settings}
        flags = ["--resume"] if resume else []
        driver = Driver(shards, tmp_path / "run", two_nodes.environment, flags, **options)
        started.append(driver)
        return driver

    yield begin
    for driver in started:
        if driver.process.poll() is None:
            driver.process.kill()
            driver.process.communicate()
    two_nodes.wait_until_idle()


def trained_again(run):
    """Steps that were trained more than once: how often each was written down, but for once."""
    steps = [event["step"] for event in run.events("progress")]
    return len(steps) - len(set(steps))


def same_as(undisturbed, run):
    assert run.is_complete
    assert losses(run) == pytest.approx(losses(undisturbed), rel=1e-4)
    files = [r.checkpoints / "last" / "model.safetensors" for r in (run, undisturbed)]
    weights, expected = (safetensors.torch.load_file(file) for file in files)
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, expected[name], atol=2e-4, rtol=1e-3, msg=name)


def check_restart(run, cause, workers):
    """The one line that tells of the only restart; returns how long it took."""
    (event,) = run.events("restart")
    pattern = (
        rf"{cause}: continuing from (?:the end of )?epoch \d+, step (\d+) with {workers} workers?"
        r"(?:, (\d+) steps? (?:is|are) trained again)?"
    )
    told = re.fullmatch(pattern, event["message"])
    assert told, event["message"]
    assert int(told[1]) == event["step"]
    assert event["step"] % INTERVAL == 0 or event["message"].find("the end of") > 0
    assert trained_again(run) == int(told[2] or 0) == event["again"] <= INTERVAL
    times = [e["time"] for e in run.events("progress") if e["time"] > event["time"]]
    return times[0] - event["noticed"]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_worker_that_is_killed(shards, undisturbed, tmp_path):
    """On the Ray of this process, so that a command in it is the driver."""
    run, is_over = RunDirectory(tmp_path / "run"), threading.Event()

    def kill():
        while not any(e["step"] >= 3 * INTERVAL + 5 for e in run.events("progress")):
            assert not is_over.wait(0.05), "it ended too soon"
        children = psutil.Process().children(recursive=True)
        victims = [p for p in children if "RayTrainWorker" in " ".join(p.cmdline())]
        assert len(victims) == 2
        victims[1].kill()
        return time.time()

    settings = [part for name, value in SETTINGS.items() for part in (f"--{name}", value)]
    with ThreadPoolExecutor(1) as other:
        killing = other.submit(kill)
        try:
            code, out, err = train_on_two(shards, run.path, *settings)
        finally:
            is_over.set()
    killed = killing.result()
    assert (code, err) == (0, "")
    seconds = check_restart(run, r"worker [01] was lost \(its process was killed\)", 2)
    (event,) = run.events("restart")
    assert killed <= event["noticed"] < killed + 10
    assert 0 < seconds < 120
    assert event["message"] in out.splitlines()
    same_as(undisturbed, run)
    judged = [json.loads(r.evaluation.read_text())["splits"] for r in (run, undisturbed)]
    for split in ("validation", "test"):
        two, one = (splits[split] for splits in judged)
        assert two["num_windows"] == one["num_windows"] > 0
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_driver_that_gets_a_signal_to_end(number, exit_code, shards, tmp_path, undisturbed):
    """With a cluster of its own: all of its processes end with it, and the run can go on."""
    environment = {**os.environ, "RAY_TMPDIR": f"/tmp/itrec-own-{os.getpid()}"}
    environment.pop("RAY_ADDRESS", None)
    Path(environment["RAY_TMPDIR"]).mkdir()
    driver = Driver(shards, tmp_path / "run", environment, **{"cluster.num_workers": 2})
    try:
        driver.wait_for_step(INTERVAL + 5)
        began = psutil.Process(driver.process.pid).children(recursive=True)
        assert sum(is_training(p) for p in began) == 3, "two workers and their controller"
        driver.process.send_signal(number)
        code, _, err = driver.end(60)
        assert (code, err) == (exit_code, "itrec: interrupted\n")
        _, left = psutil.wait_procs(began, timeout=10)
        assert not left, [p.cmdline() for p in left]
    finally:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("RAY_TMPDIR") == environment["RAY_TMPDIR"]:
                    process.kill()
        shutil.rmtree(environment["RAY_TMPDIR"], ignore_errors=True)
    last = driver.run.events()[-1]
    assert (last["event"], last["reason"]) == ("end", "interrupted")
    assert not (driver.run.path / "ray").exists()
    record = checkpoint_format.read_record(driver.run.checkpoints / "last")
    assert record.step >= INTERVAL
    # One process takes up what two workers were interrupted in.
    options = [f"shards={shards}", f"out={driver.run.path}"]
    options += [f"{name}={value}" for name, value in SETTINGS.items()]
    resumed = go_on(config.load(RunConfig, DEBUG_RECIPE, options))
    assert trained_again(resumed) <= INTERVAL
    same_as(undisturbed, resumed)


@pytest.mark.slow
def test_ctrl_c_ends_the_run_in_order(train_on):
    driver = train_on(**{"training.epochs": 100_000})
    driver.wait_for(lambda: len(driver.run.events("epoch")) >= 2)
    driver.process.send_signal(signal.SIGINT)
    code, _, err = driver.end(120)
    assert (code, err) == (130, "itrec: interrupted\n")
    end = driver.run.events()[-1]
    assert (end["event"], end["reason"]) == ("end", "interrupted")
    # Ray ends the worker at any point, also between a checkpoint and its line in the log.
    best = checkpoint_format.read_record(driver.run.checkpoints / "best")
    assert 1 <= end["best_epoch"] <= best.epoch
    assert not (driver.run.path / "ray").exists()


def ended(out):
    """The numbers of the trials that have ended, once for each time."""
    log = out / "log.jsonl"
    lines = log.read_text().splitlines() if log.is_file() else []
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return [e["trial"] for e in events if e["event"] == "ended"]


@pytest.mark.slow
def test_a_sweep_whose_driver_is_killed_ends_as_an_undisturbed_one(two_nodes, shards, tmp_path):
    size = {"trials": 6, "resources": {"concurrent": 2}}
    sweep = sweep_of(shards, tmp_path / "sweep", **size)
    undisturbed, _ = run_here(sweep_of(shards, tmp_path / "whole", **size))
    command = [sys.executable, "-m", "itrec_dist", "sweep", "--config", tmp_path / "sweep.yaml"]
    command = [*map(str, command), "--address", two_nodes.address]
    process = {"cwd": ROOT, "env": two_nodes.environment}
    driver = subprocess.Popen(command, **process)
    until = time.monotonic() + 240
    while len(ended(sweep.out)) < 2 and time.monotonic() < until and driver.poll() is None:
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    before = ended(sweep.out)
    assert 2 <= len(before) < 6
    done = subprocess.run(
        [*command, "--resume"], capture_output=True, text=True, check=False, timeout=400, **process
    )
    assert done.returncode == 0, done.stderr
    assert f"; {len(before)} trials are done" in done.stdout
    directory = SweepDirectory(sweep.out)
    assert outcomes(directory) == outcomes(undisturbed)
    assert sorted(ended(sweep.out)) == list(range(6))
    assert not (sweep.out / ".tune").exists()
    for name in ("report.html", "results.md", "results.csv"):
        assert (sweep.out / name).is_file()
    for trial in directory.trials():
        pairs = zip(directory.finals(trial.number), undisturbed.finals(trial.number), strict=True)
        for mine, theirs in pairs:
            assert mine.read_json(mine.evaluation) == theirs.read_json(theirs.evaluation)


LOST = r"worker [01] was lost \(its (?:node was lost|process was killed)\)"


@pytest.mark.slow
def test_a_node_that_is_lost_leaves_one_worker(two_nodes, train_on, undisturbed):
    driver = train_on(**{"cluster.min_workers": 1})
    driver.wait_for_step(2 * INTERVAL + 5)
    assert driver.run.events("start")[0]["workers"] == 2
    two_nodes.remove_node()
    try:
        code, _, err = driver.end()
    finally:
        two_nodes.add_node()
    assert (code, err) == (0, "")
    check_restart(driver.run, LOST, 1)
    same_as(undisturbed, driver.run)


@pytest.mark.slow
def test_a_node_that_is_replaced(two_nodes, train_on, undisturbed):
    """Two workers are asked for and no fewer, so the run waits for the other node."""
    driver = train_on()
    driver.wait_for_step(2 * INTERVAL + 5)
    two_nodes.remove_node()
    time.sleep(5)
    two_nodes.add_node()
    code, _, err = driver.end()
    assert (code, err) == (0, "")
    check_restart(driver.run, LOST, 2)
    same_as(undisturbed, driver.run)


@pytest.mark.slow
def test_a_node_that_joins_takes_a_worker(two_nodes, train_on):
    """Ray Train looks for more room once a minute; the run goes on with all that there is."""
    two_nodes.remove_node()
    try:
        driver = train_on(**{"cluster.min_workers": 1, "training.epochs": 100_000})
        driver.wait_for_step(INTERVAL + 5)
        assert [e["workers"] for e in driver.run.events("start")] == [1]
    finally:
        two_nodes.add_node()
    driver.wait_for(lambda: driver.run.events("restart"))
    (event,) = driver.run.events("restart")
    told = "the cluster has room for another number of workers: continuing from "
    assert event["message"].startswith(told)
    assert "with 2 workers" in event["message"]
    assert event["workers"] == 2
    assert event["noticed"] is None, "nothing was lost"
    driver.wait_for_step(event["step"] + 2 * INTERVAL)
    driver.process.send_signal(signal.SIGTERM)
    code, out, err = driver.end()
    assert (code, err) == (143, "itrec: interrupted\n")
    assert event["message"] in out.splitlines()
    assert trained_again(driver.run) == event["again"] <= INTERVAL


@pytest.mark.slow
def test_restarts_that_are_used_up(two_nodes, train_on):
    driver = train_on(**{"cluster.max_failures": 0})
    driver.wait_for_step(INTERVAL + 5)
    two_nodes.workers_of_training()[0].kill()
    code, _, err = driver.end()
    assert code == 1
    told = r"itrec: error: worker [01] was lost \(its process was killed\): "
    told += r"--resume continues from checkpoints/last, step \d+\n"
    assert re.fullmatch(told, err), err


@pytest.mark.slow
def test_a_node_that_does_not_come_back(two_nodes, train_on):
    driver = train_on(**{"cluster.wait_seconds": 20})
    driver.wait_for_step(INTERVAL + 5)
    two_nodes.remove_node()
    try:
        code, out, err = driver.end()
    finally:
        two_nodes.add_node()
    assert code == 2
    assert "the cluster had no room for the workers" in err
    assert err.count("\n") == 1
    assert "waiting for room for the workers" in out


@pytest.mark.slow
def test_nodes_that_come_late(two_nodes, train_on):
    driver = train_on(**{"cluster.num_workers": 3, "training.batch_size": 33, **THREE})
    time.sleep(20)
    assert driver.process.poll() is None
    assert not driver.run.path.exists(), "nothing is written before there is room"
    two_nodes.add_node()
    try:
        driver.wait_for_step(1)
        driver.process.send_signal(signal.SIGTERM)
        code, out, err = driver.end()
    finally:
        two_nodes.remove_node()
    assert (code, err) == (143, "itrec: interrupted\n")
    assert out.splitlines()[0].endswith("the cluster has 6: waiting up to 600 s")


@pytest.mark.slow
def test_a_driver_that_is_killed(two_nodes, train_on, undisturbed):
    """Nobody is left to end anything: the workers go with it, and the run can be resumed."""
    driver = train_on()
    driver.wait_for_step(INTERVAL + 5)
    driver.process.kill()
    driver.end()
    two_nodes.wait_until_idle()
    code, _, err = train_on(resume=True).end()
    assert (code, err) == (0, "")
    assert trained_again(driver.run) <= INTERVAL
    same_as(undisturbed, driver.run)
