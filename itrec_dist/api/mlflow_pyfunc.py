"""What `mlflow.pyfunc` loads a logged run with: `Run.recommend` as a model of MLflow.

`runs/trackers/mlflow_model.py` writes what is loaded here, and names this module in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from itrec_dist.api.run import Run


class Recommender:
    """A run that answers as a model of MLflow."""

    def __init__(self, run: Run) -> None:
        """Load its model.

        Raises:
            CheckpointError: it is damaged.
        """
        self._run = run
        assert run.restored is not None

    def predict(self, histories: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Recommend to the users of a table of whole histories.

        Args:
            histories: a data frame with an event in each row, in the columns of windowing.
            params: `k`, items per user; `among`, the only items to recommend, and `without`, those
                not to; `shards`, where the features of users are looked up. An empty value is as
                none: all items, and the shards of the training.

        Returns:
            User, rank, item, title and score, as `Run.recommend` gives them.

        Raises:
            ItrecError: see `Run.recommend`.
        """
        given = {name: value for name, value in (params or {}).items() if value not in ("", [])}
        return self._run.recommend(histories, **given)


def _load_pyfunc(path: str) -> Recommender:
    """MLflow's entry: `path` is the run directory within the model."""
    return Recommender(Run(Path(path)))
