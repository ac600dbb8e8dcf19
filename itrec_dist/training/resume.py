"""Going on with an unfinished run: what has to hold before any worker is started.

A run goes on only as what it was: other data, or a setting that changes what is learned or how
epochs are compared, is refused by name.
"""

import contextlib
from pathlib import Path
from typing import Any

from itrec_dist import config
from itrec_dist.config.fields import FREE, marked
from itrec_dist.data.manifest import Manifest
from itrec_dist.errors import CheckpointError, ConfigError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import retention, training_state
from itrec_dist.runs.checkpoints.format import Record
from itrec_dist.runs.checkpoints.retention import BEST, LAST
from itrec_dist.runs.checkpoints.training_state import State
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage import atomic
from itrec_dist.training.config import RunConfig
from itrec_dist.training.precision import precision_of, with_precision


def check(run: RunConfig, data: Manifest) -> None:
    """Refuse a resumption that cannot give what the undisturbed run would have given.

    Raises:
        CheckpointError: there is nothing to resume, the run is complete, or its checkpoint is
            damaged, incomplete or of another version.
        ConfigError: the data or a setting differs.
    """
    directory = RunDirectory(run.folder)
    if not directory.config.is_file():
        raise CheckpointError(
            f"{run.out} holds no run to resume: leave --resume out to start one there"
        )
    if directory.is_complete:
        raise CheckpointError(
            f"the run in {run.out} is complete: nothing is left to resume; --overwrite trains it "
            "anew, another --out beside it"
        )
    retention.recover(directory.checkpoints)
    last = directory.checkpoints / LAST
    if not last.is_dir():
        raise CheckpointError(
            f"the run in {run.out} has no checkpoint yet: start it again with --overwrite in place "
            "of --resume"
        )
    record, state = _whole(last)
    if record.fingerprint != data.fingerprint:
        raise ConfigError(
            f"{run.shards} holds other data (fingerprint {data.fingerprint[:12]}) than the run in "
            f"{run.out} was trained on ({record.fingerprint[:12]}): give the shards it began with"
        )
    if state.position.best_epoch:
        _refuse_another_best(checkpoint_format.verify(directory.checkpoints / BEST), state)
    _refuse_other_settings(run, last / checkpoint_format.CONFIG_FILE)


def _whole(last: Path) -> tuple[Record, State]:
    """The checkpoint to go on from, looked through.

    Raises:
        CheckpointError: it is damaged; the message says which older one is not, and what to do.
    """
    try:
        return checkpoint_format.verify(last), training_state.read(last, verify=True)
    except CheckpointError as error:
        older = next(filter(_is_whole, retention.older_ones(last.parent, LAST)), None)
        if older is None:
            raise
        raise CheckpointError(
            f"{error}; {older.name} beside it is whole: remove {last} and resume again to go on "
            "from there"
        ) from error


def _is_whole(place: Path) -> bool:
    with contextlib.suppress(CheckpointError):
        checkpoint_format.verify(place)
        training_state.read(place, verify=True)
        return True
    return False


def _refuse_another_best(best: Record, state: State) -> None:
    """A later epoch is trained again to the same figures; an earlier one is not the best."""
    if best.epoch < state.position.best_epoch:
        raise CheckpointError(
            f"{state.folder.parent} says that epoch {state.position.best_epoch} was the best, "
            f"{BEST} beside it is of epoch {best.epoch}: they do not belong together"
        )


def take_up(directory: RunDirectory) -> State | None:
    """The state from which a worker that starts goes on; None if the run has no checkpoint yet.

    Nobody else may write there: the workers before are gone.

    Raises:
        CheckpointError: the checkpoint is damaged, incomplete or of another version.
    """
    retention.recover(directory.checkpoints)
    last = directory.checkpoints / LAST
    return training_state.read(last, verify=True) if last.is_dir() else None


def prepare(run: RunConfig, environment: dict[str, Any]) -> RunDirectory:
    """Bring the run directory to the settings that hold from here on.

    What the run began on stays in `environment.json`; each resumption is added to `resumed`.

    Raises:
        OutputError: the place cannot be written.
    """
    directory = RunDirectory(run.folder)
    settled = with_precision(run, precision_of(directory))
    atomic.write_text(directory.config, config.to_yaml(settled))
    began = directory.read_json(directory.environment)
    began["resumed"] = [*began.get("resumed", []), environment]
    directory.write_json(directory.environment, began)
    return directory


def _refuse_other_settings(run: RunConfig, path: Path) -> None:
    try:
        began = config.load(RunConfig, path)
    except ConfigError as error:
        raise CheckpointError(f"{path} is of another version or damaged: {error}") from error
    before = config.flat(began)
    run = with_precision(run, began.engine.precision)
    free = marked(run, FREE)
    differing = [
        f"{name}={value} (it began with {before.get(name, 'another kind')})"
        for name, value in config.flat(run).items()
        if name not in free and value != before.get(name)
    ]
    if differing:
        raise ConfigError(
            f"the run in {run.out} cannot go on with {', '.join(differing)}: resume it with "
            f"--config {run.folder / 'config.yaml'}, or train another run"
        )
