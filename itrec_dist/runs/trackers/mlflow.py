"""MLflow: one experiment per group of runs, one MLflow run per run; `place` is the tracking URI.

Everything goes through a client of its own, so that runs in one process do not meet in MLflow's
active run.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.errors import EnvironmentProblem
from itrec_dist.runs.directory import BEST, RunDirectory
from itrec_dist.runs.trackers import mlflow_model
from itrec_dist.storage import cache

if TYPE_CHECKING:
    from itrec_dist.runs.trackers import Tracked

_AT_ONCE = 100  # parameters that MLflow takes in one call
_DATABASE = "sqlite:///"
_ON_DISK = ("sqlite:", "file:")


def check_installed() -> None:
    """Check that MLflow is installed.

    Raises:
        EnvironmentProblem: it is not.
    """
    try:
        import mlflow  # noqa: F401 - only to check that it is installed
    except ImportError as error:
        raise EnvironmentProblem(
            "trackers.mlflow needs MLflow's client, which is not installed: pip install "
            "'itrec-dist[mlflow]', or leave trackers.mlflow out"
        ) from error


def prepare(place: str, group: str, files: Path) -> None:
    """Create the experiment, before several processes would do so at once.

    Raises:
        EnvironmentProblem: the tracking URI cannot be reached.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    _be_quick_and_quiet()
    try:
        client = mlflow.MlflowClient(tracking_uri=place)
        if client.get_experiment_by_name(group) is None:
            client.create_experiment(group, artifact_location=_artifacts(place, files))
    except (MlflowException, OSError, ImportError) as error:
        said = str(error).strip().splitlines()[0]
        raise EnvironmentProblem(
            f"trackers.mlflow={place} cannot be used: {said}; give a tracking URI such as "
            "http://host:5000 or sqlite:////folder/mlflow.db"
        ) from error


def begin(place: str, tracked: Tracked, known: str | None) -> MLflow:
    """Start an MLflow run, or continue the one that is `known`."""
    import mlflow
    from mlflow.entities import Param

    _be_quick_and_quiet()
    client = mlflow.MlflowClient(tracking_uri=place)
    if known is not None:
        client.update_run(known, status="RUNNING")
        return MLflow(client, known, recommends=tracked.recommends)
    experiment = client.get_experiment_by_name(tracked.group)
    identity = experiment.experiment_id if experiment else client.create_experiment(tracked.group)
    tags = {"run_directory": str(tracked.run.path)}
    run_id = client.create_run(identity, run_name=tracked.name, tags=tags).info.run_id
    params = [Param(name, str(value)) for name, value in tracked.settings.items()]
    for start in range(0, len(params), _AT_ONCE):
        client.log_batch(run_id, params=params[start : start + _AT_ONCE])
    return MLflow(client, run_id, recommends=tracked.recommends)


def _artifacts(place: str, files: Path) -> str | None:
    """Where files go without a server: beside the runs, or for runs at a URI beside the database.

    MLflow would keep them in the working directory.
    """
    if not place.startswith(_ON_DISK):
        return None
    if cache.is_copy(files):  # the folder of a run at a URI, which does not stay
        if not place.startswith(_DATABASE):
            return None
        files = Path(place.removeprefix(_DATABASE)).parent
    return (files / "mlruns").absolute().as_uri()


def _be_quick_and_quiet() -> None:
    """Give up on an unreachable server within seconds; MLflow's default is minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    logging.getLogger("mlflow").setLevel(logging.WARNING)


class MLflow:
    """A run of MLflow."""

    def __init__(self, client: Any, run_id: str, *, recommends: bool) -> None:
        """Wrap a started run."""
        self._client, self.id, self._recommends = client, run_id, recommends

    def log(self, figures: dict[str, float], epoch: int) -> None:
        """Log the metrics of an epoch."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, epoch) for name, value in figures.items()]
        self._client.log_batch(self.id, metrics=metrics)

    def keep(self, run: RunDirectory) -> None:
        """Store the best checkpoint: within a model of MLflow if it recommends, else as it is."""
        if not self._recommends:
            self._client.log_artifacts(self.id, str(run.checkpoints / BEST), "checkpoint")
            return
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / mlflow_model.NAME
            mlflow_model.save(run, folder)
            self._client.log_artifacts(self.id, str(folder), mlflow_model.NAME)

    def end(self, *, is_complete: bool) -> None:
        """Close the run."""
        self._client.set_terminated(self.id, "FINISHED" if is_complete else "KILLED")
