"""Recommendations by two workers of Ray Data, against one process."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import fs

import itrec_dist as itrec_library
from itrec_dist.errors import CheckpointError
from itrec_dist.inference import recommend
from itrec_dist.inference.load import restore
from itrec_dist.inference.recommend import Request
from itrec_dist.inference.scoring import plan as plans
from itrec_dist.inference.scoring.folder import Folder, part_name
from itrec_dist.inference.scoring.scorer import Job
from itrec_dist.inference.scoring.sources import OfShards
from itrec_dist.launch import scoring
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from tests import object_store
from tests.fixtures import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
BLOCK = 32


@pytest.fixture(autouse=True)
def alike(monkeypatch):
    """Small parts, and one process in their blocks and with the one thread that a worker has."""
    for module in (recommend, plans):
        monkeypatch.setattr(module, "USERS_PER_BLOCK", BLOCK)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_two_workers_write_what_one_process_does_and_go_on_where_they_were(
    trained, itrec, tmp_path
):
    one, out = tmp_path / "one.parquet", tmp_path / "parts"
    assert itrec("recommend", trained, "--out", one, "-k", 9)[0] == 0
    code, shown, err = itrec("recommend", trained, "--out", out, "-k", 9, "--workers", 2)
    assert (code, err) == (0, ""), err
    parts = sorted(path.name for path in out.iterdir())
    begun, *_, ended = shown.splitlines()
    num_parts = len(parts) - 2
    assert begun.endswith(f"users in {num_parts} parts; 2 workers")
    assert parts == ["_request.json", "_summary.json", *map(part_name, range(num_parts))]
    assert f" in {num_parts} parts, " in ended
    assert ended.endswith(f"users/s of each worker: {out}")
    assert pq.read_table(out).equals(pq.read_table(one))
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    code, shown, err = itrec(
        "recommend", trained, "--out", out, "-k", 9, "--workers", 3, "--resume"
    )
    assert (code, err) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")} == stamps
    assert f" in {num_parts} parts: " in shown


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_part_only(trained, tmp_path):
    run = itrec_library.load(trained)
    known = run.restored.items.source_ids
    lists = {f"u{u}": [known[(u * 7 + i) % 60] for i in range(10)] for u in range(9000)}
    out, killed = tmp_path / "parts", []

    def kill() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not killed:
            if len(list(out.glob("*.parquet"))) >= 5:
                victim = next(p for p in psutil.process_iter() if is_scorer(p))
                victim.kill()
                killed.append(len(list(out.glob("*.parquet"))))
            time.sleep(0.01)

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    outcome = run.write_recommendations(out, lists, k=40, workers=2)
    killing.join()
    assert killed[0] < 9000 // BLOCK, "it was killed in the middle"
    assert outcome.users == 9000
    assert pq.read_table(out).equals(run.recommend(lists, k=40))


def is_scorer(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("ray::MapWorker") or any(
            word.startswith("ray::MapWorker") for word in process.cmdline()
        )
    except psutil.Error:
        return False


@pytest.mark.slow
def test_a_mistake_that_a_worker_meets_is_one_sentence_and_code_2(trained, itrec, tmp_path):
    out, restored = tmp_path / "parts", restore(trained)
    source = OfShards(restored, Path(restored.run.shards))
    plans.prepare(Folder(out), source, restored, Request(9), 2, "refuse")
    (out / "_histories" / part_name(1)).write_bytes(b"no Parquet")
    code, _, err = itrec("recommend", trained, "--out", out, "-k", 9, "--workers", 2, "--resume")
    assert err == (
        f"itrec: error: {out}/_histories/{part_name(1)} is damaged: start again with --overwrite\n"
    )
    assert code == 2


@pytest.mark.slow
def test_a_checkpoint_that_changes_meanwhile_is_refused_by_the_workers(trained, tmp_path):
    out, restored = tmp_path / "parts", restore(trained)
    source = OfShards(restored, Path(restored.run.shards))
    plan = plans.prepare(Folder(out), source, restored, Request(9), 2, "refuse")
    job = Job(trained, "best", "another", Request(9), out, plan.request)
    with pytest.raises(CheckpointError, match="has changed since this batch began"):
        list(scoring.score(job, plan.left, 2, use_gpu=False))
    assert not list(out.glob("*.parquet"))


@pytest.mark.slow
@pytest.mark.skipif(object_store.command() is None, reason="needs moto's server, of the dev extras")
def test_two_workers_read_and_write_at_uris(trained, itrec, tmp_path, ratings_folder):
    lines = (ratings_folder / "ratings.dat").read_text().splitlines()
    user, item, rating, stamp = zip(*(line.split("::") for line in lines), strict=True)
    events = tmp_path / "events.parquet"
    table = pa.table({"user": user, "item": item, "rating": list(map(float, rating)),
                      "timestamp": list(map(int, stamp))})  # fmt: skip
    pq.write_table(table, events)
    one = tmp_path / "one.parquet"
    assert itrec("recommend", trained, "--out", one, "--histories", events)[0] == 0
    with object_store.serving() as bucket:
        Store(Uri(bucket)).upload(events, "events/part-0.parquet")
        out = Uri(f"{bucket}/recommendations")
        # In a process of its own: workers of the shared Ray know no bucket.
        done = subprocess.run(
            [sys.executable, "-m", "itrec_dist", "recommend", trained, "--out", out,
             "--histories", f"{bucket}/events", "--workers", "2"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        opened, base = fs.FileSystem.from_uri(out)
        assert pq.read_table(base, filesystem=opened).equals(pq.read_table(one))
        assert not [name for name in Store(out).files() if "_histories" in name]
