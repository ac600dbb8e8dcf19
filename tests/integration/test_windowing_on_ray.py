"""`itrec window --distributed` on Ray, against one process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import itrec_dist as itrec_library
from itrec_dist.data.windowing import buckets
from itrec_dist.errors import MachineError
from itrec_dist.launch import windowing
from itrec_dist.launch.windowing import RayTasks
from itrec_dist.tasks.next_items.windows import NextItemsWindows, WindowConfig
from tests.clusters import NodesOnThisMachine

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

SMALL = ("--input_length", 4, "--target_length", 2, "--stride", 3, "--min_user_events", 5)


@pytest.fixture(autouse=True)
def _small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "EVENTS_PER_BUCKET", 500)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shuffled: a user with a third of all, and times that are tied."""
    rng = np.random.default_rng(9)
    lengths = [500, *rng.integers(1, 30, 70)]
    user = np.repeat(np.arange(len(lengths)), lengths)
    place = np.concatenate([np.arange(length) for length in lengths])
    rows = pa.table({"user": user, "item": place * 7 % 97, "timestamp": place // 2})
    path = tmp_path_factory.mktemp("events") / "e.parquet"
    pq.write_table(rows.take(rng.permutation(len(rows))), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [("--protocol", "global_time", *SMALL), ("--samples", "histories", "--top_items", 50)],
    ids=["windows", "histories"],
)
def test_it_writes_the_shards_of_one_process(itrec, events, tmp_path, options):
    command = ("window", "--source", "table", "--input", events, *options, "--out")
    code, once, err = itrec(*command, tmp_path / "once")
    assert (code, err) == (0, "")
    code, shown, err = itrec(*command, tmp_path / "buckets", "--distributed")
    assert (code, err) == (0, "")
    assert shown.splitlines()[:-1] == once.splitlines()[:-1]
    one, other = (itrec_library.open(tmp_path / name) for name in ("once", "buckets"))
    assert one.fingerprint == other.fingerprint
    assert one.manifest.splits == other.manifest.splits


@pytest.mark.slow
def test_the_library_has_it_too(events, tmp_path):
    split = {"protocol": "leave_last", "samples": "histories", "target_length": 2}
    split["min_user_events"] = 5
    one = itrec_library.split(events, out=tmp_path / "once", **split)
    other = itrec_library.split(events, out=tmp_path / "buckets", distributed=True, **split)
    assert one.fingerprint == other.fingerprint


class Fragile(RayTasks):
    """Tasks of which some lose their worker, the first `losses` times that they run."""

    def __init__(self, folder: Path, losses: int) -> None:
        super().__init__()
        self._folder, self._losses = folder, losses
        self.started = 0

    def start(self, function: Callable[..., Any], *arguments: Any, results: int = 1) -> list[Any]:
        self.started += 1
        folder, number = self._folder, self.started
        losses = self._losses if number % 10 == 5 else 0

        def losing(*given: Any) -> Any:
            attempt = len(list(folder.glob(f"{number}-*")))
            (folder / f"{number}-{attempt}").touch()
            if attempt < losses:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given)

        return super().start(losing, *arguments, results=results)


def fragile(events: Path, out: Path, folder: Path, losses: int) -> tuple[str, Fragile | None]:
    """The fingerprint, and the cluster, of one process where nothing is lost."""
    folder.mkdir()
    made: list[Fragile] = []

    def connect() -> Fragile:
        made.append(Fragile(folder, losses))
        return made[0]

    config = WindowConfig(input_length=4, target_length=2, stride=3, min_user_events=5)
    samples = NextItemsWindows()
    manifest = (samples.on(connect) if losses else samples).write("table", events, out, config)
    return manifest.fingerprint, made[0] if made else None


@pytest.mark.slow
def test_a_lost_worker_costs_its_bucket_only(events, tmp_path):
    wanted, _ = fragile(events, tmp_path / "once", tmp_path / "0", 0)
    found, cluster = fragile(events, tmp_path / "buckets", tmp_path / "1", 1)
    assert found == wanted
    attempts = [len(list((tmp_path / "1").glob(f"{n + 1}-*"))) for n in range(cluster.started)]
    assert attempts == [2 if n % 10 == 4 else 1 for n in range(cluster.started)]


@pytest.mark.slow
def test_a_bucket_that_always_loses_its_worker_is_one_sentence(events, tmp_path, monkeypatch):
    monkeypatch.setattr(windowing, "_MOST_RETRIES", 1)
    with pytest.raises(MachineError, match="lost workers 2 times in one bucket of users: "):
        fragile(events, tmp_path / "buckets", tmp_path / "9", 9)
    assert not (tmp_path / "buckets").exists()


@pytest.mark.slow
def test_a_rating_given_twice_is_named_as_by_one_process(itrec, events, tmp_path):
    rows = pq.read_table(events)
    pq.write_table(pa.concat_tables([rows, rows.slice(900, 40)]), tmp_path / "twice.parquet")
    command = ("window", "--source", "table", "--input", tmp_path / "twice.parquet", "--out")
    once = itrec(*command, tmp_path / "shards")
    assert once[0] == 2
    assert "rows 901 and " in once[2]
    assert itrec(*command, tmp_path / "shards", "--distributed") == once


@pytest.mark.slow
def test_a_lost_node_costs_its_buckets_only(tmp_path):
    """Half of all is there when the second of two nodes goes: the shards are the same."""
    user = np.repeat(np.arange(6000), 100)
    rows = {"user": user, "item": np.arange(len(user)) * 7 % 997, "timestamp": user * 3 % 1000}
    pq.write_table(pa.table(rows), tmp_path / "e.parquet")
    wanted = NextItemsWindows().write(
        "table", tmp_path / "e.parquet", tmp_path / "once", WindowConfig()
    )
    with NodesOnThisMachine() as nodes:
        command = [
            sys.executable, "-m", "itrec_dist", "window", "--source", "table",
            "--input", tmp_path / "e.parquet", "--out", tmp_path / "buckets",
            "--distributed", "--address", nodes.address,
        ]  # fmt: skip
        running = subprocess.Popen(
            command, env=nodes.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        while not any(map(is_task, nodes.processes())):
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)
        time.sleep(1.0)  # some steps of all
        nodes.remove_node()
        assert running.poll() is None, "it was lost in the middle"
        shown, _ = running.communicate(timeout=300)
    assert running.returncode == 0, shown
    assert itrec_library.open(tmp_path / "buckets").fingerprint == wanted.fingerprint


def is_task(process: psutil.Process) -> bool:
    try:
        return "ray::_worked" in " ".join(process.cmdline())
    except psutil.Error:
        return False
