"""MLflow: one experiment per sweep, one MLflow run per run; `place` is the tracking URI."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from itrec_dist.errors import EnvironmentProblem

if TYPE_CHECKING:
    from itrec_dist.sweeps.trackers import Tracked


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


def prepare(place: str, sweep: str) -> None:
    """Create the experiment, before several processes would do so at once.

    Raises:
        EnvironmentProblem: the tracking URI cannot be reached.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    _be_quick_and_quiet()
    try:
        client = mlflow.MlflowClient(tracking_uri=place)
        if client.get_experiment_by_name(sweep) is None:
            client.create_experiment(sweep)
    except (MlflowException, OSError, ImportError) as error:
        said = str(error).strip().splitlines()[0]
        raise EnvironmentProblem(
            f"trackers.mlflow={place} cannot be used: {said}; give a tracking URI such as "
            "http://host:5000 or sqlite:////folder/mlflow.db"
        ) from error


def begin(place: str, tracked: Tracked) -> MLflow:
    """Start an MLflow run."""
    from ray.air.integrations.mlflow import setup_mlflow

    _be_quick_and_quiet()
    module = setup_mlflow(
        dict(tracked.settings), tracking_uri=place, experiment_name=tracked.sweep,
        run_name=tracked.name, tags={"run_directory": str(tracked.run.path)},
    )  # fmt: skip
    return MLflow(module)


def _be_quick_and_quiet() -> None:
    """Give up on an unreachable server within seconds; MLflow's default is minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    logging.getLogger("mlflow").setLevel(logging.WARNING)


class MLflow:
    """The active MLflow run of this thread."""

    def __init__(self, module: Any) -> None:
        """Wrap the active run of the module `mlflow`."""
        self._module = module

    def log(self, figures: dict[str, float], epoch: int) -> None:
        """Log the metrics of an epoch."""
        self._module.log_metrics(figures, step=epoch)

    def end(self, *, is_complete: bool) -> None:
        """Close the run."""
        self._module.end_run("FINISHED" if is_complete else "KILLED")
