"""`itrec train --local` and `itrec evaluate` from the command line to the files they leave."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from itrec_dist.data import manifest
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.tasks.next_items.windows import WindowConfig, window
from tests.fixtures import CUT, DEBUG_RECIPE
from tests.shards_factory import make_shards, random_windows

EPOCHS = 4  # of the fixture `trained`


def train_arguments(shards, out, *more):
    return ["train", "--local", "--config", DEBUG_RECIPE, "--shards", shards, "--out", out, *more]


def losses(run):
    return [event["loss"] for event in RunDirectory(run).events("epoch")]


def contents(folder):
    """Every file under a folder with its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_leaves_the_files_that_are_documented(trained, shards):
    run = RunDirectory(trained)
    names = {p.name for p in trained.iterdir()}
    assert names == {
        "config.yaml", "manifest.json", "environment.json", "log.jsonl", "tensorboard",
        "checkpoints", "evaluation.json", "samples.json",
    }  # fmt: skip
    assert run.is_complete
    assert {p.name for p in run.checkpoints.iterdir()} == {"best", "last"}
    assert run.read_json(run.manifest) == json.loads((shards / "manifest.json").read_text())
    environment = run.read_json(run.environment)
    assert environment["seed"] == 0
    assert environment["packages"]["torch"]
    settings = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    assert settings["training"]["epochs"] == EPOCHS
    assert Path(settings["shards"]) == shards


def test_the_log_records_the_run_from_start_to_end(trained, shards):
    described = manifest.read(shards)
    events = RunDirectory(trained).events()
    kinds = [event["event"] for event in events if event["event"] != "progress"]
    assert kinds == ["start", *["epoch"] * EPOCHS, "end"]
    assert [e["time"] for e in events] == sorted(e["time"] for e in events)
    start, end = events[0], events[-1]
    steps = -(-described.num_windows("train") // 32)
    assert start.items() >= {
        "kind": "train", "name": "ITE bce both", "workers": 1, "batch_size": 32,
        "epochs": EPOCHS, "steps_per_epoch": steps,
    }.items()  # fmt: skip
    epochs = RunDirectory(trained).events("epoch")
    assert [e["epoch"] for e in epochs] == [1, 2, 3, 4]
    assert [e["step"] for e in epochs] == [steps * e["epoch"] for e in epochs]
    for event in epochs:
        assert event["train"]["num_windows"] == 200
        assert event["validation"]["num_windows"] == described.num_windows("validation")
        assert event["windows_per_second"] > 0
    assert end["reason"] == "finished"
    assert end["best_epoch"] == max(e["epoch"] for e in epochs if e["is_best"])
    assert losses(trained)[-1] < losses(trained)[0]


def test_progress_lines_are_as_frequent_as_configured(shards, tmp_path, itrec):
    code, _, err = itrec(
        *train_arguments(shards, tmp_path / "run", "--training.log_seconds", 0),
        "--training.epochs", 1, "--optimizer.clip_norm", 1,
    )  # fmt: skip
    assert code == 0, err
    run = RunDirectory(tmp_path / "run")
    progress = run.events("progress")
    assert [p["step"] for p in progress] == list(range(1, len(progress) + 1))
    assert len(progress) == run.events("start")[0]["steps_per_epoch"]
    for line in progress:
        assert line["epoch"] == 1
        assert line["learning_rate"] > 0
        assert line["grad_norm"] > 0
    sizes = [32] * (len(progress) - 1)
    sizes.append(manifest.read(shards).num_windows("train") - sum(sizes))
    total = sum(p["loss"] * size for p, size in zip(progress, sizes, strict=True))
    assert sizes[-1] < 32  # the last batch is a short one
    assert total / sum(sizes) == pytest.approx(losses(tmp_path / "run")[0], rel=1e-4)


def test_tensorboard_shows_the_figures_of_the_log(trained):
    board = EventAccumulator(str(trained / "tensorboard"))
    board.Reload()
    epochs = RunDirectory(trained).events("epoch")
    shown = {tag: [s.value for s in board.Scalars(tag)] for tag in board.Tags()["scalars"]}
    assert shown["epoch/loss"] == pytest.approx(losses(trained))
    for split in ("train", "validation"):
        for ranking in ("unmasked", "masked"):
            for name in epochs[0][split][ranking]:
                logged = [e[split][ranking][name] for e in epochs]
                assert shown[f"{split}/{ranking}/{name}"] == pytest.approx(logged)


def test_the_best_checkpoint_is_of_the_best_epoch_by_the_monitor(trained):
    figures = [
        e["validation"]["unmasked"]["precision@5"] for e in RunDirectory(trained).events("epoch")
    ]
    best = figures.index(max(figures)) + 1  # the first of equals
    record = checkpoint_format.read_record(trained / "checkpoints" / "best")
    assert record.epoch == best
    assert record.monitor == {"unmasked/precision@5": max(figures)}
    assert checkpoint_format.read_record(trained / "checkpoints" / "last").epoch == EPOCHS
    evaluation = json.loads((trained / "evaluation.json").read_text())
    assert evaluation["epoch"] == best
    logged = RunDirectory(trained).events("epoch")[best - 1]["validation"]
    judged = evaluation["splits"]["validation"]
    assert judged.pop("slices"), "which only the last evaluation has"
    assert judged == logged


def test_a_falling_monitor_chooses_the_lowest_and_patience_ends_the_run(shards, tmp_path, itrec):
    """At a rate this high the validation loss soon rises."""
    out = tmp_path / "run"
    code, _, err = itrec(
        *train_arguments(shards, out, "--training.monitor", "loss", "--training.patience", 2),
        "--training.epochs", 60, "--optimizer.learning_rate", 0.2,
    )  # fmt: skip
    assert code == 0, err
    run = RunDirectory(out)
    found = [e["validation"]["loss"] for e in run.events("epoch")]
    end = run.events("end")[0]
    assert end["reason"] == "stopped early"
    assert len(found) < 60
    assert end["best_epoch"] == found.index(min(found)) + 1 == len(found) - 2
    assert checkpoint_format.read_record(run.checkpoints / "best").monitor == {"loss": min(found)}


def test_without_validation_the_newest_epoch_is_kept_and_no_figure_is_claimed(
    ratings_folder, tmp_path, itrec
):
    cut = WindowConfig(top_items=60, validation_fraction=0.0, stride=4, threads=1)
    window("ml-1m", ratings_folder, tmp_path / "shards", cut)
    code, _, err = itrec(*train_arguments(tmp_path / "shards", tmp_path / "run"))
    assert code == 0, err
    run = RunDirectory(tmp_path / "run")
    assert run.read_json(run.evaluation)["splits"] == {}
    assert [e["validation"] for e in run.events("epoch")] == [None, None]
    record = checkpoint_format.read_record(run.checkpoints / "best")
    assert (record.epoch, record.monitor) == (2, {})


def test_the_same_seed_gives_the_same_figures_and_another_does_not(shards, tmp_path, itrec):
    runs = [tmp_path / name for name in "abc"]
    for run, seed in zip(runs, (5, 5, 6), strict=True):
        code, _, err = itrec(*train_arguments(shards, run, "--seed", seed), "--model.dropout", 0.3)
        assert code == 0, err
    a, b, c = runs
    assert losses(a) == losses(b)
    assert losses(a) != losses(c)
    evaluations = [json.loads((run / "evaluation.json").read_text())["splits"] for run in runs]
    assert evaluations[0] == evaluations[1] != evaluations[2]


# Overwriting, printing the configuration


def test_an_existing_run_is_refused_untouched_and_overwritten_on_request(shards, tmp_path, itrec):
    out = tmp_path / "run"
    again = train_arguments(shards, out, "--training.epochs", 1)
    assert itrec(*again)[0] == 0
    (out / "stray.txt").write_text("mine")
    before = contents(out)
    code, shown, err = itrec(*again)
    assert (code, shown) == (2, "")
    assert err == (
        f"itrec: error: {out} already exists: choose another place, or pass --overwrite to "
        "replace it\n"
    )
    assert contents(out) == before
    assert itrec(*again, "--overwrite")[0] == 0
    assert not (out / "stray.txt").exists()


def test_a_folder_that_is_no_run_is_never_overwritten(shards, tmp_path, itrec):
    (tmp_path / "thesis.txt").write_text("three years")
    code, _, err = itrec(*train_arguments(shards, tmp_path, "--overwrite"))
    assert code == 2
    assert "holds no config.yaml" in err
    assert contents(tmp_path) == {Path("thesis.txt"): b"three years"}


def test_the_printed_configuration_reads_back_to_the_same(shards, tmp_path, capsys):
    from itrec_dist.cli.app import main

    def printed(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        assert left.value.code == 0
        return capsys.readouterr().out

    first = printed(
        *train_arguments(shards, "runs/a b", "--optimizer.clip_norm", 0.5, "--seed", 9),
        "--print-config",
    )
    recipe = tmp_path / "printed.yaml"
    recipe.write_text(first, encoding="utf-8")
    assert printed("train", "--config", recipe, "--print-config") == first
    settings = yaml.safe_load(first)
    assert settings["seed"] == 9
    assert settings["optimizer"]["clip_norm"] == 0.5
    assert settings["model"]["width"] == 16
    assert not Path("runs/a b").exists()


# What is refused


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--model.widht", 8], "did you mean model.width"),
        (["--training.epochs", "many"], "training.epochs must be a whole number"),
        (["--loss", "hinge"], "one of"),
        (["--training.epochs", 0], "at least 1"),
        (["--training.batch_size", 33, "--engine.accumulate", 2], "multiple of 2"),
        (["--shards", "no/such/folder"], "holds no manifest.json"),
        (["--training.monitor", "accuracy"], "unmasked/precision@5"),
        (["--training.patience", 0], "at least 1, or null"),
        (["--model.num_heads", 3], "does not divide"),
        (["--model.dropout", 1], "0 <= p < 1"),
        (["--seed", -1], "at least 0"),
        (["--feed.shuffle_buffer", 0], "at least 1"),
        (["--evaluation.batch_size", 0], "at least 1"),
        (["--cluster.threads", 0], "at least 1"),
        (["--optimizer.learning_rate", ".inf"], "above 0"),
        (["--optimizer.schedule", "cyclic"], "one of"),
        (["--config", "no/such/recipe.yaml"], "cannot read the recipe"),
        (["stray"], "'stray'"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_sentence_and_code_2(given, told, shards, tmp_path, itrec):
    code, shown, err = itrec(*train_arguments(shards, tmp_path / "run"), *given)
    assert code == 2
    assert shown == ""
    assert err.startswith("itrec: error: ")
    assert err.count("\n") == 1
    assert told in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("splits", "given", "told"),
    [
        ({"train": 0, "validation": 5}, [], "has no training windows"),
        ({"train": 8}, ["--training.patience", 1], "needs validation windows"),
    ],
)
def test_unusable_shards_are_refused(splits, given, told, tmp_path, itrec):
    made = {split: random_windows(rows) for split, rows in splits.items()}
    make_shards(tmp_path / "shards", made, num_files=1)
    code, _, err = itrec(*train_arguments(tmp_path / "shards", tmp_path / "run"), *given)
    assert code == 2
    assert told in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("level", "told"), [("user", "user features"), ("movie", "item features")])
def test_side_information_that_the_data_lacks_is_refused(level, told, shards, tmp_path, itrec):
    bare = tmp_path / "bare"
    shutil.copytree(shards, bare)
    described = json.loads((bare / "manifest.json").read_text())
    described["user_features" if level == "user" else "item_features"] = []
    (bare / "manifest.json").write_text(json.dumps(described))
    code, _, err = itrec(
        *train_arguments(bare, tmp_path / "run", "--model.side_information", level)
    )
    assert code == 2
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_written_is_one_sentence(shards, tmp_path, itrec):
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "run"):
        code, _, err = itrec(*train_arguments(shards, out, "--overwrite"))
        assert code == 2
        assert err.startswith("itrec: error: ")
        assert err.count("\n") == 1
    assert file.read_text() == "mine"


def test_shards_without_their_users_are_refused_before_training(shards, tmp_path, itrec):
    broken = tmp_path / "broken"
    shutil.copytree(shards, broken)
    (broken / "users.parquet").unlink()
    code, shown, err = itrec(*train_arguments(broken, tmp_path / "run"))
    assert code == 2
    assert err == (f"itrec: error: {broken / 'users.parquet'} is missing: window the data again\n")
    assert "epoch   1/" not in shown


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_shard_is_named(damage, shards, tmp_path, itrec):
    broken = tmp_path / "broken"
    shutil.copytree(shards, broken)
    part = broken / "train" / "part-00001.parquet"
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:200])
    else:
        part.unlink()
    code, _, err = itrec(*train_arguments(broken, tmp_path / "run"))
    assert code == 2
    assert str(part) in err
    assert "window the data again" in err
    assert err.count("\n") == 1


# Interruption, in a process of its own


def start_long_training(shards, out):
    """A training that would last for minutes, after its second epoch."""
    arguments = train_arguments(shards, out, "--training.epochs", 100_000)
    program = (  # a suite in the background of a shell hands its children an ignored SIGINT
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from itrec_dist.cli.app import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    run = RunDirectory(out)
    deadline = time.monotonic() + 120
    while len(run.events("epoch")) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no epoch in two minutes"
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="SIGINT"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_ends_in_order(number, code, shards, tmp_path, itrec):
    out = tmp_path / "run"
    process = start_long_training(shards, out)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == "itrec: interrupted\n"
    run = RunDirectory(out)
    lines = run.log.read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line) for line in lines)
    end = json.loads(lines[-1])
    assert (end["event"], end["reason"]) == ("end", "interrupted")
    assert end["best_epoch"] == checkpoint_format.read_record(run.checkpoints / "best").epoch
    assert not run.is_complete
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["best", "last"]
    for name in ("best", "last"):
        assert itrec("evaluate", out, "--checkpoint", name)[0] == 0


@pytest.mark.slow
def test_the_command_as_a_process_writes_plain_lines(shards, tmp_path):
    arguments = train_arguments(shards, "run", "--training.epochs", 1)
    done = subprocess.run(
        [sys.executable, "-m", "itrec_dist", *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    assert shown[0].startswith("ITE bce both: ")
    assert shown[1].startswith("epoch   1/1  loss ")
    assert shown[-1] == "run: run"
    assert "\x1b" not in done.stdout


def test_the_shards_of_the_fixture_have_every_split(shards):
    assert all(manifest.read(shards).num_windows(s) > 40 for s in ("train", "validation", "test"))
    assert manifest.read(shards).settings["stride"] == CUT.stride
