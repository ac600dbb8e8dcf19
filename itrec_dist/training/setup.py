"""The place of a run, from the checks before anything is touched to the end of its process.

Owns what a command does with a run directory before and around training: whether it may be used,
that no other process writes it, what becomes of a run that stands there, and for a place at a URI
the folder of this machine. Leaves the training itself to the command.
"""

import contextlib
from types import TracebackType
from typing import Literal

from itrec_dist.data.manifest import Manifest
from itrec_dist.errors import OutputError
from itrec_dist.runs import lease
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.remote import Mirror
from itrec_dist.storage import atomic
from itrec_dist.storage.uri import Uri
from itrec_dist.system import environment
from itrec_dist.training import resume, warm_start
from itrec_dist.training.config import RunConfig, check, prepare

Existing = Literal["refuse", "overwrite", "resume"]
"""What becomes of a run that stands in the place of this one."""


class Claim:
    """A run's place as the one process sees it that starts the run; a context manager."""

    def __init__(self, run: RunConfig, existing: Existing) -> None:
        """Name the place; nothing is read or written yet.

        Raises:
            ConfigError: no file system goes by its URI.
            EnvironmentProblem: its file system cannot be reached.
        """
        self._run, self._existing = run, existing
        self._mirror = Mirror(run.out, run.folder) if isinstance(run.out, Uri) else None
        self._leases: list[lease.Slot] = [lease.Here(run.folder)]
        if self._mirror is not None:
            self._leases.append(lease.There(self._mirror.store))
        self._held = contextlib.ExitStack()
        self._is_untouched = not run.folder.exists()

    def __enter__(self) -> "Claim":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """Let go of the place, and of the folder of this machine where all is at the URI.

        After an error it stays: it may hold what could not be sent.
        """
        self._held.close()
        if self._mirror is not None and (error is None or self._is_untouched):
            self._mirror.forget()

    def check(self, num_workers: int) -> Manifest:
        """Refuse what cannot work before anything is touched; returns the data's manifest.

        Raises:
            ItrecError: the settings, the data or the place do not allow it.
        """
        data = check(self._run, num_workers)
        warm_start.check_start(self._run)
        if self._existing != "resume":
            self._refuse_taken()
        for slot in self._leases:
            lease.refuse_alive(slot)
        if self._existing == "resume":
            self._fetch()
            resume.check(self._run, data)
        return data

    def prepare(self, data: Manifest) -> None:
        """Take the place, and bring it to where workers can begin.

        Raises:
            OutputError: another process took it meanwhile, or it cannot be written.
            EnvironmentProblem: its URI cannot be reached.
        """
        self._is_untouched = False
        for slot in self._leases:
            self._held.enter_context(lease.held(slot))
        recorded = environment.record(self._run.seed)
        if self._existing == "resume":
            resume.prepare(self._run, recorded)
        else:
            self._refuse_taken()  # another one may have been and gone meanwhile
            atomic.empty(self._run.folder, but=lease.FILE)
            if self._mirror is not None:
                self._mirror.clear()
            prepare(self._run, data, recorded)
        if self._mirror is not None:
            self._mirror.send_files()

    def _fetch(self) -> None:
        """Bring the folder here to what the URI holds; and back what an earlier end left here."""
        if self._mirror is None:
            return
        self._mirror.fetch()
        if RunDirectory(self._run.folder).is_complete:
            self._mirror.send(self._run.checkpoints.keeps)

    def _refuse_taken(self) -> None:
        overwrite = self._existing == "overwrite"
        if self._mirror is None:
            atomic.refuse_taken(
                self._run.folder, marker="config.yaml", overwrite=overwrite, but=lease.FILE
            )
            return
        files = [name for name in self._mirror.store.files() if name != lease.FILE]
        if files:
            atomic.refuse_existing(self._run.out, overwrite=overwrite)
        if files and "config.yaml" not in files:
            raise OutputError(
                f"{self._run.out} holds no config.yaml, so it was not made by this command and "
                "--overwrite does not replace it: choose another place"
            )
