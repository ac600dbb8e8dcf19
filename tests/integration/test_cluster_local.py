"""`cluster/local.sh` for real: jobs on two Ray nodes that succeed, fail and are stopped."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.directory import RunDirectory
from tests.fixtures import DEBUG_RECIPE, ROOT

pytestmark = pytest.mark.ray

SCRIPT = ROOT / "cluster" / "local.sh"
RAY = Path(sys.executable).parent / "ray"
RECIPE = DEBUG_RECIPE.relative_to(ROOT)
SECRET = "not-for-any-file-7c1f"


def call(*command, **options):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )


def processes(*words) -> list[str]:
    """Those whose command line has all the words."""
    shown = call("ps", "-e", "-ww", "-o", "pid=,args=").stdout
    return [line for line in shown.splitlines() if all(str(word) in line for word in words)]


@pytest.fixture(scope="module")
def cluster():
    """Two nodes: their folder, and the environment that `start` says to source."""
    folder = Path(f"/tmp/itrec-test-{os.getpid()}")
    dropped = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_TMPDIR")
    environment = {k: v for k, v in os.environ.items() if k not in dropped} | {
        "ITREC_CLUSTER_DIR": str(folder), "PYTHON": sys.executable, "AWS_SECRET_ACCESS_KEY": SECRET,
    }  # fmt: skip
    started = call(SCRIPT, "start", 2, env=environment, timeout=240)
    assert started.returncode == 0, started.stderr
    assert "job submit --working-dir ." in started.stdout
    exports = (folder / "env").read_text(encoding="utf-8").replace("export ", "").splitlines()
    environment |= dict(line.split("=", 1) for line in exports)
    try:
        yield folder, environment
        assert processes(folder)
    finally:
        stopped = call(SCRIPT, "stop", env=environment, timeout=120)
    assert stopped.returncode == 0, stopped.stderr
    assert processes(folder) == []
    assert not folder.exists()


def submit(environment, *arguments, options=()):
    job = ("python", "jobs/train.py", "--address", "auto", *arguments)
    command = (RAY, "job", "submit", "--working-dir", ".", *options, "--", *job)
    return call(*command, cwd=ROOT, env=environment, timeout=400)


def status(environment, job):
    shown = call(RAY, "job", "status", job, env=environment, timeout=60)
    return shown.stdout + shown.stderr


@pytest.mark.slow
def test_a_job_trains_on_two_nodes_and_writes_no_secret_down(cluster, shards, tmp_path):
    folder, environment = cluster
    assert (folder / "token").stat().st_mode & 0o077 == 0
    out = tmp_path / "run"
    done = submit(
        environment, "--config", RECIPE, "--shards", shards, "--out", out,
        "--cluster.num_workers", 2, options=["--submission-id", "trains"],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"run: {out}" in done.stdout
    assert "'trains' succeeded" in status(environment, "trains")
    run = RunDirectory(out)
    assert run.is_complete
    assert run.events("start")[0]["workers"] == 2
    assert run.events("end")[0]["reason"] == "finished"
    token = (folder / "token").read_text(encoding="utf-8")
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert SECRET.encode() not in content, path
            assert token.encode() not in content, path


@pytest.mark.slow
def test_a_mistake_fails_the_job_with_its_sentence_and_code(cluster, shards):
    """A relative place is one: in the copy of the checkout that Ray makes, the run would be lost"""
    _, environment = cluster
    refused = submit(
        environment, "--config", RECIPE, "--shards", shards, "--out", "runs/lost",
        options=["--submission-id", "fails"],
    )  # fmt: skip
    assert refused.returncode != 0
    (told,) = {line for line in refused.stdout.splitlines() if line.startswith("itrec: error: ")}
    assert "--out runs/lost lies in the copy of the checkout" in told
    assert "Traceback" not in refused.stdout
    assert "failed with exit code 2" in status(environment, "fails")


@pytest.mark.slow
def test_a_job_that_is_stopped_ends_in_order(cluster, shards, tmp_path):
    _, environment = cluster
    out = tmp_path / "run"
    begun = submit(
        environment, "--config", RECIPE, "--shards", shards, "--out", out,
        "--cluster.num_workers", 2, "--training.epochs", 100_000,
        options=["--submission-id", "stopped", "--no-wait"],
    )  # fmt: skip
    assert begun.returncode == 0, begun.stderr
    run = RunDirectory(out)
    deadline = time.monotonic() + 240
    while len(run.events("epoch")) < 2:
        assert "failed" not in status(environment, "stopped")
        assert time.monotonic() < deadline, "no epoch in four minutes"
    ended = call(RAY, "job", "stop", "stopped", env=environment, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "was stopped" in status(environment, "stopped")
    logs = call(RAY, "job", "logs", "stopped", env=environment, timeout=60).stdout
    assert logs.rstrip().endswith("itrec: interrupted")
    deadline = time.monotonic() + 30
    while left := processes("RayTrainWorker") + processes(out):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    end = json.loads(run.log.read_text(encoding="utf-8").splitlines()[-1])
    assert (end["event"], end["reason"]) == ("end", "interrupted")
    kept = checkpoint_format.read_record(run.checkpoints / "last")
    assert kept.epoch >= 1
    assert not run.is_complete


@pytest.mark.slow
def test_a_cluster_is_started_once_and_open_to_its_owner_only(cluster):
    _, environment = cluster
    again = call(SCRIPT, "start", env=environment)
    assert again.returncode == 2
    assert "there already" in again.stderr
    stranger = {**environment, "RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_TOKEN": "f" * 64}
    assert submit(stranger, "--help").returncode != 0
