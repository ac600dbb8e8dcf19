"""A split as tensors, and the batches cut from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import arrays
from itrec_dist.data.shards.packed import PackedWindows
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
    """Windows as tensors on a device; packed ones are not copied on the CPU.

    Times are absent if the windows were read without them.
    """

    def __init__(self, windows: arrays.Windows | PackedWindows, device: torch.device) -> None:
        packed = windows if isinstance(windows, PackedWindows) else PackedWindows.of(windows)
        self._blocks = [
            (torch.from_numpy(values).to(device), packed.columns[dtype])
            for dtype, values in packed.matrices.items()
        ]
        self._count = len(windows)
        self.device = device

    def __len__(self) -> int:
        return self._count

    def batch(self, rows: torch.Tensor, weight_B: torch.Tensor, denominator: float) -> Batch:
        """The windows at `rows` (on this table's device) as views of the gathered matrices."""
        tensors: dict[str, Any] = {"weight_B": weight_B, "denominator": denominator}
        for values, columns in self._blocks:
            parts = values[rows].split([column.width for column in columns], dim=1)
            for column, part in zip(columns, parts, strict=True):
                tensors[column.tensor] = part.squeeze(1) if column.is_vector else part
        return Batch(**tensors)


def _to_device(batch: Batch, device: torch.device) -> Batch:
    if batch.item_ids_BL.device == device:
        return batch
    moved: dict[str, Any] = {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in vars(batch).items()
    }
    return Batch(**moved)


def as_arrays(batch: Batch) -> dict[str, Any]:
    """A batch on the CPU as numpy arrays and a number, not copied, by the names of its fields."""
    return {
        name: value.numpy() if isinstance(value, torch.Tensor) else np.float64(value)
        for name, value in vars(batch).items()
        if value is not None
    }


def from_arrays(arrays: Mapping[str, Any]) -> Batch:
    """The batch of `as_arrays`; what cannot be written to is copied, such as shared memory."""
    tensors: dict[str, Any] = {
        name: torch.from_numpy(array if array.flags.writeable else array.copy())
        for name, array in arrays.items()
        if name != "denominator"
    }
    return Batch(**tensors, denominator=float(arrays["denominator"]))


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
