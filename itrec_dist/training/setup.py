"""Sets up the directory of a run: checks, locks, and what to do with an existing run.

For an output at a URI this includes the working folder on this machine. Training itself is started
by the command.
"""

import contextlib
from types import TracebackType
from typing import Literal

from itrec_dist.data.manifest import Manifest
from itrec_dist.errors import OutputError
from itrec_dist.runs import lease
from itrec_dist.runs.checkpoints.training_state import ResumePoint
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.remote import Mirror
from itrec_dist.storage import atomic
from itrec_dist.storage.uri import Uri
from itrec_dist.system import environment
from itrec_dist.training import resume, tracking, warm_start
from itrec_dist.training.config import RunConfig, check, prepare

Existing = Literal["refuse", "overwrite", "resume"]
"""What to do if the output holds a run already."""


class RunSetup:
    """Locks and prepares the directory of a run for the process that starts it.

    A context manager: call `check`, then `prepare`; the locks are held until the end of the block.
    """

    def __init__(self, run: RunConfig, existing: Existing, *, is_worker: bool = True) -> None:
        """Prepare the setup; nothing is read or written yet.

        Args:
            run: the whole configuration.
            existing: what to do if the output holds a run already.
            is_worker: whether this process becomes worker 0, so that a checkpoint that `check` has
                read is kept in memory for it.

        Raises:
            ConfigError: no file system handles its URI.
            EnvironmentProblem: its file system cannot be reached.
        """
        self._run, self._existing, self._is_worker = run, existing, is_worker
        self._resume_point: ResumePoint | None = None
        self._mirror = Mirror(run.out, run.folder) if isinstance(run.out, Uri) else None
        self._locks: list[lease.Lock] = [lease.LocalLock(run.folder)]
        if self._mirror is not None:
            self._locks.append(lease.RemoteLock(self._mirror.store))
        self._held = contextlib.ExitStack()
        self._is_untouched = not run.folder.exists()

    def __enter__(self) -> "RunSetup":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """Release the locks; remove the working folder of a run whose files are all at its URI.

        After an error the folder stays: it may hold files that could not be sent.
        """
        self._held.close()
        if self._mirror is not None and (error is None or self._is_untouched):
            self._mirror.remove_local()

    def check(self, num_workers: int) -> Manifest:
        """Check that the run can work, before anything is changed; returns the data's manifest.

        Raises:
            ItrecError: the settings, the data or the output do not allow it.
        """
        data = check(self._run, num_workers)
        tracking.check(self._run)
        warm_start.check_start(self._run)
        if self._existing != "resume":
            self._check_free()
        for lock in self._locks:
            lease.refuse_held(lock)
        if self._existing == "resume":
            self._fetch()
            if self._is_worker:
                self._resume_point = resume.load(self._run, data)
            else:
                resume.check(self._run, data)
        return data

    def prepare(self, data: Manifest) -> None:
        """Lock the directory and write what workers need.

        Raises:
            EnvironmentProblem: an experiment tracker cannot be reached.
            OutputError: another process has taken it meanwhile, or it cannot be written.
            EnvironmentProblem: its URI cannot be reached.
        """
        tracking.prepare(self._run)
        self._is_untouched = False
        for lock in self._locks:
            self._held.enter_context(lease.held(lock))
        recorded = environment.record(self._run.seed)
        if self._existing == "resume":
            resume.prepare(self._run, recorded)
        else:
            self._check_free()  # another run may have been written meanwhile
            atomic.empty(self._run.folder, keep_file=lease.FILE)
            if self._mirror is not None:
                self._mirror.clear()
            prepare(self._run, data, recorded)
        if self._mirror is not None:
            self._mirror.send_files()

    def take_resume_point(self) -> ResumePoint | None:
        """The checkpoint that `check` read, if any; the reference to it here is dropped."""
        point, self._resume_point = self._resume_point, None
        return point

    def _fetch(self) -> None:
        """Fetch the run from the URI; send what an earlier process left on this machine."""
        if self._mirror is None:
            return
        self._mirror.fetch()
        if RunDirectory(self._run.folder).is_complete:
            self._mirror.send(self._run.checkpoints.keeps)

    def _check_free(self) -> None:
        overwrite = self._existing == "overwrite"
        if self._mirror is None:
            atomic.refuse_taken(
                self._run.folder, marker="config.yaml", overwrite=overwrite, keep_file=lease.FILE
            )
            return
        files = [name for name in self._mirror.store.files() if name != lease.FILE]
        if files:
            atomic.refuse_existing(self._run.out, overwrite=overwrite)
        if files and "config.yaml" not in files:
            raise OutputError(
                f"{self._run.out} holds no config.yaml, so it was not made by this command and "
                "--overwrite does not replace it: choose another location"
            )
