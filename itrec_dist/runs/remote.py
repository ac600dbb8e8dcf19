"""A run directory at a URI: worked on in a folder of this machine, and mirrored.

Nothing can be renamed there and no folder appears at once, so a checkpoint stands under a name
that holds its step, and its record is written last and removed first: one without a record is
half-written or half-removed, and nobody reads it.

    RUN/checkpoints/last@00001200/   here checkpoints/last, or last-00001200 once it is older
    RUN/checkpoints/best@00000400/   here checkpoints/best

All other files stand there under the names that they have here. `environment.json` holds the
identity of a run: where it differs, the folder here is of another run and goes.
"""

import contextlib
import json
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from itrec_dist.errors import CheckpointError, EnvironmentProblem, OutputError
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import retention
from itrec_dist.runs.checkpoints.retention import KINDS, older_name
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.lease import FILE as LEASE
from itrec_dist.storage import atomic
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri

_PLACE = re.compile(r"checkpoints/(best|last)@(\d+)/(.+)")
_FOLDERS_LEFT_OUT = ("checkpoints", "ray")


@dataclass(frozen=True)
class Remote:
    """A checkpoint at the URI that has its record."""

    kind: str
    step: int
    files: tuple[str, ...]
    """Names below the checkpoint."""

    @property
    def place(self) -> str:
        """Its folder, below the run's."""
        return f"checkpoints/{self.kind}@{self.step:08d}"


class Mirror:
    """The two places of one run: a URI that lasts, and a folder of this machine."""

    def __init__(self, uri: Uri, folder: Path) -> None:
        """Join the two; nothing is read or written yet.

        Raises:
            ConfigError: no file system goes by that URI.
            EnvironmentProblem: its file system cannot be reached.
        """
        self.uri, self.folder = uri, folder
        self.store = Store(uri)
        self._run = RunDirectory(folder)
        self._sent: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    # ---------------------------------------------------------------- from there to here

    def fetch(self) -> None:
        """Bring the folder here to what stands at the URI; what is newer here stays.

        Raises:
            CheckpointError: no checkpoint of a kind arrived whole; the message names an older one.
            EnvironmentProblem: the URI cannot be reached.
            OutputError: there is no room here.
        """
        self.fetch_files()
        retention.recover(self._run.checkpoints)
        found = self.checkpoints()
        for kind in KINDS:
            newest = next((c for c in found if c.kind == kind), None)
            if newest is not None and newest.step > self._step_here(kind):
                self._fetch_newest(newest, [c for c in found if c.kind == kind][1:])

    def fetch_files(self) -> None:
        """The same without checkpoints.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
            OutputError: there is no room here.
        """
        self._drop_another_run()
        for name, size in self._files_there().items():
            place = self.folder / name
            is_log = place == self._run.log or place.parent == self._run.tensorboard
            if is_log and place.is_file() and place.stat().st_size >= size:
                continue  # these only grow, and here there may be lines that were not sent yet
            self.store.download(name, place)

    def fetch_checkpoint(self, name: str) -> Path:
        """The checkpoint of a name here, without the training state; fetched if it is not yet.

        Raises:
            CheckpointError: there is none of that name, or it is damaged.
            EnvironmentProblem: the URI cannot be reached.
            OutputError: there is no room here.
        """
        named: dict[str, Remote] = {}
        for one in self.checkpoints():
            named.setdefault(one.kind, one)
            named.setdefault(older_name(one.kind, one.step), one)
        if name not in named:
            raise CheckpointError(
                f"{self.uri} holds no checkpoint {name!r}; there are: "
                f"{', '.join(named) or 'none yet'}"
            )
        place = self._run.checkpoints / name
        chosen = named[name]
        if self._record(chosen) != _content(place / checkpoint_format.RECORD_FILE):
            files = [
                f for f in chosen.files if not f.startswith(f"{checkpoint_format.STATE_FOLDER}/")
            ]
            self._fetch_one(chosen, place, files)
        return place

    def checkpoints(self) -> list[Remote]:
        """The checkpoints at the URI that have their record, the newest first.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        files: dict[tuple[str, int], list[str]] = {}
        for name in self.store.files("checkpoints"):
            if found := _PLACE.fullmatch(name):
                files.setdefault((found[1], int(found[2])), []).append(found[3])
        whole = [
            Remote(kind, step, tuple(sorted(names)))
            for (kind, step), names in files.items()
            if checkpoint_format.RECORD_FILE in names
        ]
        return sorted(whole, key=lambda one: (-one.step, one.kind))

    def log_after(self, position: int) -> bytes:
        """What the log there holds after a position; nothing while it cannot be reached."""
        with contextlib.suppress(EnvironmentProblem):
            return self.store.read(self._run.log.name, position) or b""
        return b""

    # ---------------------------------------------------------------- from here to there

    def send(self, keep: Mapping[str, int]) -> None:
        """Bring the URI to what stands here, and let the oldest checkpoints there go.

        Args:
            keep: how many checkpoints of each kind stay there.

        Raises:
            EnvironmentProblem: the URI cannot be reached; what stood there is not less than before.
        """
        for kind in KINDS:
            if (self._run.checkpoints / kind).is_dir():
                self._send_checkpoint(kind, keep[kind])
        self.send_files()

    def send_files(self) -> None:
        """The same without checkpoints.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        with self._lock:  # the log is also sent while a checkpoint is
            for path in sorted(self._files_here()):
                name = path.relative_to(self.folder).as_posix()
                status = path.stat()
                stamp = (status.st_size, status.st_mtime_ns)
                if self._sent.get(name) != stamp:
                    self.store.upload(path, name)
                    self._sent[name] = stamp

    def clear(self) -> None:
        """Remove the run at the URI, its configuration last, and the folder here.

        Raises:
            EnvironmentProblem: the URI cannot be reached.
        """
        names = [n for n in self.store.files() if n not in (LEASE, self._run.config.name)]
        tops = {n.partition("/")[0] for n in names}
        for top in (*sorted(tops), self._run.config.name):
            self.store.remove(top)
        atomic.empty(self.folder, but=LEASE)
        self._sent.clear()

    def forget(self) -> None:
        """Remove the folder here, which nothing needs any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---------------------------------------------------------------- parts

    def _files_there(self) -> dict[str, int]:
        left_out = tuple(f"{folder}/" for folder in _FOLDERS_LEFT_OUT)
        return {
            name: size
            for name, size in self.store.files().items()
            if not name.startswith((*left_out, ".")) and name != LEASE
        }

    def _files_here(self) -> Iterator[Path]:
        for path in self.folder.rglob("*"):
            inner = path.relative_to(self.folder)
            hidden = any(part.startswith(".") for part in inner.parts)
            left_out = hidden or path.name == LEASE or inner.parts[0] in _FOLDERS_LEFT_OUT
            if path.is_file() and not left_out:
                yield path

    def _drop_another_run(self) -> None:
        there = self.store.read(self._run.environment.name)
        here = _content(self._run.environment)
        if here is not None and (there is None or _identity(there) != _identity(here)):
            atomic.empty(self.folder, but=LEASE)

    def _step_here(self, kind: str) -> int:
        try:
            return checkpoint_format.verify(self._run.checkpoints / kind).step
        except CheckpointError:
            return -1

    def _record(self, one: Remote) -> bytes | None:
        return self.store.read(f"{one.place}/{checkpoint_format.RECORD_FILE}")

    def _fetch_newest(self, newest: Remote, older: list[Remote]) -> None:
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
                f"{error}; {other.place} there is whole: remove {self.uri.below(newest.place)} "
                "and resume again to go on from there"
            ) from error

    def _fetch_one(self, one: Remote, place: Path, files: tuple[str, ...] | list[str]) -> None:
        where = self.uri.below(one.place)
        with atomic.new_directory(
            place, marker=checkpoint_format.RECORD_FILE, overwrite=True
        ) as building:
            for name in files:
                self.store.download(f"{one.place}/{name}", building / name)
            try:
                has_state = any(n.startswith(f"{checkpoint_format.STATE_FOLDER}/") for n in files)
                record = checkpoint_format.verify(building, state=has_state)
            except CheckpointError as error:
                told = str(error).replace(str(building), str(where))
                raise CheckpointError(told) from error
            if record.step != one.step:
                raise CheckpointError(f"{where} is damaged: it is of step {record.step}")

    def _send_checkpoint(self, kind: str, keep: int) -> None:
        here = self._run.checkpoints / kind
        step = checkpoint_format.read_record(here).step
        files = [p.relative_to(here).as_posix() for p in sorted(here.rglob("*")) if p.is_file()]
        one = Remote(kind, step, tuple(files))
        record = f"{one.place}/{checkpoint_format.RECORD_FILE}"
        if self.store.read(record) != _content(here / checkpoint_format.RECORD_FILE):
            self.store.remove(record)
            for name in files:
                if name != checkpoint_format.RECORD_FILE:
                    self.store.upload(here / name, f"{one.place}/{name}")
            self.store.upload(here / checkpoint_format.RECORD_FILE, record)
        self._let_go(kind, step, keep)

    def _let_go(self, kind: str, step: int, keep: int) -> None:
        """Remove what is older than the newest ones, half-written, or of a course given up."""
        whole = [c.step for c in self.checkpoints() if c.kind == kind and c.step <= step]
        staying = set(whole[:keep])
        assert step in staying
        found = (_PLACE.fullmatch(name) for name in self.store.files("checkpoints"))
        there = {int(place[2]) for place in found if place and place[1] == kind}
        for old in sorted(there - staying):
            place = Remote(kind, old, ()).place
            self.store.remove(f"{place}/{checkpoint_format.RECORD_FILE}")
            self.store.remove(place)


class Sender:
    """Sends what a run's worker 0 writes, and tells of an outage once: training goes on through it.

    What could not be sent is sent with the next checkpoint, or at the end at the latest.
    """

    def __init__(self, mirror: Mirror, keep: Mapping[str, int], interval: float = 15.0) -> None:
        """Begin to send the log every `interval` seconds."""
        self._mirror, self._keep, self._interval = mirror, keep, interval
        self._trouble: str | None = None
        self._told: str | None = None
        self._stop_asked = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="itrec-mirror", daemon=True)
        self._thread.start()

    def send(self) -> None:
        """Send checkpoints and files; an outage is kept for `news`."""
        try:
            self._mirror.send(self._keep)
            self._trouble = self._told = None
        except (EnvironmentProblem, CheckpointError, OSError) as error:
            self._trouble = str(error)

    def news(self) -> str | None:
        """An outage that was not told yet, in a sentence."""
        if self._trouble is None or self._told is not None:
            return None
        self._told = self._trouble
        return (
            f"{self._told}; training goes on, its checkpoints stand in {self._mirror.folder} and "
            "are sent once the place answers"
        )

    def finish(self) -> None:
        """Send all that is left, and remove the folder here.

        Raises:
            OutputError: the place cannot be reached; the folder here is whole and stays.
        """
        self.stop()
        self.send()
        if self._trouble is not None:
            raise OutputError(
                f"{self._trouble}; the run stands whole in {self._mirror.folder} on this machine: "
                "--resume here sends it once the place answers"
            )
        self._mirror.forget()

    def stop(self) -> None:
        """Send the log no more."""
        self._stop_asked.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop_asked.wait(self._interval):
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
