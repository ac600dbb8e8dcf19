"""Which checkpoints stay, and that neither a kill nor a full disk costs more than the newest."""

import errno
import os
import shutil
import threading

import pytest

from itrec_dist.errors import CheckpointError, OutputError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import retention
from itrec_dist.runs.checkpoints.writer import CheckpointConfig
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage import hashed_files
from itrec_dist.training import resume
from itrec_dist.training.config import check
from tests.cases import slow_after
from tests.kept_snapshots import (
    Killed,
    Operations,
    run_directory,
    snapshot,
    steps_of,
    write,
    writer_of,
)
from tests.stopped_runs import config_of, go_on, make_data, outcome, start

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("retention") / "shards")


def test_as_many_are_kept_as_configured(tmp_path):
    run = run_directory(tmp_path / "run")
    writer = writer_of(run, keep_last=3, keep_best=2)
    write(writer, 10, 20)
    write(writer, 30, 40, 50, kinds=("last",))
    assert steps_of(run.checkpoints) == {
        "best": 20, "best-00000010": 10,
        "last": 50, "last-00000030": 30, "last-00000040": 40,
    }  # fmt: skip
    assert not (run.checkpoints / "best" / "state").exists()
    assert (run.checkpoints / "last-00000030" / "state").is_dir()


def test_later_steps_are_removed_when_a_run_resumes_from_an_earlier_one(tmp_path):
    run = run_directory(tmp_path / "run")
    write(writer_of(run, keep_last=3), 10, 20, 30)
    write(writer_of(run, keep_last=3), 15)  # resumed from step 10
    assert steps_of(run.checkpoints) == {"best": 15, "last": 15, "last-00000010": 10}


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    run = run_directory(tmp_path / "run")
    writer = writer_of(run, keep_last=2)
    write(writer, 10, 20, 20)
    assert steps_of(run.checkpoints) == {"best": 20, "last": 20, "last-00000010": 10}


@pytest.mark.parametrize("field", ["steps", "keep_last", "keep_best"])
def test_a_count_below_one_is_refused(field):
    with pytest.raises(ValueError, match=rf"checkpoints\.{field}=0"):
        CheckpointConfig(**{field: 0})


@pytest.mark.parametrize("keep", slow_after(1, [2, 1, 3]))
def test_a_kill_at_any_file_operation_costs_the_newest_at_most(keep, tmp_path, monkeypatch):
    template, reached = run_directory(tmp_path / "template"), set()
    write(writer_of(template, keep_last=keep, keep_best=keep), 10, 20, 30)
    for failing in range(1000):
        run = RunDirectory(shutil.copytree(template.path, tmp_path / str(failing)))
        writer = writer_of(run, keep_last=keep, keep_best=keep)
        with monkeypatch.context() as patch:
            done = Operations(patch, failing, Killed(), for_good=True)
            try:
                writer._write(snapshot(40))
            except Killed:
                killed = True
            else:
                killed = False
        retention.finish_interrupted(run.checkpoints)
        assert not list(run.checkpoints.glob(".*"))
        found = steps_of(run.checkpoints)
        assert found["last"] in (30, 40), failing
        assert found["best"] in (found["last"], 40), failing
        assert len(found) >= 2 * keep - 1 if keep < 3 else len(found) >= 5
        reached.add((found["best"], found["last"]))
        if not killed:
            assert done.count == failing
            break
    assert reached == {(30, 30), (40, 30), (40, 40)}


@pytest.mark.parametrize("keep", slow_after(1, [1, 2]))
def test_a_full_disk_at_any_file_operation_is_one_sentence_and_passes(keep, tmp_path, monkeypatch):
    """Operation after operation fails once; nothing is lost, and the next checkpoint succeeds."""
    template = run_directory(tmp_path / "template")
    write(writer_of(template, keep_last=keep, keep_best=keep), 10, 20)
    for failing in range(1000):
        run = RunDirectory(shutil.copytree(template.path, tmp_path / str(failing)))
        writer = writer_of(run, keep_last=keep, keep_best=keep)
        writer.saved_step = 20  # as in the process that wrote it
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with monkeypatch.context() as patch:
            done = Operations(patch, failing, full, for_good=False)
            writer.start(snapshot(30))
            try:
                writer.wait()
            except OutputError as error:
                told = str(error)
                assert told.startswith("the checkpoint of step 30 is lost")
                assert os.strerror(errno.ENOSPC) in told
                assert "step 20 is kept" in told
                assert "\n" not in told
        if done.count <= failing:
            break
        assert {steps_of(run.checkpoints)[kind] for kind in ("last", "best")} <= {20, 30}
        write(writer, 40)
        found = steps_of(run.checkpoints)
        assert (found["last"], found["best"], len(found)) == (40, 40, 2 * keep)
    assert failing > 20


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors", "config.yaml", "manifest.json", "items.parquet", "checkpoint.json",
        "state.json", "optimizer.safetensors", "optimizer.json", "workers.safetensors",
    ],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_an_incomplete_checkpoint_replaces_nothing(name, damage, tmp_path, monkeypatch):
    run = run_directory(tmp_path / "run")
    writer = writer_of(run, keep_last=2)
    write(writer, 10, 20)
    plain = hashed_files.refuse_incomplete

    def after_damage(folder, written):
        (path,) = folder.rglob(name)
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-1])
        else:
            path.unlink()
        plain(folder, written)

    monkeypatch.setattr(hashed_files, "refuse_incomplete", after_damage)
    told = rf"step 30 is lost, .*{name} is {'damaged' if damage == 'cut' else 'missing'}"
    with pytest.raises(OutputError, match=told):
        write(writer, 30, kinds=("last",))
    assert steps_of(run.checkpoints) == {"best": 20, "last": 20, "last-00000010": 10}
    assert not list(run.checkpoints.glob(".*"))


# ---------------------------------------------------------------------------- while training


def test_training_continues_while_a_checkpoint_is_written(tmp_path):
    run = run_directory(tmp_path / "run")
    gate = threading.Event()
    writer = writer_of(run, afterwards=gate.wait)
    writer.start(snapshot(10))  # returns although the gate is shut
    gate.set()
    writer.wait()
    assert steps_of(run.checkpoints)["last"] == 10


def test_a_snapshot_does_not_change_after_it_was_taken(data, tmp_path, monkeypatch):
    """Weights that move while a checkpoint is being written are not those it holds."""
    whole = start(config_of(data, tmp_path / "whole", checkpoints={"steps": 1, "keep_last": 20}))
    plain = retention.put
    run = config_of(data, tmp_path / "slow", checkpoints={"steps": 1, "keep_last": 20})

    def slowly(*args):
        threading.Event().wait(0.05)
        plain(*args)

    monkeypatch.setattr(retention, "put", slowly)
    assert outcome(start(run)) == outcome(whole)


def test_an_error_comes_out_with_the_next_checkpoint(data, tmp_path, monkeypatch):
    run = config_of(data, tmp_path / "run", checkpoints={"steps": 1})
    plain = retention.put

    def put(folder, kind, step, keep, fill):
        if step == 2:
            raise OutputError("cannot write there: why not")
        plain(folder, kind, step, keep, fill)

    monkeypatch.setattr(retention, "put", put)
    with pytest.raises(OutputError, match="the checkpoint of step 2 is lost, cannot write there"):
        start(run)
    steps = [e["step"] for e in RunDirectory(run.out).events("progress")]
    assert steps == [1, 2, 3], "it is met where step 3 is handed in"
    assert checkpoint_format.read_record(run.out / "checkpoints" / "last").step == 1


def test_an_error_in_the_last_checkpoint_is_not_lost(data, tmp_path, monkeypatch):
    run = config_of(data, tmp_path / "run")
    plain = retention.put

    def put(folder, kind, step, keep, fill):
        if step == 12:
            raise OutputError("cannot write there: why not")
        plain(folder, kind, step, keep, fill)

    with monkeypatch.context() as patch:
        patch.setattr(retention, "put", put)
        with pytest.raises(OutputError, match="the checkpoint of step 12 is lost"):
            start(run)
    assert not RunDirectory(run.out).is_complete
    assert outcome(go_on(run)) == outcome(start(config_of(data, tmp_path / "whole")))


def test_an_interruption_waits_for_the_write_in_progress(data, tmp_path, monkeypatch):
    run = config_of(data, tmp_path / "run")
    plain = retention.put

    def slowly(*args):
        threading.Event().wait(0.3)
        plain(*args)

    monkeypatch.setattr(retention, "put", slowly)
    from itrec_dist.runs.log import Recorder

    progress = Recorder.progress

    def interrupted(self, **fields):
        progress(self, **fields)
        if fields["step"] == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "progress", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(run)
    assert checkpoint_format.verify(run.out / "checkpoints" / "last").step == 6
    assert RunDirectory(run.out).events()[-1]["reason"] == "interrupted"


# ---------------------------------------------------------------------------- older ones


def test_a_damaged_last_names_the_older_one_and_how_to_continue(data, tmp_path):
    keeping = {"checkpoints": {"steps": 1, "keep_last": 4}}
    whole = outcome(start(config_of(data, tmp_path / "whole", **keeping)))
    run = config_of(data, tmp_path / "run", **keeping)
    start(run, stop_at=8)
    folder = run.out / "checkpoints"
    for name in ("last", "last-00000006"):
        (folder / name / "state" / "optimizer.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError) as refused:
        resume.check(run, check(run, 1))
    told = str(refused.value)
    assert "optimizer.safetensors is damaged" in told
    assert f"last-00000005 beside it is intact: remove {folder / 'last'} and resume again" in told
    for name in ("last", "last-00000006"):
        (folder / name).rename(tmp_path / name)
    assert outcome(go_on(run)) == whole


def test_a_best_of_an_earlier_epoch_than_last_says_is_refused(data, tmp_path):
    run = config_of(data, tmp_path / "run", checkpoints={"keep_best": 3})
    start(run, stop_at=11)
    folder = run.out / "checkpoints"
    older = retention.older_ones(folder, "best")
    if not older:
        pytest.fail("the run of this test needs more than one best epoch")
    (folder / "best").rename(tmp_path / "aside")
    with pytest.raises(CheckpointError, match="do not belong together"):
        resume.check(run, check(run, 1))


def test_older_checkpoints_are_judged_and_recommended_from(data, tmp_path, itrec):
    run = config_of(data, tmp_path / "run", checkpoints={"steps": 5, "keep_last": 2})
    start(run)
    (older,) = retention.older_ones(run.out / "checkpoints", "last")
    for name in ("last", older.name, "best"):
        assert itrec("evaluate", run.out, "--checkpoint", name)[0] == 0
    out = tmp_path / "top.parquet"
    for name in ("last-7", "../run", "", "last/state"):
        code, _, err = itrec("recommend", run.out, "--out", out, "--checkpoint", name)
        assert code == 2
        assert f"there are: best, last, {older.name}" in err
    (older / "config.yaml").write_text("seed: 2\n")
    code, _, err = itrec("evaluate", run.out, "--checkpoint", older.name)
    assert code == 2
    assert f"{older / 'config.yaml'} is damaged" in err
