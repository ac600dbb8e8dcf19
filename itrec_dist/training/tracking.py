"""Logs a run to the experiment trackers of its settings."""

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from itrec_dist import config
from itrec_dist.runs import trackers
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.log import Watcher
from itrec_dist.runs.trackers.config import TrackersConfig
from itrec_dist.tasks import TASKS
from itrec_dist.training.config import RunConfig


def check(run: RunConfig) -> None:
    """Check that the packages of all chosen trackers are installed.

    Raises:
        EnvironmentProblem: one is not.
    """
    trackers.check_installed(run.trackers)


def prepare(run: RunConfig) -> None:
    """Create what runs of one folder share at the services.

    Raises:
        EnvironmentProblem: a service cannot be reached or needs a login.
    """
    trackers.prepare(run.trackers, _group(run), run.folder.parent)


@contextlib.contextmanager
def followed(
    run: RunConfig, watcher: Watcher | None, *, is_first: bool
) -> Iterator[Watcher | None]:
    """While the block trains a run, yields a watcher that tells the trackers too, and `watcher`.

    Workers other than worker 0 write no log, so theirs tells nobody.
    """
    if not is_first or run.trackers == TrackersConfig():
        yield watcher
        return
    settings = {name: value for name, value in config.flat(run).items() if value is not None}
    tracked = trackers.Tracked(
        _group(run), PurePosixPath(str(run.out)).name, settings, RunDirectory(run.folder),
        run.folder.parent, keeps_model=True,
        recommends=TASKS[run.model.task].ranks and not run.model.uses_time_of_query,
    )  # fmt: skip
    with trackers.following(run.trackers, tracked, watcher) as watch:

        def both(event: dict[str, Any]) -> None:
            watch(event)
            if watcher is not None:
                watcher(event)

        yield both


def _group(run: RunConfig) -> str:
    """The name of the folder that the run is in."""
    place = run.out.absolute() if isinstance(run.out, Path) else run.out
    return PurePosixPath(str(place)).parent.name or "runs"
