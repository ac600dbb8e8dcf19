"""`cluster/local.sh` for real: two Ray nodes, a job that succeeds, one that fails, nothing left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from itrec_dist.run_directory import RunDirectory
from tests.conftest import DEBUG_RECIPE, ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SCRIPT = ROOT / "cluster" / "local.sh"
RAY = Path(sys.executable).parent / "ray"


def call(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def processes_of(folder: Path) -> list[str]:
    shown = call("ps", "-e", "-ww", "-o", "pid=,args=").stdout
    return [line for line in shown.splitlines() if str(folder) in line]


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes, and the environment that `start` says to source."""
    folder = Path(f"/tmp/itrec-test-{os.getpid()}")
    monkeypatch.setenv("ITREC_CLUSTER_DIR", str(folder))
    monkeypatch.setenv("PYTHON", sys.executable)
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    started = call(SCRIPT, "start", "2", timeout=240)
    assert started.returncode == 0, started.stderr
    assert "job submit --working-dir ." in started.stdout
    exports = (folder / "env").read_text(encoding="utf-8").replace("export ", "").splitlines()
    yield folder, {**os.environ, **dict(line.split("=", 1) for line in exports)}
    if folder.exists():
        subprocess.run([SCRIPT, "stop"], timeout=120, check=True)


def submit(environment, *arguments):
    command = [RAY, "job", "submit", "--working-dir", ".", "--", "python", "jobs/train.py"]
    command += ["--address", "auto", *map(str, arguments)]
    return call(*command, cwd=ROOT, env=environment, timeout=400)


def test_jobs_on_two_nodes_and_nothing_left_after_stop(cluster, shards, tmp_path):
    folder, environment = cluster
    assert (folder / "token").stat().st_mode & 0o077 == 0
    again = call(SCRIPT, "start")
    assert again.returncode == 2
    assert "there already" in again.stderr

    settings = ["--config", DEBUG_RECIPE.relative_to(ROOT), "--shards", shards]
    settings += ["--out", tmp_path / "run"]
    trained = submit(environment, *settings, "--cluster.num_workers", 2)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert f"run: {tmp_path / 'run'}" in trained.stdout
    run = RunDirectory(tmp_path / "run")
    assert run.is_complete
    assert run.events("start")[0]["workers"] == 2
    assert run.events("end")[0]["reason"] == "finished"

    refused = submit(environment, *settings)
    assert refused.returncode != 0
    assert "--overwrite" in refused.stdout
    locked_out = submit({**environment, "RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_TOKEN": "f" * 64})
    assert locked_out.returncode != 0

    assert processes_of(folder)
    stopped = call(SCRIPT, "stop", timeout=120)
    assert stopped.returncode == 0, stopped.stderr
    assert processes_of(folder) == []
    assert not folder.exists()
