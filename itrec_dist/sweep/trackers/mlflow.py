"""MLflow: one experiment per sweep, one MLflow run per run; the place is its tracking URI."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from itrec_dist.errors import EnvironmentProblem

if TYPE_CHECKING:
    from itrec_dist.sweep.trackers import Tracked


def refuse() -> None:
    """Refuse where it is not installed.

    Raises:
        EnvironmentProblem: it is not.
    """
    try:
        import mlflow  # noqa: F401 - to see whether it is there
    except ImportError as error:
        raise EnvironmentProblem(
            "trackers.mlflow needs MLflow's client, which is not installed: pip install "
            "'itrec-dist[mlflow]', or leave trackers.mlflow out"
        ) from error


def prepare(place: str, sweep: str) -> None:
    """Make the experiment, before several processes would at once.

    Raises:
        EnvironmentProblem: the place cannot be reached.
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
    """Begin an MLflow run."""
    from ray.air.integrations.mlflow import setup_mlflow

    _be_quick_and_quiet()
    module = setup_mlflow(
        dict(tracked.settings), tracking_uri=place, experiment_name=tracked.sweep,
        run_name=tracked.name, tags={"run_directory": str(tracked.run.path)},
    )  # fmt: skip
    return MLflow(module)


def _be_quick_and_quiet() -> None:
    """A server that is gone should cost seconds, not the minutes that MLflow tries by default."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    logging.getLogger("mlflow").setLevel(logging.WARNING)


class MLflow:
    """An MLflow run, the active one of this thread."""

    def __init__(self, module: Any) -> None:
        """Take the module whose active run this is."""
        self._module = module

    def log(self, figures: dict[str, float], epoch: int) -> None:
        """Figures after an epoch."""
        self._module.log_metrics(figures, step=epoch)

    def end(self, *, is_complete: bool) -> None:
        """Nothing more follows."""
        self._module.end_run("FINISHED" if is_complete else "KILLED")
