"""A sweep at a URI: its own files are written in a folder on this machine and sent from there.

    Session      the driver's side: the lease, what is there already, the sweep's own files
    WorkingRun   a trial's side: a run is trained as `itrec train` trains one at a URI
    readable     a reader's side: a copy without checkpoints

What the driver writes is sent with every line of the log. A run is sent by the worker that writes
it, and is whole there before its line is in the log: so a driver that dies takes nothing along, and
any machine can resume the sweep.
"""

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal

from itrec_dist.errors import CheckpointError, EnvironmentProblem, OutputError
from itrec_dist.runs import lease
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.remote import Mirror
from itrec_dist.storage import atomic, cache
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from itrec_dist.sweeps import RECIPE
from itrec_dist.sweeps.directory import SweepDirectory
from itrec_dist.training.config import RunConfig

Existing = Literal["refuse", "overwrite", "resume"]
"""What to do if the output holds a sweep already."""

_RUNS = ("trials", "finals")
_APART = (*_RUNS, "wandb", "mlruns", "ray")
_UNREAD = ("checkpoints", "tensorboard")  # folders of a run that no report of a sweep reads


class Session:
    """A session of the driver at a place; at a URI it sends what the driver writes.

    A context manager: the lease of a sweep at a URI is held until the end of the block.
    """

    def __init__(self, place: Uri | Path, existing: Existing, say: Callable[[str], None]) -> None:
        """Prepare the session; nothing is read or written yet.

        Raises:
            ConfigError: no file system handles its URI.
            EnvironmentProblem: its file system cannot be reached.
        """
        self._place, self._existing, self._say = place, existing, say
        self._mirror: Mirror | None = None
        self._outage = False
        self._held = contextlib.ExitStack()
        self.directory = SweepDirectory(place)
        if isinstance(place, Uri):
            self.directory = SweepDirectory(place, send=self._send)
            self._mirror = _mirror(self.directory)

    def __enter__(self) -> "Session":
        """Refuse, remove or fetch what is there already.

        Raises:
            OutputError: the place is taken, or cannot be written.
            EnvironmentProblem: the URI cannot be reached.
        """
        if self._mirror is None:
            self._begin_at_path()
        else:
            try:
                self._begin_at_uri(self._mirror)
            except BaseException:
                self._held.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """Release the lease; after an error the folder stays, with what could not be sent."""
        self._held.close()
        if self._mirror is not None and error is None:
            self._mirror.remove_local()

    def fetch_runs(self) -> None:
        """Copy the runs to this machine, without their checkpoints, for those who read them.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        if self._mirror is not None:
            _fetch_runs(self._mirror.store, self.directory.path)

    def finish(self) -> None:
        """Send everything that was not sent yet.

        Raises:
            OutputError: the URI cannot be reached; what the driver wrote is kept on this machine.
        """
        if self._mirror is None:
            return
        try:
            self.directory.clear_scratch()
            self._mirror.send_files()
        except (EnvironmentProblem, OSError) as error:
            raise OutputError(
                f"{error}; the sweep's own files are in {self.directory.path} on this machine: "
                "--resume here sends them once the URI can be reached"
            ) from error

    def _begin_at_path(self) -> None:
        place = self.directory.path
        if self._existing != "resume":
            atomic.refuse_taken(place, marker=RECIPE, overwrite=self._existing == "overwrite")
            atomic.remove(place)

    def _begin_at_uri(self, mirror: Mirror) -> None:
        locks: list[lease.Lock] = [
            lease.LocalLock(self.directory.path), lease.RemoteLock(mirror.store)
        ]  # fmt: skip
        if self._existing == "resume":
            if mirror.store.size(RECIPE) is None:
                raise CheckpointError(
                    f"{self._place} holds no sweep to resume: leave --resume out to start one there"
                )
        else:
            self._refuse_taken(mirror.store)
        for lock in locks:
            lease.refuse_held(lock)
        for lock in locks:
            self._held.enter_context(lease.held(lock))
        if self._existing == "resume":
            mirror.fetch_files()
            self.fetch_runs()
        else:
            self._refuse_taken(mirror.store)  # another sweep may have been started meanwhile
            mirror.clear()

    def _refuse_taken(self, store: Store) -> None:
        if store.size("") is not None:
            raise OutputError(f"{self._place} is a file, a folder is needed: choose another place")
        names = [name for name in store.files() if name != lease.FILE]
        if names:
            atomic.refuse_existing(self._place, overwrite=self._existing == "overwrite")
        if names and RECIPE not in names:
            raise OutputError(
                f"{self._place} holds no {RECIPE}, so it was not made by this command and "
                "--overwrite does not replace it: choose another place"
            )

    def _send(self) -> None:
        """Send the driver's files; an outage is said once, and what it kept back is sent later."""
        assert self._mirror is not None
        try:
            self._mirror.send_files()
            self._outage = False
        except (EnvironmentProblem, OSError) as error:
            if not self._outage:
                self._say(
                    f"warning: {error}; the sweep continues, its log is kept in "
                    f"{self.directory.path} and is sent once the URI can be reached"
                )
            self._outage = True


class WorkingRun:
    """A run of a trial where it is trained: at its path, or for a URI in a folder beside it.

    At a path all of this does nothing, but for `remove`.
    """

    def __init__(self, run: RunConfig) -> None:
        """Name the places; nothing is read or written.

        Raises:
            EnvironmentProblem: the file system of its URI cannot be reached.
        """
        self.directory = RunDirectory(run.folder)
        self._keeps = run.checkpoints.keeps
        self._mirror = Mirror(run.out, run.folder) if isinstance(run.out, Uri) else None

    def fetch(self, *, checkpoints: bool = False) -> None:
        """Copy what is at the URI and not here, and send what only this machine has.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        if self._mirror is None:
            return
        if checkpoints:
            self._mirror.fetch()
        else:
            self._mirror.fetch_files()
        evaluation = self.directory.evaluation
        if self.directory.is_complete and self._mirror.store.size(evaluation.name) is None:
            self._mirror.send(self._keeps)  # an outage had kept its end back

    def remove(self) -> None:
        """Remove the run, here and there.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        if self._mirror is None:
            atomic.remove(self.directory.path)
            return
        self.directory.path.mkdir(parents=True, exist_ok=True)
        self._mirror.clear()
        self._mirror.remove_local()

    def send(self) -> None:
        """Send the files other than checkpoints.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        if self._mirror is not None:
            self._mirror.send_files()

    def close(self) -> None:
        """Remove the folder of this machine."""
        if self._mirror is not None:
            self._mirror.remove_local()


def readable(place: Uri | Path) -> SweepDirectory:
    """A sweep whose files can be read on this machine; from a URI they are copied to it.

    Raises:
        CheckpointError: there is no sweep at the URI.
        EnvironmentProblem: the URI cannot be reached.
        OutputError: the disk of this machine is full.
    """
    if isinstance(place, Path):
        return SweepDirectory(place.resolve())
    if not is_sweep(place):
        raise CheckpointError(f"{place} is not a sweep directory (it has no {RECIPE})")
    directory = SweepDirectory(place, cache.cache("views", place))
    mirror = _mirror(directory)
    mirror.fetch_files()
    _fetch_runs(mirror.store, directory.path)
    return directory


def is_sweep(place: Uri | Path) -> bool:
    """Whether a place is a sweep directory.

    Raises:
        EnvironmentProblem: the URI cannot be reached.
    """
    if isinstance(place, Path):
        return (place / RECIPE).is_file()
    return Store(place).size(RECIPE) is not None


def copy_run(source: RunConfig, target: RunConfig, mark: str, content: object) -> None:
    """Replace a run at a URI by a copy of another; the file `mark` in it is sent last.

    Raises:
        EnvironmentProblem: the URI cannot be reached.
    """
    assert isinstance(source.out, Uri)
    assert isinstance(target.out, Uri)
    Mirror(source.out, source.folder).fetch()
    copy = RunDirectory(target.folder)
    copy.path.mkdir(parents=True, exist_ok=True)
    mirror = Mirror(target.out, target.folder, marker=mark)
    mirror.clear()
    shutil.copytree(
        source.folder, copy.path, dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(lease.FILE),
    )  # fmt: skip
    of_source = copy.read_json(copy.environment)
    copy.write_json(copy.environment, {**of_source, "run": uuid.uuid4().hex})
    copy.write_json(copy.path / mark, content)
    mirror.send(target.checkpoints.keeps)


def _mirror(directory: SweepDirectory) -> Mirror:
    assert isinstance(directory.place, Uri)
    return Mirror(directory.place, directory.path, marker=RECIPE, apart=_APART)


def _fetch_runs(store: Store, folder: Path) -> None:
    for name, files in _runs(store):
        run = RunDirectory(folder / name)
        identity = store.read(f"{name}/{run.environment.name}")
        is_same = run.environment.is_file() and run.environment.read_bytes() == identity
        if is_same and run.is_complete and all((run.path / file).is_file() for file in files):
            continue
        atomic.remove(run.path)
        for file in files:
            store.download(f"{name}/{file}", run.path / file)


def _runs(store: Store) -> Iterator[tuple[str, list[str]]]:
    """The runs of a sweep by name, such as trials/0007/seed-0, each with the files to be read."""
    found: dict[str, list[str]] = {}
    for under in _RUNS:
        for name in store.files(under):
            parts = name.split("/")
            if len(parts) == 4 and parts[3] != lease.FILE:
                found.setdefault("/".join(parts[:3]), []).append(parts[3])
    yield from found.items()
