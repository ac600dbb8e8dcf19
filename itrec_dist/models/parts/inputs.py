"""Tables of input vectors: of the items of a history, and of their positions.

Their values are drawn by `draw`, which an encoder calls when all its parts are made.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.data.schema import PAD
from itrec_dist.data.spec import DataSpec
from itrec_dist.distributed.row_sharding import RowSharding
from itrec_dist.models.item_table import ItemTable
from itrec_dist.models.parts.features import STD, FeatureConfig, ItemFeatures
from itrec_dist.models.parts.sharded_items import ItemShard, MappedItems, ShardedItems
from itrec_dist.models.side_information import uses_items


def item_vectors(
    config: FeatureConfig, spec: DataSpec, *, bias: bool
) -> tuple["ItemVectors | ShardedItems", nn.Parameter | None]:
    """The item vectors of a model and its item bias, which sharded vectors have in themselves.

    `bias` is whether items have one.
    """
    if spec.item_rows is None:
        vectors = ItemVectors(config, spec)
        return vectors, nn.Parameter(torch.zeros(spec.num_items)) if bias else None
    if isinstance(spec.item_rows, RowSharding):
        return ItemShard(spec, spec.item_rows, config.width, STD, bias=bias), None
    return MappedItems(spec, spec.item_rows, config.width), None


class ItemVectors(nn.Embedding):
    """A vector per item, [V, D], of its id and, if the settings say so, of its features.

    Row 0 is padding and stays zero.
    """

    def __init__(self, config: FeatureConfig, spec: DataSpec) -> None:
        super().__init__(spec.num_items + 1, config.width, padding_idx=PAD)
        uses = uses_items(config.side_information)
        self.features = ItemFeatures(spec, config.width) if uses else None
        self.scores_features = config.scores_features

    def forward(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """The vectors of the items times the root of their width, [B, L, D]."""
        vectors_BLD = F.embedding(ids_BL, self._vectors_VD(), PAD)
        return vectors_BLD * math.sqrt(self.embedding_dim)

    def table(self, bias_C: torch.Tensor | None) -> ItemTable:
        """The same vectors as an item table."""
        weight_VD = self._vectors_VD() if self.scores_features else self.weight
        return ItemTable(weight_VD[1:], bias_C)

    @torch.no_grad()
    def draw(self) -> None:
        """Set the initial values."""
        nn.init.normal_(self.weight, std=STD)
        self.weight[PAD].zero_()

    @torch.no_grad()
    def fold_features(self) -> None:
        """Make the features part of the vectors, of a copy that is not trained any more.

        A table made before keeps its values; one made later has the features, whatever the setting.
        """
        if self.features is not None:
            self.weight = nn.Parameter(self._vectors_VD(), requires_grad=False)
            self.features = None

    def _vectors_VD(self) -> torch.Tensor:  # noqa: N802
        # Of the whole catalogue at once: cheaper than features at every position of a batch.
        return self.weight if self.features is None else self.weight + self.features()


class PositionVectors(nn.Embedding):
    """A vector per position, counted from the end: the newest event has the same in every batch."""

    def forward(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """The vectors of the positions, [B, L, D], wherever the padding stands."""
        is_event_BL = (ids_BL != PAD).int()
        later_BL = is_event_BL.sum(dim=1, keepdim=True) - is_event_BL.cumsum(dim=1)
        return super().forward(later_BL)

    def draw(self) -> None:
        """Set the initial values."""
        nn.init.normal_(self.weight, std=STD)
