"""The files of a run: their names, defined only here, and their content.

    RUN/
      lease.json         the process that is writing, while there is one (runs/lease.py)
      config.yaml        the resolved configuration, as `itrec train --config` reads it, with the
                         precision that engine.precision=auto was resolved to
      manifest.json      the manifest of the data that the run was trained on
      environment.json   versions, hardware, commit, command, seed
      log.jsonl          one JSON object per line, see below
      tensorboard/       the same scalars for TensorBoard
      checkpoints/best/  model.safetensors, config.yaml, items.parquet, checkpoint.json
      checkpoints/last/  the newest state, also within an epoch if configured: the same files and
                         state/, from which `itrec train --resume` continues (training_state.py);
                         older ones of both kinds are named best-STEP and last-STEP
      evaluation.json    the final evaluation, see below; a run that has it is complete
      trackers.json      of a run that is logged to experiment trackers, its name at each of them
      samples.json       a few users' windows with titles: watched, actual next, predicted
      test_windows.parquet   of a baseline, a sweep's finalist or a study's run, what it found for
                         each window of the test split (evaluation/per_window.py)

Lines of `log.jsonl` have `event` and `time` (seconds since the epoch, UTC), and

    start     kind ("train" | "baseline"), name, workers, batch_size, epochs, num_parameters,
              steps_per_epoch, batch_tokens (null where batches have batch_size rows),
              precision (that `engine.precision` was resolved to)
    progress  epoch (1-based), step (of the whole run), loss, windows_per_second,
              learning_rate, grad_norm
    epoch     epoch, step, seconds, windows_per_second, loss (mean training loss of the epoch),
              train and validation (each null or a Judgement), is_best, skipped (batches skipped
              because their loss was not finite)
    note      message
    restart   message (which workers were lost, and where the run continues), noticed (time at which
              the loss was noticed, null if the cluster only changed), step (to continue after),
              again (logged steps that are trained again), workers
    end       reason ("finished" | "stopped early" | "interrupted"), best_epoch (0 if no epoch
              was finished, null for a baseline), skipped (in all epochs), seconds

The line of an epoch comes before its checkpoint, which is written while training continues: lines
of the next epoch may precede it. What was logged but not saved is trained again.

A resumed run writes another `start`, a `note` that says where it continues, and again the lines of
what it trains again; the last line of an epoch counts. A run whose workers were lost does the same
with a `restart` instead of the note. An `end` before the last `start` is that of an interruption.

A Judgement (`metrics/judgement.py`) is what `evaluation.json` holds for each split, its figures in
groups:

    {"loss": 23.1 | null, "num_windows": 6903,
     "targets": {"num_targets": 34515, "untrained": 12, "left_out": 950},
     "unmasked": {"precision@5": 0.118, "hit_rate@5": 0.42, ...},
     "masked":   {... the same keys, what the user has seen left out of the ranking ...},
     "slices": [{"kind": "history length", "name": "5-9", "num_targets": 310,
                 "found": {"unmasked": {"5": 40, ...}, "masked": {...}}}, ...]}

with the metrics and cut-offs of the run's `evaluation` settings (for targets and slices see
`metrics/targets.py`; epochs have no slices), or, for predicted ratings,
{"loss": 0.71, "num_windows": 100021, "ratings": {"rmse": 0.8443,
"mae": 0.6641}}.

    evaluation.json: {"kind": "train" | "baseline", "name": ..., "checkpoint": "best",
                      "epoch": 14 | null, "seed": 0, "fingerprint": ...,
                      "splits": {"validation": Judgement, "test": Judgement}}
"""

import contextlib
import io
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from itrec_dist.errors import CheckpointError, OutputError
from itrec_dist.storage import atomic

BEST, LAST = "best", "last"
"""The two kinds of checkpoints."""


class RunDirectory:
    """Paths and files of one run; the module's docstring describes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.manifest = path / "manifest.json"
        self.environment = path / "environment.json"
        self.log = path / "log.jsonl"
        self.tensorboard = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.evaluation = path / "evaluation.json"
        self.samples = path / "samples.json"
        self.trackers = path / "trackers.json"
        self.test_windows = path / "test_windows.parquet"

    @classmethod
    def existing(cls, path: Path) -> "RunDirectory":
        """Open a run that must exist.

        Raises:
            CheckpointError: `path` is not a run directory.
        """
        run = cls(path)
        if not run.config.is_file():
            raise CheckpointError(
                f"{path} is not a run directory (it has no config.yaml): "
                "give a folder that `itrec train` or `itrec baselines` wrote"
            )
        return run

    @property
    def is_complete(self) -> bool:
        """Whether the run was trained and evaluated to the end."""
        return self.evaluation.is_file()

    def append(self, event: str, **fields: Any) -> None:
        """Add one line to the log; a number that is not finite is written as null.

        Raises:
            OutputError: the disk is full or the log is not writable; it is then unchanged.
        """
        entry = {"event": event, "time": round(time.time(), 3), **fields}
        line = json.dumps(_finite(entry), allow_nan=False).encode()
        try:
            with self.log.open("ab+", buffering=0) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - 1, 0))
                if file.read() not in (b"", b"\n"):
                    line = b"\n" + line  # a crash truncated the last line: start a new one
                _write_whole(file, line + b"\n", size)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.log}: {error.strerror or error}; its lines so far are intact: "
                "free some space, then --resume continues from the last checkpoint"
            ) from error

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log's lines, all or those of one event; truncated lines are skipped."""
        if not self.log.is_file():
            return []
        entries = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if event is None or entry.get("event") == event:
                entries.append(entry)
        return entries

    def read_json(self, path: Path) -> Any:
        """Read one of this run's JSON files.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CheckpointError(f"the run in {self.path} has no {path.name}") from error
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error

    def write_json(self, path: Path, content: Any) -> None:
        """Write one of this run's JSON files atomically."""
        atomic.write_json(path, content)


def _write_whole(file: io.FileIO, content: bytes, size: int) -> None:
    """Append all of `content` to a file of `size` bytes, or nothing if the disk fills up."""
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(size)
        raise


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
