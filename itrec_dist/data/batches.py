"""A split as tensors, and the batches cut from it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import arrays
from itrec_dist.data.shards.columns import columns_of
from itrec_dist.errors import ConfigError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """This worker's share of every global batch."""

    batch_size: int
    """Number of windows in a global batch."""
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.batch_size % self.world_size:
            raise ConfigError(
                f"a batch of {self.batch_size} windows cannot be shared equally by "
                f"{self.world_size} workers: choose a multiple of {self.world_size}"
            )

    @property
    def local_size(self) -> int:
        """Number of windows of one worker in a global batch."""
        return self.batch_size // self.world_size

    def slice(self) -> slice:
        """This worker's rows of a full global batch."""
        return slice(self.rank * self.local_size, (self.rank + 1) * self.local_size)


class TensorTable:
    """Windows as one matrix per value type, so that a batch takes two or three gathers.

    Times are absent if the windows were read without them.
    """

    def __init__(self, windows: arrays.Windows, device: torch.device) -> None:
        packed: dict[np.dtype[Any], dict[str, npt.NDArray[Any]]] = {}
        for name, column in columns_of(arrays.Windows).items():
            if windows.times is not None or not column.is_time:
                array = getattr(windows, name)
                packed.setdefault(column.dtype, {})[column.tensor(name)] = array
        self._blocks = [_Block.of(members, device) for members in packed.values()]
        self._count = len(windows)
        self.device = device

    def __len__(self) -> int:
        return self._count

    def batch(self, rows: torch.Tensor, weight_B: torch.Tensor, denominator: float) -> Batch:
        """The windows at `rows` (on this table's device) as views of the gathered matrices."""
        tensors: dict[str, Any] = {"weight_B": weight_B, "denominator": denominator}
        for block in self._blocks:
            taken = block.values[rows]
            parts = taken.split(block.widths, dim=1) if taken.ndim == 2 else (taken,)
            tensors.update(zip(block.names, parts, strict=True))
            for name in block.vectors:
                tensors[name] = tensors[name].squeeze(1)
        return Batch(**tensors)


@dataclass(frozen=True)
class _Block:
    """Columns of one type side by side in a matrix [W, *]; [W] for one column of single values."""

    values: torch.Tensor
    names: tuple[str, ...]
    widths: list[int]
    vectors: tuple[str, ...]
    """The columns of a matrix that have one value per window."""

    @classmethod
    def of(cls, members: dict[str, npt.NDArray[Any]], device: torch.device) -> "_Block":
        names = tuple(members)
        if len(members) == 1 and members[names[0]].ndim == 1:
            values = members[names[0]].copy()  # it may be read-only
            return cls(torch.from_numpy(values).to(device), names, [], ())
        parts = [a if a.ndim == 2 else a[:, None] for a in members.values()]
        values = np.concatenate(parts, axis=1)
        vectors = tuple(name for name, array in members.items() if array.ndim == 1)
        widths = [part.shape[1] for part in parts]
        return cls(torch.from_numpy(values).to(device), names, widths, vectors)


def _to_device(batch: Batch, device: torch.device) -> Batch:
    if batch.item_ids_BL.device == device:
        return batch
    moved: dict[str, Any] = {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in vars(batch).items()
    }
    return Batch(**moved)


def micro_batches(batch: Batch, count: int) -> Iterator[Batch]:
    """Split a batch into `count` equal parts whose mean loss is the loss of the whole batch."""
    if count == 1:
        yield batch
        return
    size = len(batch.weight_B) // count
    for start in range(0, size * count, size):
        part: dict[str, Any] = {
            name: value[start : start + size] if isinstance(value, torch.Tensor) else value
            for name, value in vars(batch).items()
        }
        yield Batch(**(part | {"denominator": batch.denominator / count}))


def whole_batch(windows: arrays.Windows, device: torch.device) -> Batch:
    """All given windows as one batch."""
    table = TensorTable(windows, device)
    rows = torch.arange(len(table), device=device)
    batch = table.batch(rows, torch.ones(len(table), device=device), float(len(table)))
    if windows.event_features is None:
        return batch
    codes_BLG = torch.from_numpy(windows.event_features.copy()).to(device)
    return replace(batch, event_features_BLG=codes_BLG)
