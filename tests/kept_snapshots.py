"""Small checkpoints made by hand, and file operations that stop in the middle."""

import os
import shutil
import tempfile
from pathlib import Path

import torch

from itrec_dist.engines.optimizer_state import OptimizerState
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import training_state
from itrec_dist.runs.checkpoints.training_state import Position, Provenance
from itrec_dist.runs.checkpoints.writer import CheckpointConfig, CheckpointWriter, Snapshot
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage import hashed_files
from itrec_dist.storage import tensors as tensor_files

MADE = Provenance(engine="single", world_size=1, fingerprint="f", is_streamed=False)


class Killed(BaseException):
    """The end of a process, after which it does nothing more."""


def snapshot(step: int, kinds=("best", "last")) -> Snapshot:
    """A snapshot whose every tensor holds its step."""
    tensor = torch.full((3, 4), float(step))
    optimizer = OptimizerState(
        tensors={"exp_avg:weight": tensor}, plain={}, groups=[["weight"]], rates=[0.1],
        schedule_step=step, scaler={},
    )  # fmt: skip
    workers = {
        name: [value]
        for name, value in training_state.worker_state(Position(), torch.device("cpu")).items()
    }
    at = Position(epoch=step, step=step, best_epoch=step)
    return Snapshot(kinds, at, MADE, {}, {"weight": tensor}, optimizer, workers)


def run_directory(folder: Path) -> RunDirectory:
    """A run directory with what a checkpoint copies."""
    folder.mkdir(parents=True, exist_ok=True)
    run = RunDirectory(folder)
    run.config.write_text("seed: 1\n")
    run.manifest.write_text("{}")
    run.environment.write_text('{"run": "one"}')
    (folder / "items.parquet").write_bytes(b"PAR1")
    return run


def writer_of(run: RunDirectory, afterwards=None, **keeps) -> CheckpointWriter:
    """Writes into `run_directory`."""
    return CheckpointWriter(run, run.path / "items.parquet", CheckpointConfig(**keeps), afterwards)


def write(writer: CheckpointWriter, *steps: int, kinds=("best", "last")) -> None:
    """Write checkpoints and wait for each."""
    for step in steps:
        writer.start(snapshot(step, kinds))
        writer.wait()


def steps_of(checkpoints: Path) -> dict[str, int]:
    """Name -> step of every checkpoint, each of them looked through; hidden ones do not count."""
    found = {}
    for place in sorted(p for p in checkpoints.iterdir() if not p.name.startswith(".")):
        record = checkpoint_format.verify(place)
        assert checkpoint_format.read_weights(place)["weight"][0, 0] == record.step
        if place.name.startswith("last"):
            assert training_state.verify(place)[1].position.step == record.step
        found[place.name] = record.step
    return found


class Operations:
    """Counts what is done to files, and lets one of it fail."""

    PLACES = (
        (Path, "rename"), (Path, "replace"), (Path, "mkdir"), (Path, "unlink"), (Path, "chmod"),
        (Path, "rmdir"), (shutil, "rmtree"), (tempfile, "mkdtemp"), (hashed_files, "copy"),
        (hashed_files, "write"), (tensor_files, "write"), (os, "fsync"),
    )  # fmt: skip

    def __init__(self, patch, failing: int, error: BaseException, *, for_good: bool) -> None:
        """Raise `error` at operation `failing`, and with `for_good` at each one after it."""
        self.count = 0
        self._failing, self._error, self._for_good = failing, error, for_good
        for owner, name in self.PLACES:
            patch.setattr(owner, name, self._counted(getattr(owner, name), name))

    def _counted(self, plain, name):
        def counted(*args, **kwargs):
            number, self.count = self.count, self.count + 1
            if number == self._failing or (self._for_good and number > self._failing):
                if number == self._failing:
                    self._half(name, args)
                if isinstance(self._error, OSError) and kwargs.get("ignore_errors"):
                    return None
                raise self._error
            return plain(*args, **kwargs)

        return counted

    @staticmethod
    def _half(name, args):
        """What takes long is cut in the middle: half a tree is gone, half a file is there."""
        if name in ("write", "copy"):
            with Path(args[1 if name == "copy" else 0]).open("wb") as file:
                file.write(b"half")
        elif name == "rmtree" and Path(args[0]).is_dir():
            for path in list(Path(args[0]).glob("*.json")):
                path.open("w").close()
