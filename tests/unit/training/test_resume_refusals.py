"""What is not resumed, what a full disk costs, and that no file holds code."""

import errno
import json
import os
import resource
import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import yaml

from itrec_dist import config
from itrec_dist.config import fields
from itrec_dist.errors import CheckpointError, ConfigError, ItrecError, OutputError, TrainingError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import training_state
from itrec_dist.runs.checkpoints.manager import CheckpointManager
from itrec_dist.runs.checkpoints.writer import CheckpointConfig
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage import hashed_files
from itrec_dist.training import resume
from itrec_dist.training.config import check
from tests.shards_factory import make_shards, random_windows
from tests.stopped_runs import (
    before_keeping,
    config_of,
    go_on,
    make_data,
    outcome,
    reseal,
    start,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("refusals") / "shards")


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    return start(config_of(data, tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture(scope="module")
def _stopped(data, tmp_path_factory):
    return start(config_of(data, tmp_path_factory.mktemp("stopped") / "run"), stop_at=7).path


@pytest.fixture
def stopped(data, _stopped, tmp_path):
    """A run that was stopped after step 6, for the test to spoil."""
    shutil.copytree(_stopped, tmp_path / "run")
    return config_of(data, tmp_path / "run")


def refusal(run, kind):
    """Its sentence: for workers elsewhere, and for one of this process."""
    data, said = check(run, 1), []
    for refuse in (resume.check, resume.load):
        with pytest.raises(kind) as refused:
            refuse(run, data)
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert "\n" not in said[0]
    return said[0]


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ---------------------------------------------------------------------------- refusals


def test_nothing_to_resume_is_said(stopped, tmp_path):
    assert "holds no run to resume" in refusal(replace(stopped, out=tmp_path), CheckpointError)
    shutil.rmtree(stopped.out / "checkpoints")
    assert "has no checkpoint yet" in refusal(stopped, CheckpointError)
    assert "--overwrite" in refusal(stopped, CheckpointError)


def test_a_complete_run_is_not_trained_on(data, undisturbed):
    assert "is complete" in refusal(config_of(data, undisturbed.path), CheckpointError)


def test_other_data_is_refused_naming_both(stopped, tmp_path):
    other = tmp_path / "other"
    make_shards(other, {s: random_windows(29) for s in ("train", "validation")})
    described = json.loads((other / "manifest.json").read_text()) | {"fingerprint": "1" * 64}
    (other / "manifest.json").write_text(json.dumps(described))
    said = refusal(replace(stopped, shards=other), ConfigError)
    assert "0" * 12 in said
    assert "1" * 12 in said


@pytest.mark.parametrize(
    ("section", "change", "told"),
    [
        ("model", {"width": 32}, "model.width=32 (it started with 16)"),
        ("training", {"epochs": 9}, "training.epochs=9 (it started with 3)"),
        ("training", {"patience": None}, "training.patience=None (it started with 2)"),
        ("optimizer", {"learning_rate": 0.5}, "optimizer.learning_rate=0.5"),
        ("engine", {"precision": "bf16"}, "engine.precision=bf16 (it started with fp32)"),
    ],
)
def test_a_setting_that_changes_what_is_learned_is_refused_by_name(section, change, told, stopped):
    changed = replace(stopped, **{section: replace(getattr(stopped, section), **change)})
    assert told in refusal(changed, ConfigError)
    both = refusal(replace(changed, seed=5), ConfigError)
    assert told in both
    assert "seed=5 (it started with 0)" in both


def test_settings_that_change_nothing_may_change(stopped):
    changed = replace(
        stopped, name="another", cluster=replace(stopped.cluster, threads=2),
        training=replace(stopped.training, log_seconds=7.0),
        checkpoints=CheckpointConfig(keep_last=3),
        engine=replace(stopped.engine, accumulate=1),
    )  # fmt: skip
    resume.check(changed, check(changed, 1))
    assert fields.marked(stopped, fields.FREE) == {
        "shards", "out", "name", "training.log_seconds", "training.non_finite", "loss.memory",
        "checkpoints.steps", "checkpoints.keep_last", "checkpoints.keep_best",
        "engine.name", "engine.accumulate", "engine.compile", "engine.deepspeed.stage",
        "engine.deepspeed.offload_optimizer", "engine.deepspeed.offload_parameters",
        "feed.cache", "feed.readers", "evaluation.batch_size", "cluster.num_workers",
        "cluster.min_workers", "cluster.max_failures", "cluster.wait_seconds", "cluster.use_gpu",
        "cluster.cpus_per_worker", "cluster.threads", "trackers.mlflow", "trackers.wandb",
    }  # fmt: skip


def test_another_order_of_windows_is_refused(stopped):
    streamed = replace(stopped, feed=replace(stopped.feed, cache="none"))
    with pytest.raises(ConfigError, match=r"resume it with feed\.cache=host"):
        go_on(streamed)


def test_resume_and_overwrite_exclude_each_other(stopped, tmp_path, itrec):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.to_yaml(stopped))
    before = contents(stopped.out)
    for given, told in ((["--overwrite"], "give one of them"), (["--seed", 3], "seed=3")):
        code, _, err = itrec("train", "--local", "--config", recipe, "--resume", *given)
        assert code == 2
        assert told in err
        assert err.count("\n") == 1
    assert contents(stopped.out) == before


def test_a_runs_own_configuration_resumes_it(stopped, undisturbed, itrec):
    recipe = stopped.out / "config.yaml"
    settings = yaml.safe_load(recipe.read_text()) | {"out": str(stopped.out)}
    recipe.write_text(yaml.safe_dump(settings))
    code, shown, err = itrec("train", "--local", "--config", recipe, "--resume")
    assert (code, err) == (0, "")
    assert "resumed within epoch 2, after step 6" in shown
    assert outcome(RunDirectory(stopped.out)) == outcome(undisturbed)


# ---------------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors", "checkpoint.json", "config.yaml", "state/state.json",
        "state/optimizer.safetensors", "state/optimizer.json", "state/workers.safetensors",
    ],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["cut", "gone", "flipped"])
def test_a_damaged_checkpoint_is_refused_naming_the_file(name, damage, stopped):
    path = stopped.out / "checkpoints" / "last" / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        # Within a name: a recipe that ends after a whole line is a recipe, of other settings.
        half = len(content) // 2
        path.write_bytes(content[: max(content.rfind(b"_", 0, half), half - 20)])
    else:
        path.write_bytes(b"\xff" + content[1:])
    said = refusal(stopped, ItrecError)
    assert str(stopped.out / "checkpoints" / "last" if damage == "gone" else path) in said


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("checkpoint.json", checkpoint_format.FORMAT_VERSION),
        ("state/state.json", training_state.FORMAT_VERSION),
    ],
)
def test_a_checkpoint_of_a_newer_version_is_refused(name, known, stopped):
    path = stopped.out / "checkpoints" / "last" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": known + 1}))
    if name != checkpoint_format.RECORD_FILE:
        reseal(stopped.out / "checkpoints" / "last")
    assert f"format {known + 1}, this version reads {known}" in refusal(stopped, CheckpointError)


def test_a_state_of_another_step_is_refused(stopped, undisturbed):
    mine = stopped.out / "checkpoints" / "last" / "state"
    shutil.rmtree(mine)
    shutil.copytree(undisturbed.checkpoints / "last" / "state", mine)
    reseal(mine.parent)
    with pytest.raises(CheckpointError, match="do not belong together"):
        go_on(stopped)


def test_state_that_restores_only_a_part_is_refused(stopped, data):
    """A tensor that is missing although every checksum is right, and a foreign one."""
    state = stopped.out / "checkpoints" / "last" / "state"
    path = state / "optimizer.safetensors"
    tensors = safetensors.torch.load_file(path)
    for spoil in ("missing", "foreign"):
        spoiled = dict(tensors)
        one = next(iter(spoiled))
        value = spoiled.pop(one)
        if spoil == "foreign":
            spoiled["exp_avg:model.nowhere"] = value
        safetensors.torch.save_file(spoiled, path)
        record = json.loads((state / "state.json").read_text())
        record["files"]["optimizer.safetensors"] = hashed_files.sha256(path)
        (state / "state.json").write_text(json.dumps(record))
        reseal(state.parent)
        with pytest.raises(CheckpointError, match="does not hold what"):
            go_on(stopped)


# ---------------------------------------------------------------------------- disks, kills


@pytest.mark.parametrize("room", ["no room for weights", "no room for the optimiser"])
def test_a_full_disk_costs_the_newest_checkpoint_alone(
    room, data, undisturbed, tmp_path, monkeypatch
):
    """Files may not grow beyond a limit while step 8 is kept: the system refuses to write."""
    run = config_of(data, tmp_path / "run")
    weights = undisturbed.checkpoints / "last" / "model.safetensors"
    limit = 2000 if room == "no room for weights" else weights.stat().st_size + 100
    before = {}

    def on_a_full_disk(keep):
        before.update(contents(run.out / "checkpoints" / "last"))
        kept = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, kept[1]))
        try:
            keep()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, kept)

    with monkeypatch.context() as patch:
        before_keeping(patch, 8, on_a_full_disk)
        with pytest.raises(OutputError) as refused:
            start(run)
    said = str(refused.value)
    assert said.startswith(f"the checkpoint of step 8 is lost, cannot write {run.out}")
    assert os.strerror(errno.EFBIG) in said
    assert said.endswith(
        "step 6 is kept: --resume continues from it once that folder can be written"
    )
    assert before == contents(run.out / "checkpoints" / "last") != {}
    assert sorted(p.name for p in (run.out / "checkpoints").iterdir()) == ["best", "last"]
    assert outcome(go_on(run)) == outcome(undisturbed)


def test_a_kill_between_the_two_renames_of_a_swap_loses_nothing(stopped, undisturbed):
    checkpoints = stopped.out / "checkpoints"
    aside = checkpoints / ".last.old.abcdefgh"
    aside.mkdir()
    (checkpoints / "last").rename(aside / "last")
    shutil.copytree(aside / "last", checkpoints / ".last.defghijk")
    (checkpoints / ".last.defghijk" / "checkpoint.json").unlink()
    (checkpoints / ".best.ghijklmn").mkdir()
    resumed = go_on(stopped)
    assert sorted(p.name for p in checkpoints.iterdir()) == ["best", "last"]
    assert outcome(resumed) == outcome(undisturbed)


def test_weights_that_are_lost_do_not_replace_good_ones(data, tmp_path, monkeypatch):
    run = config_of(data, tmp_path / "run")
    plain = CheckpointManager.save

    def keep(self, names, at, figures):
        if at.step == 8:
            next(self._engine.task.parameters()).data.fill_(float("nan"))
        plain(self, names, at, figures)

    monkeypatch.setattr(CheckpointManager, "save", keep)
    with pytest.raises(TrainingError, match="no longer finite at step 8"):
        start(run)
    assert checkpoint_format.read_record(run.out / "checkpoints" / "last").step == 6
    assert checkpoint_format.read_record(run.out / "checkpoints" / "best").step == 4


def test_no_file_of_a_run_holds_code(undisturbed):
    """Every file is of a kind that is read without running anything, and really of that kind."""
    for path in undisturbed.path.rglob("*"):
        if path.is_dir() or path.parent == undisturbed.tensorboard:
            continue
        if path.suffix == ".safetensors":
            assert safetensors.torch.load_file(path)
        elif path.suffix == ".parquet":
            assert path.read_bytes()[:4] == b"PAR1"
        elif path.suffix == ".json":
            json.loads(path.read_text())
        else:
            assert path.name in ("config.yaml", "log.jsonl")
