"""Which trackers a run or a sweep is logged to."""

from dataclasses import dataclass

from itrec_dist.storage.uri import refuse_credentials


@dataclass(frozen=True)
class TrackersConfig:
    """Experiment trackers that every run is logged to; TensorBoard logs are always written."""

    mlflow: str | None = None
    """MLflow's tracking URI, such as http://host:5000 or sqlite:////folder/mlflow.db; a sweep, or
    the folder that a run is in, becomes an experiment."""
    wandb: str | None = None
    """Project at Weights & Biases; a sweep, or the folder that a run is in, becomes a group."""

    def __post_init__(self) -> None:
        if self.mlflow is not None:
            refuse_credentials(self.mlflow, "trackers.mlflow")
