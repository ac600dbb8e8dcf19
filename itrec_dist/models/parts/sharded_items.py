"""Item vectors of which every worker has some rows: read and written only where a batch needs them.

The same vectors are input and output, and each item's bias is fetched with its vector. They are
buffers outside the state dict, not parameters: no optimiser, no gradient exchange and no checkpoint
of the dense part may meet them. The engine updates the rows that were taken
(engines/row_updates.py), and checkpoints hold every worker's own (runs/checkpoints/parts.py).

Every forward is an exchange: all workers run the same forwards in the same order.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from itrec_dist.data.schema import PAD
from itrec_dist.data.spec import DataSpec
from itrec_dist.distributed.row_sharding import RowSharding, ShardedTables
from itrec_dist.errors import ConfigError
from itrec_dist.losses import loss
from itrec_dist.models.item_table import ItemTable

VECTORS, BIAS = "item_embedding.weight", "item_bias"
"""Their names in checkpoints, which are those of the parameters of a model that has them whole."""

PADDING_ROWS = {VECTORS: 1, BIAS: 0}
"""Rows before those of the items in the parameters of a model that has them whole."""

_DRAWN_AT_ONCE = 1 << 16  # initial vectors, of a seed of their own: alike for any number of workers


@dataclass(frozen=True)
class Taken:
    """Rows that a forward has taken from the table."""

    rows_U: Tensor
    """Which; item c + 1 is row c."""
    values_UE: Tensor
    """A leaf, which has the gradient after the backward; vectors, and biases in the last place."""


class ShardedItems(nn.Module):
    """The base: what a model and its losses do with rows, wherever these lie."""

    def __init__(self, num_items: int, width: int) -> None:
        super().__init__()
        self.num_items, self.width = num_items, width

    def fetch(self, rows_U: Tensor) -> Tensor:
        """Vectors and biases of different items, [U, D + 1]; item c + 1 is row c."""
        raise NotImplementedError

    def block(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """The vectors and biases of the rows from `start` up to `stop`, [W, D] and [W]."""
        raise NotImplementedError

    def set_bias(self, bias_C: Tensor) -> None:
        """Set the initial bias of every item."""

    def draw(self) -> None:
        """Set the initial vectors."""

    def forward(self, ids_BL: Tensor) -> Tensor:
        """The vectors of items times the root of their width, [B, L, D]; zero for padding."""
        rows_XE, at_BL = self.take(ids_BL)
        return F.embedding(at_BL, rows_XE[:, : self.width]) * math.sqrt(self.width)

    def table(self, bias_C: Tensor | None) -> "ShardedItemTable":
        """The same vectors as an item table; the biases are their own."""
        assert bias_C is None, "the model has biases besides"
        return ShardedItemTable(self)

    def take(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of some ids behind one of zeros for padding, [1 + U, D + 1], and their places.

        The places have the shape of the ids.
        """
        rows_U = (ids[ids != PAD].long() - 1).unique()
        # Padding is row -1, which stands before all others.
        at = torch.searchsorted(rows_U, ids.long() - 1, right=True)
        return F.pad(self.fetch(rows_U), (0, 0, 1, 0)), at


class ItemShard(ShardedItems):
    """The rows of this worker, which are trained."""

    weight_RD: Tensor
    bias_R: Tensor

    def __init__(
        self, spec: DataSpec, sharding: RowSharding, width: int, std: float, *, bias: bool
    ) -> None:
        super().__init__(spec.num_items, width)
        self.sharding, self._std, self.has_bias = sharding, std, bias
        count = sharding.count(spec.num_items)
        self.register_buffer("weight_RD", torch.zeros(count, width), persistent=False)
        self.register_buffer("bias_R", torch.zeros(count if bias else 0), persistent=False)
        self.taken: list[Taken] = []

    @property
    def tables(self) -> dict[str, Tensor]:
        """This worker's rows by the name of their table."""
        return {VECTORS: self.weight_RD, **({BIAS: self.bias_R} if self.has_bias else {})}

    def fetch(self, rows_U: Tensor) -> Tensor:
        """Fetch rows from the workers that have them, and keep them for the update if it learns."""
        with torch.no_grad():
            values_UE = self.sharding.fetch(rows_U, self._own)
        if torch.is_grad_enabled() and self.training:
            values_UE.requires_grad_()
            self.taken.append(Taken(rows_U, values_UE))
        return values_UE

    def _own(self, places_M: Tensor) -> Tensor:
        bias_M = self.bias_R[places_M] if self.has_bias else self.weight_RD.new_zeros(len(places_M))
        return torch.cat([self.weight_RD[places_M], bias_M.unsqueeze(1)], dim=1)

    def block(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Consecutive rows, from all workers."""
        weight_WD = self.sharding.block(self.weight_RD, start, stop)
        if not self.has_bias:
            return weight_WD, weight_WD.new_zeros(len(weight_WD))
        return weight_WD, self.sharding.block(self.bias_R, start, stop)

    @torch.no_grad()
    def draw(self) -> None:
        """Draw the initial vectors: the same whoever has them, in blocks that have a seed each."""
        seed = int(torch.randint(2**62, ()))
        rank, num_workers = self.sharding.rank, self.sharding.num_workers
        drawn = torch.empty(_DRAWN_AT_ONCE, self.width)
        for number, start in enumerate(range(0, self.num_items, _DRAWN_AT_ONCE)):
            drawn.normal_(std=self._std, generator=torch.Generator().manual_seed(seed + number))
            first = (rank - start) % num_workers
            mine = drawn[: self.num_items - start][first::num_workers]
            at = (start + first - rank) // num_workers
            self.weight_RD[at : at + len(mine)] = mine

    @torch.no_grad()
    def set_bias(self, bias_C: Tensor) -> None:
        """Set the initial biases of this worker's items."""
        if self.has_bias:
            self.bias_R.copy_(bias_C[self.sharding.rank :: self.sharding.num_workers])


class MappedItems(ShardedItems):
    """Rows in the files of a checkpoint, which are mapped into memory and not trained."""

    def __init__(self, spec: DataSpec, tables: ShardedTables, width: int) -> None:
        super().__init__(spec.num_items, width)
        self.tables = tables
        # Tells the device of the model; a map of a file cannot lie on a GPU.
        self.register_buffer("_here", torch.zeros(0), persistent=False)

    def fetch(self, rows_U: Tensor) -> Tensor:
        """Read rows from the files."""
        found = self.tables.rows(VECTORS, rows_U.cpu())
        bias_U = found.new_zeros(len(found))
        if BIAS in self.tables.tables:
            bias_U = self.tables.rows(BIAS, rows_U.cpu())
        return torch.cat([found, bias_U.unsqueeze(1)], dim=1).to(rows_U.device)

    def block(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Consecutive rows, read from the files."""
        device = self.get_buffer("_here").device
        weight_WD = self.tables.block(VECTORS, start, stop).to(device)
        if BIAS not in self.tables.tables:
            return weight_WD, weight_WD.new_zeros(len(weight_WD))
        return weight_WD, self.tables.block(BIAS, start, stop).to(device)


class ShardedItemTable(ItemTable):
    """An item table whose rows are fetched: scores are those of the same vectors in one place."""

    def __init__(self, items: ShardedItems) -> None:
        self._items = items
        self._kept: tuple[loss.Queries, Tensor] | None = None

    @property
    def weight_CD(self) -> Tensor:  # type: ignore[override]  # noqa: N802
        """No worker has them all."""
        raise _needs_all()

    @property
    def bias_C(self) -> Tensor | None:  # type: ignore[override]  # noqa: N802
        """No worker has them all."""
        raise _needs_all()

    @property
    def num_items(self) -> int:
        """Size of the catalogue, C."""
        return self._items.num_items

    def _rows(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        if torch.is_grad_enabled():  # these rows would not learn
            raise _needs_all()
        return self._items.block(start, stop)

    def _chosen(self, ids: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        rows_XE, at = self._items.take(ids)
        return rows_XE[:, :-1], rows_XE[:, -1], at

    def set_bias(self, bias_C: Tensor) -> None:
        """Set the initial bias of each item; does nothing if the table has no bias."""
        self._items.set_bias(bias_C)


def _needs_all() -> ConfigError:
    return ConfigError(
        "engine.item_table=sharded is for losses that draw items, such as sampled_softmax and "
        "gbce, and this one asks for the whole catalogue: take one of them, or "
        "engine.item_table=replicated"
    )
