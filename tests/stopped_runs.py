"""Small runs that are stopped at a given step and taken up again, for tests of resuming."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from itrec_dist.data.feeds import FeedConfig
from itrec_dist.distributed.context import LocalContext
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.models.ite import ITEConfig
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints.manager import CheckpointManager
from itrec_dist.runs.checkpoints.writer import CheckpointConfig
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.log import Recorder
from itrec_dist.storage import hashed_files
from itrec_dist.system import environment
from itrec_dist.training import resume, worker
from itrec_dist.training.config import ClusterConfig, EvaluationConfig, RunConfig, check, prepare
from itrec_dist.training.loop import TrainingConfig
from tests.shards_factory import make_shards, random_windows

STEPS_PER_EPOCH = 4  # 29 windows in batches of 8


class Stopped(Exception):  # noqa: N818 - it is no error
    """The end of a process, in the place where it is asked for."""


def make_data(folder: Path) -> Path:
    """Shards of 29 training windows in two files, and validation and test windows."""
    splits = {
        "train": random_windows(29),
        "validation": random_windows(20, seed=1, first_id=29),
        "test": random_windows(20, seed=2, first_id=49),
    }
    make_shards(folder, splits)
    return folder


def config_of(shards: Path, out: Path, **changes) -> RunConfig:
    """Three epochs with dropout, accumulation, clipping, patience, and a save every 3 steps."""
    sections = {
        "model": ITEConfig(
            width=16, num_layers=1, num_heads=2, feedforward_width=16, dropout=0.3,
            movie_feature_width=4,
        ),
        "optimizer": OptimizerConfig(learning_rate=0.02, clip_norm=5.0),
        "training": TrainingConfig(
            epochs=3, batch_size=8, monitor="loss", patience=2, log_seconds=0
        ),
        "checkpoints": CheckpointConfig(steps=3),
        "engine": EngineConfig(accumulate=2, precision="fp32"),
        "feed": FeedConfig(cache="host"),
        "evaluation": EvaluationConfig(batch_size=8, train_sample=8),
        "cluster": ClusterConfig(threads=1),
    }  # fmt: skip
    for name, change in changes.items():
        sections[name] = replace(sections[name], **change)
    return RunConfig(shards=shards, out=out, **sections)


def start(run: RunConfig, context=None, stop_at: int | None = None) -> RunDirectory:
    """Train anew, up to the middle of a step if one is given."""
    context = context or LocalContext(torch.device("cpu"), threads=1)
    if context.rank == 0:
        prepare(run, check(run, context.world_size), environment.record(run.seed))
    context.sum(torch.zeros(1))
    return _work(run, context, stop_at)


def go_on(run: RunConfig, context=None, stop_at: int | None = None) -> RunDirectory:
    """Take a run up again as the command does."""
    context = context or LocalContext(torch.device("cpu"), threads=1)
    point = []
    if context.rank == 0:
        point = [resume.load(run, check(run, context.world_size))]
        resume.prepare(run, environment.record(run.seed))
    context.sum(torch.zeros(1))
    return _work(run, context, stop_at, point.pop if point else None)


def _work(run, context, stop_at, take=None):
    class Recording(Recorder):
        def progress(self, **fields):
            super().progress(**fields)
            if fields["step"] == stop_at:
                raise Stopped

    kept, worker.Recorder = worker.Recorder, Recording
    try:
        worker.run_worker(run, context, take=take)
    except Stopped:
        pass
    finally:
        worker.Recorder = kept
    return RunDirectory(run.folder)


def before_keeping(monkeypatch, step, act) -> None:
    """Call `act(keep)` in place of the keeping of a step; `keep()` returns once it is written."""
    plain = CheckpointManager.save

    def keep(self, names, at, figures):
        def whole():
            plain(self, names, at, figures)
            self.wait()

        if at.step != step:
            return plain(self, names, at, figures)
        self.wait()
        return act(whole)

    monkeypatch.setattr(CheckpointManager, "save", keep)


def reseal(folder: Path) -> None:
    """Make the checksums those of the files, as if the checkpoint had been written so."""
    path = folder / checkpoint_format.RECORD_FILE
    record = json.loads(path.read_text())
    record["files"] = {n: hashed_files.sha256(folder / n) for n in record["files"]}
    path.write_text(json.dumps(record))


def outcome(run: RunDirectory) -> dict:
    """All that two runs must agree on: figures of each epoch, judgement, every tensor's bytes."""
    epochs = {e["epoch"]: e for e in run.events("epoch")}
    names = ("step", "loss", "train", "validation", "is_best")
    end = run.events("end")[-1]
    places = sorted(run.checkpoints.rglob("*.safetensors"))
    judged = json.loads(run.evaluation.read_text())
    return {
        "epochs": {at: {n: event[n] for n in names} for at, event in epochs.items()},
        "end": (end["reason"], end["best_epoch"]),
        "judged": {k: judged[k] for k in ("epoch", "splits")},
        "files": {str(p.relative_to(run.path)): p.read_bytes() for p in places},
    }


def losses(run: RunDirectory) -> list[float]:
    """The loss of each step, the last time it was trained."""
    found = {e["step"]: e["loss"] for e in run.events("progress")}
    return [found[step] for step in sorted(found)]
