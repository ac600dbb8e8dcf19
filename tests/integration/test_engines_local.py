"""Every engine in one process without Ray, each in a process of its own as a person starts it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from itrec_dist.runs.directory import RunDirectory
from tests.fixtures import DEBUG_RECIPE

ENGINES = {
    "ddp": ["ddp"],
    "ZeRO-3": [
        "deepspeed", "--engine.deepspeed.stage", "3", "--engine.deepspeed.offload_optimizer",
        "true", "--engine.deepspeed.offload_parameters", "true",
    ],
    "fsdp": ["fsdp"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ZeRO-3", "ddp", "fsdp"])
def test_an_engine_works_alone_quietly_and_where_nothing_can_be_compiled(
    name, trained, shards, tmp_path
):
    """No compiler on PATH, and an empty place for what would be compiled."""
    (tmp_path / "bin").mkdir()
    git = shutil.which("git")
    if git:
        (tmp_path / "bin" / "git").symlink_to(git)
    place = tmp_path / "extensions"
    environment = {
        **os.environ, "PATH": str(tmp_path / "bin"), "TORCH_EXTENSIONS_DIR": str(place),
        "CXX": "no-such-compiler",
    }  # fmt: skip
    arguments = [
        "train", "--local", "--config", DEBUG_RECIPE, "--shards", shards,
        "--out", tmp_path / "run", "--training.epochs", 4, "--engine.name", *ENGINES[name],
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "itrec_dist", *map(str, arguments)],
        env=environment, cwd=Path(__file__).parents[2], timeout=300, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    assert [line[:9] for line in shown[1:5]] == [f"epoch   {i}" for i in (1, 2, 3, 4)], shown
    assert not place.exists(), "something was compiled"
    run, plain = RunDirectory(tmp_path / "run"), RunDirectory(trained)
    assert run.events("start")[0]["engine"] == ENGINES[name][0]
    assert run.is_complete
    for one, other in zip(run.events("epoch"), plain.events("epoch"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["step"] == other["step"]
