"""item2vec: item vectors from co-occurrence in windows, by skip-gram or CBOW.

Skip-gram: each item predicts each other item of its window; CBOW: the mean of the others predicts
it. Both against sampled negatives, drawn in proportion to their training count to the power of
3/4. Order and distance within a window are ignored, as in item2vec.

Source: Barkan and Koenigstein, Item2vec, section 3; Mikolov et al., Efficient Estimation of Word
Representations in Vector Space, section 3 (the two architectures).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.models.config import ModelConfig

_POWER = 0.75
_EVALUATION_SEED = 0  # all evaluations use the same negatives


@dataclass(frozen=True)
class Item2VecConfig(ModelConfig):
    """Width of the vectors and how they are trained."""

    task: ClassVar[str] = "item_vectors"
    """It learns item vectors."""
    item_embedding: ClassVar[str | None] = "item_embedding.weight"
    """Its item vectors."""

    kind: Literal["item2vec"] = "item2vec"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    width: int = 32
    """Width of the vectors."""
    method: Literal["skip_gram", "cbow"] = "skip_gram"
    """skip_gram: each item predicts the others of its window; cbow: the others together predict
    it."""
    negatives: int = 20
    """Sampled negatives per window."""

    def __post_init__(self) -> None:
        if min(self.width, self.negatives) < 1:
            raise ValueError("model.width and model.negatives must be at least 1")

    @property
    def item_width(self) -> int:
        """Width of the vectors."""
        return self.width

    def build(self, spec: DataSpec) -> "Item2Vec":
        """The model."""
        return Item2Vec(self, spec)

    def label(self, loss: str) -> str:  # noqa: ARG002
        """Its name in the literature."""
        return f"item2vec, {self.method.replace('_', '-')}"

    def check(self, data: Manifest) -> None:
        """Accept any data."""


class Item2Vec(nn.Module):
    """`Batch -> loss of each window, [B]`; `item_embedding` holds the vectors."""

    frequency_C: torch.Tensor

    def __init__(self, config: Item2VecConfig, spec: DataSpec) -> None:
        super().__init__()
        self.config = config
        size = spec.num_items + 1
        self.item_embedding = nn.Embedding(size, config.width, padding_idx=PAD)
        self.context_embedding = nn.Embedding(size, config.width, padding_idx=PAD)
        nn.init.uniform_(self.item_embedding.weight, -0.5 / config.width, 0.5 / config.width)
        nn.init.zeros_(self.context_embedding.weight)
        with torch.no_grad():
            self.item_embedding.weight[PAD].zero_()
        counts_C = spec.target_counts_C.double().clamp(min=1)
        self.register_buffer("frequency_C", counts_C.pow(_POWER), persistent=False)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Mean over a window's items of the loss on true and sampled partners."""
        ids_BM = torch.cat([batch.item_ids_BL, batch.target_ids_BK], dim=1).long()
        is_item_BM = ids_BM != PAD
        vector_BMD = self.item_embedding(ids_BM)
        if self.config.method == "cbow":
            weight_BM1 = is_item_BM.unsqueeze(2).to(vector_BMD.dtype)
            others_BM1 = (weight_BM1.sum(dim=1, keepdim=True) - 1).clamp(min=1)
            total_B1D = (vector_BMD * weight_BM1).sum(dim=1, keepdim=True)
            vector_BMD = (total_B1D - vector_BMD) / others_BM1
        context_BMD = self.context_embedding(ids_BM)
        M = ids_BM.shape[1]
        same_MM = torch.eye(M, dtype=torch.bool, device=ids_BM.device)
        # Skip-gram pairs each item with every other; CBOW's vector already combines all others.
        pairs_MM = same_MM if self.config.method == "cbow" else ~same_MM
        pairs_BMM = pairs_MM & is_item_BM.unsqueeze(1) & is_item_BM.unsqueeze(2)
        true_BMM = vector_BMD @ context_BMD.transpose(1, 2)
        drawn_BDN = self.context_embedding(self._negatives(len(ids_BM))).transpose(1, 2)
        drawn_BMN = vector_BMD @ drawn_BDN
        count_B = is_item_BM.sum(dim=1).clamp(min=1)
        partners_BM1 = pairs_BMM.sum(dim=2, keepdim=True).clamp(min=1)
        loss_B = (F.softplus(-true_BMM) * pairs_BMM / partners_BM1).sum(dim=(1, 2))
        loss_B = loss_B + (F.softplus(drawn_BMN) * is_item_BM.unsqueeze(2)).sum(dim=(1, 2))
        mean_B: torch.Tensor = loss_B / count_B
        return mean_B

    def _negatives(self, windows: int) -> torch.Tensor:
        """Ids of sampled negatives, [B, N]; the same ones in every evaluation."""
        device, generator = self.frequency_C.device, None
        if not self.training:
            generator = torch.Generator(device).manual_seed(_EVALUATION_SEED)
        size = windows * self.config.negatives
        drawn = torch.multinomial(self.frequency_C, size, replacement=True, generator=generator)
        return drawn.view(windows, self.config.negatives) + 1
