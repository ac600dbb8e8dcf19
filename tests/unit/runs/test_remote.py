"""Run directories at a URI, on a file system and on a server of the S3 protocol."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from itrec_dist import config
from itrec_dist.distributed.context import LocalContext
from itrec_dist.errors import CheckpointError, EnvironmentProblem, OutputError
from itrec_dist.runs import lease
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.fetched import local_run, local_runs
from itrec_dist.runs.remote import Mirror, Sender
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from itrec_dist.training.config import RunConfig
from itrec_dist.training.setup import RunSetup
from tests import object_store
from tests.kept_snapshots import Killed, run_directory, steps_of, write, writer_of
from tests.stopped_runs import _work, config_of, make_data, outcome, start

pytestmark = pytest.mark.usefixtures("one_thread")
KEEP = {"last": 1, "best": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("mirrored") / "shards")


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    return outcome(start(config_of(data, tmp_path_factory.mktemp("whole") / "run")))


def train(run, existing="refuse", stop_at=None):
    """What the command does, up to the middle of a step if one is given."""
    with RunSetup(run, existing) as setup:
        setup.prepare(setup.check(1))
        context = LocalContext(torch.device("cpu"), threads=1)
        _work(run, context, stop_at)


def there(uri):
    """The checkpoints that stand whole at a URI."""
    return {f"{c.kind}@{c.step}" for c in Mirror(uri, Path("nowhere")).checkpoints()}


def before(patch, name, act):
    """Call `act` before each call of a verb of stores."""
    plain = getattr(Store, name)

    def acted(store, *args):
        act()
        return plain(store, *args)

    patch.setattr(Store, name, acted)


def kill(now):
    if now:
        raise Killed


def test_a_multipart_file_is_read_back_unchanged(place, tmp_path):
    """Above 10 MiB, S3 is sent a file in parts."""
    size = 23 * 2**20 + 17
    path, back = tmp_path / "large", tmp_path / "back"
    path.write_bytes(random.Random(1).randbytes(size))
    store = Store(place)
    store.upload(path, "folder/large")
    assert store.files() == {"folder/large": size}
    store.download("folder/large", back)
    assert back.read_bytes() == path.read_bytes()
    assert store.read("folder/large", size - 9) == path.read_bytes()[-9:]


# ---------------------------------------------------------------------------- training


def test_a_run_resumes_from_its_uri_on_another_machine(
    place, data, undisturbed, tmp_path, monkeypatch
):
    run = replace(config_of(data, tmp_path), out=place)
    train(run, stop_at=7)
    assert there(place) == {"last@6", "best@4"}
    object_store.machine(monkeypatch, tmp_path / "another")
    train(run, "resume")
    best = undisturbed["end"][1] * 4
    assert there(place) == {"last@12", f"best@{best}"}
    names = set(Store(place).files())
    assert lease.FILE not in names
    assert {"config.yaml", "manifest.json", "environment.json", "log.jsonl", "evaluation.json"} < (
        names
    )
    assert not run.folder.exists(), "nothing stays here"
    assert config.load(RunConfig, local_run(place) / "config.yaml") == run
    mirror = Mirror(place, tmp_path / "fetched")
    mirror.fetch()
    assert outcome(RunDirectory(tmp_path / "fetched")) == undisturbed


def test_a_taken_uri_is_refused_and_overwritten_as_a_whole(place, data, tmp_path):
    run = replace(config_of(data, tmp_path, training={"epochs": 1}), out=place)
    train(run)
    with pytest.raises(OutputError, match="already exists"):
        train(run)
    Store(place).write("extra", b"of the first")
    train(run, "overwrite")
    assert "extra" not in Store(place).files()
    other = replace(run, out=place.below("none"))
    Store(other.out).write("mine.txt", b"x")
    with pytest.raises(OutputError, match=r"holds no config\.yaml"):
        train(other, "overwrite")
    assert Store(other.out).files() == {"mine.txt": 1}
    with pytest.raises(CheckpointError, match="is complete"):
        train(run, "resume")


def test_a_uri_that_another_process_writes_is_refused(place, data, tmp_path, monkeypatch):
    run = replace(config_of(data, tmp_path), out=place)
    holder = {"host": "elsewhere", "pid": 7, "birth": None, "started": "now", "token": "t"}
    Store(place).write(lease.FILE, json.dumps(holder).encode())
    with pytest.raises(OutputError, match=f"{place} is being written by process 7 on elsewhere"):
        train(run)
    monkeypatch.setattr(lease, "FRESH_SECONDS", -1.0)
    train(run, stop_at=5)


# ---------------------------------------------------------------------------- what is kept


@pytest.fixture
def mirrored(place, tmp_path):
    run = run_directory(tmp_path / "here")
    return run, Mirror(place, run.path)


def test_as_many_are_kept_at_the_uri_as_configured(mirrored):
    run, mirror = mirrored
    writer = writer_of(run, lambda: mirror.send({"last": 2, "best": 1}))
    write(writer, 10, 20, 30)
    assert there(mirror.uri) == {"last@30", "last@20", "best@30"}
    writer = writer_of(run, lambda: mirror.send({"last": 3, "best": 1}))
    write(writer, 25)  # resumed from step 20
    assert there(mirror.uri) == {"last@25", "last@20", "best@25"}


def test_a_kill_at_any_operation_there_costs_the_newest_at_most(tmp_path, monkeypatch):
    """Operation after operation is the last one; what another machine fetches is whole."""
    template = run_directory(tmp_path / "template" / "here")
    sending = Mirror(Uri(f"file://{tmp_path}/template/store"), template.path)
    write(writer_of(template, lambda: sending.send(KEEP)), 10, 20)
    write(writer_of(template), 30)
    for failing in range(200):
        shutil.copytree(tmp_path / "template", tmp_path / str(failing))
        run = RunDirectory(tmp_path / str(failing) / "here")
        mirror = Mirror(Uri(f"file://{tmp_path}/{failing}/store"), run.path)
        count, killed = iter(range(1000)), False
        with monkeypatch.context() as patch:
            for name in ("upload", "remove", "write"):
                before(patch, name, lambda count=count, at=failing: kill(next(count) >= at))
            try:
                mirror.send(KEEP)
            except Killed:
                killed = True
        other = Mirror(mirror.uri, tmp_path / str(failing) / "there")
        other.fetch()
        found = steps_of(other.folder / "checkpoints")
        assert set(found) == {"best", "last"}
        assert set(found.values()) <= {20, 30}
        assert found["best"] >= found["last"]
        if not killed:
            break
    assert failing > 15
    assert found == {"best": 30, "last": 30}


def test_newer_local_files_are_kept_and_sent(mirrored, tmp_path):
    run, mirror = mirrored
    write(writer_of(run, lambda: mirror.send(KEEP)), 10)
    write(writer_of(run), 20)
    run.append("note", message="not sent yet")
    again = Mirror(mirror.uri, run.path)
    again.fetch()
    assert steps_of(run.checkpoints) == {"best": 20, "last": 20}
    assert run.events("note")
    again.send(KEEP)
    assert there(mirror.uri) == {"last@20", "best@20"}
    assert b"not sent yet" in Store(mirror.uri).read("log.jsonl")


def test_local_files_of_another_run_are_removed(mirrored, tmp_path):
    run, mirror = mirrored
    write(writer_of(run, lambda: mirror.send(KEEP)), 10)
    stale = run_directory(tmp_path / "stale")
    write(writer_of(stale), 99)
    stale.environment.write_text('{"run": "another"}')
    Mirror(mirror.uri, stale.path).fetch()
    assert steps_of(stale.checkpoints) == {"best": 10, "last": 10}


@pytest.mark.parametrize(
    "damage", ["cut", "gone", "state cut", "state gone", "no record", "record", "another step"]
)
def test_a_damaged_newest_one_names_an_older_one(damage, mirrored, tmp_path):
    run, mirror = mirrored
    write(writer_of(run, lambda: mirror.send({"last": 2, "best": 1})), 10, 20)
    store, folder = Store(mirror.uri), "checkpoints/last@00000020"
    if damage == "cut":
        store.write(f"{folder}/model.safetensors", b"half")
    elif damage == "gone":
        store.remove(f"{folder}/config.yaml")
    elif damage == "state cut":
        store.write(f"{folder}/state/optimizer.safetensors", b"half")
    elif damage == "state gone":
        store.remove(f"{folder}/state/workers.safetensors")
    elif damage == "no record":
        store.remove(f"{folder}/checkpoint.json")
    elif damage == "record":
        store.write(f"{folder}/checkpoint.json", b'{"format_')
    else:
        store.write(f"{folder}/checkpoint.json", store.read(f"{folder[:-2]}10/checkpoint.json"))
    fetched = Mirror(mirror.uri, tmp_path / "fetched")
    if damage == "no record":  # half-written or half-removed: as if it were not there
        fetched.fetch()
        assert steps_of(tmp_path / "fetched" / "checkpoints")["last"] == 10
        return
    with pytest.raises(CheckpointError) as refused:
        fetched.fetch()
    told = str(refused.value)
    assert "\n" not in told
    assert f"{mirror.uri}/{folder}" in told
    assert "last@00000010 there is intact: remove" in told


# ---------------------------------------------------------------------------- outages


class Outage:
    """The URI cannot be reached from one moment to another."""

    def __init__(self, monkeypatch):
        self.on = False
        for name in ("upload", "remove", "files", "write", "read", "size"):
            before(monkeypatch, name, self._cut)

    def _cut(self):
        if self.on:
            raise EnvironmentProblem("the store cannot be reached: the cable is out")


def test_an_outage_is_reported_once_and_caught_up(mirrored, monkeypatch):
    run, mirror = mirrored
    outage = Outage(monkeypatch)
    sender = Sender(mirror, KEEP, interval=1000)
    writer = writer_of(run, sender.send)
    write(writer, 10)
    assert sender.unreported_outage() is None
    outage.on = True
    write(writer, 20)
    told = sender.unreported_outage()
    assert "cannot be reached: the cable is out; training continues" in told
    assert str(run.path) in told
    write(writer, 30)
    assert sender.unreported_outage() is None, "it was told"
    outage.on = False
    write(writer, 40)
    assert there(mirror.uri) == {"last@40", "best@40"}
    outage.on = True
    write(writer, 50)
    assert sender.unreported_outage(), "this is another one"
    with pytest.raises(
        OutputError, match=f"the whole run is in {run.path} on this machine: --resume"
    ):
        sender.finish()
    assert steps_of(run.checkpoints) == {"last": 50, "best": 50}
    outage.on = False
    Sender(mirror, KEEP, interval=1000).finish()
    assert there(mirror.uri) == {"last@50", "best@50"}
    assert not run.path.exists()


def test_a_run_outlives_an_outage_and_is_sent_later(data, undisturbed, tmp_path, monkeypatch):
    object_store.machine(monkeypatch, tmp_path / "machine")
    run = replace(config_of(data, tmp_path), out=Uri(f"file://{tmp_path}/store/x"))
    outage = Outage(monkeypatch)
    from tests.stopped_runs import before_keeping

    def unplug(keep):
        outage.on = True
        keep()

    with monkeypatch.context() as patch:
        before_keeping(patch, 6, unplug)
        with pytest.raises(OutputError, match="the cable is out; the whole run is in"):
            train(run)
    notes = [note["message"] for note in RunDirectory(run.folder).events("note")]
    assert sum("the cable is out" in note for note in notes) == 1
    outage.on = False
    Store(run.out).remove(lease.FILE)  # its process is this one, and alive
    with pytest.raises(CheckpointError, match="is complete"):
        train(run, "resume")
    mirror = Mirror(run.out, tmp_path / "fetched")
    mirror.fetch()
    assert outcome(RunDirectory(mirror.folder)) == undisturbed


# ---------------------------------------------------------------------------- reading


def test_runs_are_read_from_their_uri(place, data, tmp_path, monkeypatch, itrec):
    local = tmp_path / "local"
    start(config_of(data, local))
    run = replace(config_of(data, tmp_path), out=place)
    train(run)
    object_store.machine(monkeypatch, tmp_path / "reader")
    judged = [tmp_path / name for name in ("here.json", "there.json")]
    for out, at in zip(judged, (local, place), strict=True):
        code, _, err = itrec("evaluate", at, "--out", out)
        assert (code, err) == (0, "")
    assert judged[0].read_bytes() == judged[1].read_bytes()
    assert not list((tmp_path / "reader").rglob("state")), "what nobody reads is not fetched"
    code, _, err = itrec("recommend", place, "--out", tmp_path / "top", "--checkpoint", "last")
    assert (code, err) == (0, "")
    code, _, err = itrec("evaluate", place, "--checkpoint", "last-00000001")
    assert code == 2
    assert "there are: " in err
    assert "last, last-00000012" in err
    assert "--out is missing: with runs at a URI" in itrec("report", place)[2]
    above = str(place).removesuffix("/x")
    code, _, err = itrec("report", above, local, "--out", tmp_path / "report.html")
    assert (code, err) == (0, "")
    assert "runs/x" in (tmp_path / "report.html").read_text()
    assert [folder.name for folder in local_runs(Uri(above))] == ["x"]
    with pytest.raises(CheckpointError, match="holds no run directory"):
        local_runs(Uri(f"{above}/none"))
    assert "is not a run directory" in itrec("evaluate", f"{above}/none")[2]


def test_a_bucket_that_is_not_there_is_one_sentence(bucket, data, tmp_path, itrec, monkeypatch):
    cache = object_store.machine(monkeypatch, tmp_path / "machine")
    out = "s3://there-is-none/runs/x"
    code, _, err = itrec("train", "--local", "--shards", data, "--out", out)
    assert code == 2
    assert f"{out} cannot be reached" in err
    assert err.count("\n") == 1
    assert not [p for p in cache.rglob("*") if p.is_file()]
    shutil.rmtree(cache, ignore_errors=True)
