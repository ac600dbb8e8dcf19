"""A run directory at a URI: written in a folder on this machine, and mirrored.

At a URI nothing can be renamed and a folder is not written atomically. So the name of a remote
checkpoint contains its step, and its record is written last and removed first: a checkpoint
without a record is incomplete, and is never read.

    RUN/checkpoints/last@00001200/   locally checkpoints/last, or last-00001200 once it is older
    RUN/checkpoints/best@00000400/   locally checkpoints/best

All other files have the same names in both places. `environment.json` identifies the run: if it
differs, the local folder belongs to another run and is emptied.
"""

import contextlib
import json
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from itrec_dist.errors import CheckpointError, EnvironmentProblem, OutputError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import retention, training_state
from itrec_dist.runs.checkpoints.retention import KINDS, older_name
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.lease import FILE as LEASE
from itrec_dist.storage import atomic
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri

_NAME = re.compile(r"checkpoints/(best|last)@(\d+)/(.+)")
_APART = ("checkpoints", "ray")


@dataclass(frozen=True)
class RemoteCheckpoint:
    """A complete checkpoint at the URI."""

    kind: str
    step: int
    files: tuple[str, ...]
    """Paths within the checkpoint."""

    @property
    def folder(self) -> str:
        """Its path in the run directory."""
        return f"checkpoints/{self.kind}@{self.step:08d}"


class Mirror:
    """The two directories of one run: the permanent one at a URI, and the one on this machine."""

    def __init__(
        self, uri: Uri, folder: Path, *, marker: str = "config.yaml",
        apart: tuple[str, ...] = _APART,
    ) -> None:  # fmt: skip
        """Connect the two without reading or writing anything.

        Args:
            uri: the permanent directory.
            folder: the one on this machine.
            marker: the file that marks a directory of this kind; it is sent last and removed last.
            apart: folders in it that are not copied with the other files.

        Raises:
            ConfigError: the URI names no file system.
            EnvironmentProblem: its file system cannot be reached.
        """
        self.uri, self.folder = uri, folder
        self.store = Store(uri)
        self._run = RunDirectory(folder)
        self._marker, self._apart = marker, apart
        self._sent: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    # ---------------------------------------------------------------- from the URI to this machine

    def fetch(self) -> None:
        """Copy the run from the URI to the local folder; files that are newer locally are kept.

        Raises:
            CheckpointError: the newest checkpoint of a kind is damaged; the message names an intact
                older one.
            EnvironmentProblem: the URI cannot be reached.
            OutputError: the disk of this machine is full.
        """
        self.fetch_files()
        retention.finish_interrupted(self._run.checkpoints)
        remote = self.checkpoints()
        for kind in KINDS:
            of_kind = [c for c in remote if c.kind == kind]
            if of_kind and of_kind[0].step > self._local_step(kind):
                self._fetch_newest(of_kind)

    def fetch_files(self) -> None:
        """Like `fetch`, without checkpoints.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
            OutputError: the disk of this machine is full.
        """
        self._drop_another_run()
        for name, size in self._remote_files().items():
            path = self.folder / name
            is_log = path == self._run.log or path.parent == self._run.tensorboard
            if is_log and path.is_file() and path.stat().st_size >= size:
                continue  # logs only grow, and the local one may have lines not sent yet
            self.store.download(name, path)

    def fetch_checkpoint(self, name: str) -> Path:
        """Fetch a checkpoint without its training state, unless there is a local copy.

        Raises:
            CheckpointError: there is none of that name, or it is damaged.
            EnvironmentProblem: the URI cannot be reached.
            OutputError: the disk of this machine is full.
        """
        named: dict[str, RemoteCheckpoint] = {}
        for one in self.checkpoints():
            named.setdefault(one.kind, one)
            named.setdefault(older_name(one.kind, one.step), one)
        if name not in named:
            raise CheckpointError(
                f"{self.uri} holds no checkpoint {name!r}; there are: "
                f"{', '.join(named) or 'none yet'}"
            )
        path = self._run.checkpoints / name
        chosen = named[name]
        if self._record(chosen) != _content(path / checkpoint_format.RECORD_FILE):
            files = [
                f for f in chosen.files if not f.startswith(f"{checkpoint_format.STATE_FOLDER}/")
            ]
            self._fetch_one(chosen, path, files)
        return path

    def checkpoints(self) -> list[RemoteCheckpoint]:
        """The complete checkpoints at the URI, the newest first.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        files: dict[tuple[str, int], list[str]] = {}
        for name in self.store.files("checkpoints"):
            if match := _NAME.fullmatch(name):
                files.setdefault((match[1], int(match[2])), []).append(match[3])
        complete = [
            RemoteCheckpoint(kind, step, tuple(sorted(names)))
            for (kind, step), names in files.items()
            if checkpoint_format.RECORD_FILE in names
        ]
        return sorted(complete, key=lambda one: (-one.step, one.kind))

    def log_after(self, position: int) -> bytes:
        """The remote log after a position; empty while the URI cannot be reached."""
        with contextlib.suppress(EnvironmentProblem):
            return self.store.read(self._run.log.name, position) or b""
        return b""

    # ---------------------------------------------------------------- from this machine to the URI

    def send(self, keep: Mapping[str, int]) -> None:
        """Copy the run to the URI, and delete the oldest remote checkpoints.

        Args:
            keep: how many checkpoints of each kind to keep at the URI.

        Raises:
            EnvironmentProblem: the URI cannot be reached; no older checkpoint was deleted.
        """
        for kind in KINDS:
            if (self._run.checkpoints / kind).is_dir():
                self._send_checkpoint(kind, keep[kind])
        self.send_files()

    def send_files(self) -> None:
        """Like `send`, without checkpoints.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        with self._lock:  # the log may be sent while a checkpoint is sent
            for path in sorted(self._local_files(), key=lambda p: (p.name == self._marker, p)):
                name = path.relative_to(self.folder).as_posix()
                status = path.stat()
                stamp = (status.st_size, status.st_mtime_ns)
                if self._sent.get(name) != stamp:
                    self.store.upload(path, name)
                    self._sent[name] = stamp

    def clear(self) -> None:
        """Remove the run at the URI, its marker last, and the content of the local folder.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        names = [n for n in self.store.files() if n not in (LEASE, self._marker)]
        tops = {n.partition("/")[0] for n in names}
        for top in (*sorted(tops), self._marker):
            self.store.remove(top)
        atomic.empty(self.folder, keep_file=LEASE)
        self._sent.clear()

    def remove_local(self) -> None:
        """Remove the local folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---------------------------------------------------------------- parts

    def _remote_files(self) -> dict[str, int]:
        excluded = tuple(f"{folder}/" for folder in self._apart)
        return {
            name: size
            for name, size in self.store.files().items()
            if not name.startswith((*excluded, ".")) and name != LEASE
        }

    def _local_files(self) -> Iterator[Path]:
        for path in self.folder.rglob("*"):
            inner = path.relative_to(self.folder)
            hidden = any(part.startswith(".") for part in inner.parts)
            excluded = hidden or path.name == LEASE or inner.parts[0] in self._apart
            if path.is_file() and not excluded:
                yield path

    def _drop_another_run(self) -> None:
        remote = self.store.read(self._run.environment.name)
        local = _content(self._run.environment)
        if local is not None and (remote is None or _identity(remote) != _identity(local)):
            atomic.empty(self.folder, keep_file=LEASE)

    def _local_step(self, kind: str) -> int:
        try:
            return checkpoint_format.verify(self._run.checkpoints / kind).step
        except CheckpointError:
            return -1

    def _record(self, one: RemoteCheckpoint) -> bytes | None:
        return self.store.read(f"{one.folder}/{checkpoint_format.RECORD_FILE}")

    def _fetch_newest(self, of_kind: list[RemoteCheckpoint]) -> None:
        newest, *older = of_kind
        try:
            self._fetch_one(newest, self._run.checkpoints / newest.kind, newest.files)
        except CheckpointError as error:
            for other in older:
                name = older_name(other.kind, other.step)
                with contextlib.suppress(CheckpointError):
                    self._fetch_one(other, self._run.checkpoints / name, other.files)
                    break
            else:
                raise
            raise CheckpointError(
                f"{error}; {other.folder} there is intact: remove {self.uri.below(newest.folder)} "
                "and resume again to continue from it"
            ) from error

    def _fetch_one(self, one: RemoteCheckpoint, path: Path, files: Iterable[str]) -> None:
        """Copy files of a checkpoint to `path` and compare their checksums on the way."""
        where = self.uri.below(one.folder)
        with atomic.new_directory(
            path, marker=checkpoint_format.RECORD_FILE, overwrite=True
        ) as building:
            checksums = {
                name: self.store.download(f"{one.folder}/{name}", building / name) for name in files
            }
            try:
                record = checkpoint_format.compare(building, checksums)
                if checkpoint_format.STATE_RECORD in checksums:
                    training_state.compare(building, checksums)
            except CheckpointError as error:
                message = str(error).replace(str(building), str(where))
                raise CheckpointError(message) from error
            if record.step != one.step:
                raise CheckpointError(f"{where} is damaged: it is of step {record.step}")

    def _send_checkpoint(self, kind: str, keep: int) -> None:
        local = self._run.checkpoints / kind
        step = checkpoint_format.read_record(local).step
        files = [p.relative_to(local).as_posix() for p in sorted(local.rglob("*")) if p.is_file()]
        one = RemoteCheckpoint(kind, step, tuple(files))
        record = f"{one.folder}/{checkpoint_format.RECORD_FILE}"
        if self.store.read(record) != _content(local / checkpoint_format.RECORD_FILE):
            self.store.remove(record)
            for name in files:
                if name != checkpoint_format.RECORD_FILE:
                    self.store.upload(local / name, f"{one.folder}/{name}")
            self.store.upload(local / checkpoint_format.RECORD_FILE, record)
        self._delete_old(kind, step, keep)

    def _delete_old(self, kind: str, step: int, keep: int) -> None:
        """Delete all but the newest `keep`, incomplete ones, and those of a later step.

        A later step is from before the run was resumed from an earlier one.
        """
        complete = [c.step for c in self.checkpoints() if c.kind == kind and c.step <= step]
        kept = set(complete[:keep])
        assert step in kept
        matches = (_NAME.fullmatch(name) for name in self.store.files("checkpoints"))
        present = {int(match[2]) for match in matches if match and match[1] == kind}
        for old in sorted(present - kept):
            folder = RemoteCheckpoint(kind, old, ()).folder
            self.store.remove(f"{folder}/{checkpoint_format.RECORD_FILE}")
            self.store.remove(folder)


class Sender:
    """Sends what worker 0 writes to the URI; training continues during an outage.

    What could not be sent is sent with the next checkpoint, or at the end at the latest.
    """

    def __init__(self, mirror: Mirror, keep: Mapping[str, int], interval: float = 15.0) -> None:
        """Start a thread that sends the log every `interval` seconds."""
        self._mirror, self._keep, self._interval = mirror, keep, interval
        self._outage: str | None = None
        self._reported: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send_log, name="itrec-mirror", daemon=True)
        self._thread.start()

    def send(self) -> None:
        """Send checkpoints and files; `unreported_outage` describes a failure."""
        try:
            self._mirror.send(self._keep)
            self._outage = self._reported = None
        except (EnvironmentProblem, CheckpointError, OSError) as error:
            self._outage = str(error)

    def unreported_outage(self) -> str | None:
        """A sentence about an outage that was not reported yet, or None."""
        if self._outage is None or self._reported is not None:
            return None
        self._reported = self._outage
        return (
            f"{self._reported}; training continues, its checkpoints are kept in "
            f"{self._mirror.folder} and are sent once the URI can be reached"
        )

    def finish(self) -> None:
        """Send everything that was not sent yet, and remove the local folder.

        Raises:
            OutputError: the URI cannot be reached; the local folder is complete and is kept.
        """
        self.stop()
        self.send()
        if self._outage is not None:
            raise OutputError(
                f"{self._outage}; the whole run is in {self._mirror.folder} on this machine: "
                "--resume here sends it once the URI can be reached"
            )
        self._mirror.remove_local()

    def stop(self) -> None:
        """Stop sending the log."""
        self._stopping.set()
        self._thread.join()

    def _send_log(self) -> None:
        while not self._stopping.wait(self._interval):
            with contextlib.suppress(EnvironmentProblem, OSError):
                self._mirror.send_files()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _identity(environment: bytes) -> object:
    try:
        content = json.loads(environment)
        return content.get("run", content.get("started"))
    except (ValueError, AttributeError):
        return None
