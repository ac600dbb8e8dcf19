"""One writer at a time, and no run that a dead writer keeps from going on."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from itrec_dist.errors import OutputError
from itrec_dist.runs import lease
from tests.fixtures import DEBUG_RECIPE

ROOT = Path(__file__).parents[3]


def holder(folder, **changes):
    """A lease as another process would have left it."""
    content = {
        "host": "elsewhere", "pid": 7, "birth": "other/1", "started": "2026-01-01", "token": "t"
    }  # fmt: skip
    (folder / lease.FILE).write_text(json.dumps(content | changes))
    return folder / lease.FILE


def aged(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def refusal(folder):
    with pytest.raises(OutputError) as refused, lease.held(lease.LocalLock(folder)):
        pytest.fail("the block must not run")
    with pytest.raises(OutputError):
        lease.refuse_held(lease.LocalLock(folder))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_lease_is_there_as_long_as_it_is_held_and_leaves_nothing(tmp_path):
    folder = tmp_path / "new" / "run"
    with lease.held(lease.LocalLock(folder)):
        content = json.loads((folder / lease.FILE).read_text())
        assert (content["host"], content["pid"]) == (socket.gethostname(), os.getpid())
        assert f"process {os.getpid()} on {socket.gethostname()}" in refusal(folder)
        assert [p.name for p in folder.iterdir()] == [lease.FILE]
    assert list(folder.iterdir()) == []
    with pytest.raises(ZeroDivisionError), lease.held(lease.LocalLock(folder)):
        1 / 0  # noqa: B018
    assert list(folder.iterdir()) == []


def test_a_lease_of_another_machine_is_respected_for_a_minute(tmp_path):
    path = holder(tmp_path)
    assert "process 7 on elsewhere" in refusal(tmp_path)
    aged(path, lease.FRESH_SECONDS - 10)
    refusal(tmp_path)
    aged(path, lease.FRESH_SECONDS + 10)
    with lease.held(lease.LocalLock(tmp_path)):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pid", ["gone", "of another process"])
def test_a_lease_of_a_dead_local_process_is_taken_over_at_once(pid, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    number = child.pid if pid == "gone" else os.getpid()
    path = holder(tmp_path, host=socket.gethostname(), pid=number)
    with lease.held(lease.LocalLock(tmp_path)):
        assert "birth" in json.loads(path.read_text())
        assert json.loads(path.read_text())["token"] != "t"


def test_a_suspended_process_of_this_machine_is_still_alive(tmp_path):
    birth = lease._birth(os.getpid())
    if birth is None:
        pytest.skip("this system does not tell when a process began")
    path = holder(tmp_path, host=socket.gethostname(), pid=os.getpid(), birth=birth)
    aged(path, 1e6)
    assert f"process {os.getpid()} on {socket.gethostname()}" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_an_unreadable_lease_is_respected_for_a_minute_too(content, tmp_path):
    path = tmp_path / lease.FILE
    path.write_text(content)
    assert "is being written" in refusal(tmp_path)
    assert path.read_text() == content
    aged(path, lease.FRESH_SECONDS + 10)
    with lease.held(lease.LocalLock(tmp_path)):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_lease_is_kept_fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "_TOUCH_SECONDS", 0.01)
    with lease.held(lease.LocalLock(tmp_path)):
        path = tmp_path / lease.FILE
        aged(path, 1e6)
        deadline = time.monotonic() + 20
        while lease.LocalLock(tmp_path).age() > lease.FRESH_SECONDS:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_lease_that_was_taken_over_is_neither_kept_fresh_nor_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "_TOUCH_SECONDS", 0.01)
    with lease.held(lease.LocalLock(tmp_path)):
        path = holder(tmp_path)
        aged(path, 1000)
        time.sleep(0.2)
        assert lease.LocalLock(tmp_path).age() > 900
    assert json.loads(path.read_text())["host"] == "elsewhere"


@pytest.mark.parametrize("before", ["nobody", "a dead one"])
@pytest.mark.parametrize("links", [True, False])
def test_one_of_many_processes_gets_the_lease(before, links, tmp_path, monkeypatch):
    if not links:

        def refused(*_):
            raise PermissionError

        monkeypatch.setattr(Path, "hardlink_to", refused)
    if before == "a dead one":
        aged(holder(tmp_path), 1e6)

    def attempt(_):
        try:
            with lease.held(lease.LocalLock(tmp_path)):
                told = json.loads((tmp_path / lease.FILE).read_text())["token"]
                over.wait()
        except OutputError:
            done.append(None)
            if len(done) == 7:
                over.set()
            return None
        return told

    done, over = [], threading.Event()
    with ThreadPoolExecutor(8) as pool:
        got = [token for token in pool.map(attempt, range(8)) if token]
    assert len(got) == 1


@pytest.mark.slow
def test_a_run_that_is_alive_is_neither_resumed_nor_replaced(shards, tmp_path, itrec):
    out = tmp_path / "run"
    arguments = [
        "train", "--local", "--config", DEBUG_RECIPE, "--shards", shards, "--out", out,
        "--training.epochs", 50,
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "itrec_dist", *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (out / "checkpoints" / "last").is_dir():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for way in ("--resume", "--overwrite"):
            code, _, err = itrec(*arguments, way)
            assert code == 2
            assert f"is being written by process {process.pid} on {socket.gethostname()}" in err
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
    assert (out / lease.FILE).exists()
    short = [*arguments[:-1], 1]
    code, _, err = itrec(*short, "--overwrite")
    assert (code, err) == (0, "")
    assert not (out / lease.FILE).exists()
    shutil.rmtree(out)
    out.mkdir()
    aged(holder(out), 1e6)  # all that a process left that was killed at once
    assert itrec(*short)[0] == 0
