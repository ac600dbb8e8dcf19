"""Biased matrix factorisation: mean + user bias + item bias + user . item, all penalised."""

from dataclasses import dataclass
from typing import Literal

import torch

from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.models.factors import FactorModel, FactorModelConfig


@dataclass(frozen=True)
class BiasedMFConfig(FactorModelConfig):
    """Size and penalties of the factorisation."""

    kind: Literal["biased_mf"] = "biased_mf"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    sparse_gradients: bool = False
    """Update only the weights that occur in a batch; needs optimizer.name sgd or adagrad."""

    def build(self, spec: DataSpec) -> "BiasedMF":
        """The model."""
        return BiasedMF(self, spec)

    def label(self, loss: str) -> str:  # noqa: ARG002
        """Its name in the literature."""
        return "Biased MF"


class BiasedMF(FactorModel):
    """The factorisation; an unknown user or item has no factors and a bias of 0."""

    def __init__(self, config: BiasedMFConfig, spec: DataSpec) -> None:
        super().__init__(config, spec, sparse=config.sparse_gradients)

    def forward(
        self, batch: Batch, item_ids_BN: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predicted ratings and penalty."""
        return self.predict(self.known_users(batch.user_ids_B), self.known_items(item_ids_BN))
