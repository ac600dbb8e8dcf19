"""Resuming an unfinished run: the checks before any worker starts.

Different data is refused, and so is any changed setting that affects what is learned or how epochs
are compared.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from itrec_dist import config
from itrec_dist.config.fields import FREE, marked
from itrec_dist.data.manifest import Manifest
from itrec_dist.errors import CheckpointError, ConfigError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import retention, training_state
from itrec_dist.runs.checkpoints.format import Record
from itrec_dist.runs.checkpoints.training_state import ResumePoint, State
from itrec_dist.runs.directory import BEST, LAST, RunDirectory
from itrec_dist.storage import atomic
from itrec_dist.training.config import RunConfig
from itrec_dist.training.precision import precision_of, with_precision

T = TypeVar("T")


def check(run: RunConfig, data: Manifest) -> None:
    """Check that resuming a run gives the result of the uninterrupted run.

    Every file of its checkpoint is verified against its checksum, and none is kept in memory: for
    workers in other processes. `load` is for a worker in this process.

    Raises:
        CheckpointError: there is nothing to resume, the run is complete, or its checkpoint is
            damaged, incomplete or of another version.
        ConfigError: the data or a setting differs.
    """
    record, state = _readable(_last(run), training_state.verify)
    _check(run, data, record, state)


def load(run: RunConfig, data: Manifest) -> ResumePoint:
    """Check as `check` does, and return the checkpoint; each of its files is read once.

    Raises:
        CheckpointError: see `check`.
        ConfigError: see `check`.
    """
    point = _readable(_last(run), training_state.load)
    _check(run, data, point.record, point.state)
    return point


def _last(run: RunConfig) -> Path:
    directory = RunDirectory(run.folder)
    if not directory.config.is_file():
        raise CheckpointError(
            f"{run.out} holds no run to resume: leave --resume out to start one there"
        )
    if directory.is_complete:
        raise CheckpointError(
            f"the run in {run.out} is complete: there is nothing to resume; use --overwrite to "
            "train it again, or another --out to keep both"
        )
    retention.finish_interrupted(directory.checkpoints)
    last = directory.checkpoints / LAST
    if not last.is_dir():
        raise CheckpointError(
            f"the run in {run.out} has no checkpoint yet: start it again with --overwrite in place "
            "of --resume"
        )
    return last


def _check(run: RunConfig, data: Manifest, record: Record, state: State) -> None:
    if record.fingerprint != data.fingerprint:
        raise ConfigError(
            f"{run.shards} holds other data (fingerprint {data.fingerprint[:12]}) than the run in "
            f"{run.out} was trained on ({record.fingerprint[:12]}): give the original shards"
        )
    last = state.folder.parent
    if state.position.best_epoch:
        _check_best(checkpoint_format.verify(last.with_name(BEST)), state)
    _check_settings(run, last / checkpoint_format.CONFIG_FILE)


def _readable(last: Path, read: Callable[[Path], T]) -> T:
    """What `read` returns for the newest checkpoint.

    Raises:
        CheckpointError: it is damaged; the message names an older intact one, if any.
    """
    try:
        return read(last)
    except CheckpointError as error:
        older = next(filter(_is_undamaged, retention.older_ones(last.parent, LAST)), None)
        if older is None:
            raise
        raise CheckpointError(
            f"{error}; {older.name} beside it is intact: remove {last} and resume again to "
            "continue from there"
        ) from error


def _is_undamaged(place: Path) -> bool:
    with contextlib.suppress(CheckpointError):
        training_state.verify(place)
        return True
    return False


def _check_best(best: Record, state: State) -> None:
    """Check that the best checkpoint is not older than the state says.

    A newer one is fine: its epoch is trained again, to the same metrics.
    """
    if best.epoch < state.position.best_epoch:
        raise CheckpointError(
            f"{state.folder.parent} says that epoch {state.position.best_epoch} was the best, "
            f"{BEST} beside it is of epoch {best.epoch}: they do not belong together"
        )


def load_last(directory: RunDirectory) -> ResumePoint | None:
    """The checkpoint that a starting worker resumes from; None if the run has none yet.

    No other process may write there: earlier workers must have ended.

    Raises:
        CheckpointError: the checkpoint is damaged, incomplete or of another version.
    """
    retention.finish_interrupted(directory.checkpoints)
    last = directory.checkpoints / LAST
    return training_state.load(last) if last.is_dir() else None


def prepare(run: RunConfig, environment: dict[str, Any]) -> RunDirectory:
    """Write the settings that apply from now on into the run directory.

    `environment.json` keeps the environment of the start; each resumption is added to `resumed`.

    Raises:
        OutputError: it cannot be written.
    """
    directory = RunDirectory(run.folder)
    settled = with_precision(run, precision_of(directory))
    atomic.write_text(directory.config, config.to_yaml(settled))
    began = directory.read_json(directory.environment)
    began["resumed"] = [*began.get("resumed", []), environment]
    directory.write_json(directory.environment, began)
    return directory


def _check_settings(run: RunConfig, path: Path) -> None:
    try:
        began = config.load(RunConfig, path)
    except ConfigError as error:
        raise CheckpointError(f"{path} is of another version or damaged: {error}") from error
    before = config.flat(began)
    run = with_precision(run, began.engine.precision)
    free = marked(run, FREE)
    differing = [
        f"{name}={value} (it started with {before.get(name, 'another kind')})"
        for name, value in config.flat(run).items()
        if name not in free and value != before.get(name)
    ]
    if differing:
        raise ConfigError(
            f"the run in {run.out} cannot continue with {', '.join(differing)}: resume it with "
            f"--config {run.folder / 'config.yaml'}, or train another run"
        )
