"""Tensors of a split and the batches cut from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import arrays
from itrec_dist.errors import ConfigError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """Which part of every global batch this worker takes."""

    batch_size: int
    """Windows in a global batch."""
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
        """Windows of one worker in a global batch."""
        return self.batch_size // self.world_size

    def slice(self) -> slice:
        """This worker's rows of a full global batch."""
        return slice(self.rank * self.local_size, (self.rank + 1) * self.local_size)


class TensorTable:
    """Windows as two matrices, so that a batch costs two gathers instead of eight."""

    def __init__(self, windows: arrays.Windows, device: torch.device) -> None:
        integers = (
            windows.user_ids[:, None],
            windows.user_features,
            windows.item_ids,
            windows.target_ids,
        )
        floats = (windows.ratings, windows.target_ratings)
        self._integer_widths = [part.shape[1] for part in integers]
        self._float_widths = [part.shape[1] for part in floats]
        self.window_ids_B = torch.from_numpy(windows.window_ids.copy()).to(device)
        self.integers = torch.from_numpy(np.concatenate(integers, axis=1)).to(device)
        self.floats = torch.from_numpy(np.concatenate(floats, axis=1)).to(device)
        self.device = device

    def __len__(self) -> int:
        return len(self.window_ids_B)

    def batch(self, rows: torch.Tensor, weight_B: torch.Tensor, denominator: float) -> Batch:
        """The windows at `rows` (on this table's device) as views of two gathered matrices."""
        users_B1, features_BF, items_BL, targets_BK = self.integers[rows].split(
            self._integer_widths, dim=1
        )
        ratings_BL, target_ratings_BK = self.floats[rows].split(self._float_widths, dim=1)
        return Batch(
            window_ids_B=self.window_ids_B[rows],
            user_ids_B=users_B1.squeeze(1),
            user_features_BF=features_BF,
            item_ids_BL=items_BL,
            ratings_BL=ratings_BL,
            target_ids_BK=targets_BK,
            target_ratings_BK=target_ratings_BK,
            weight_B=weight_B,
            denominator=denominator,
        )


def _to_device(batch: Batch, device: torch.device) -> Batch:
    if batch.item_ids_BL.device == device:
        return batch
    moved: dict[str, Any] = {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in vars(batch).items()
    }
    return Batch(**moved)


def micro_batches(batch: Batch, count: int) -> Iterator[Batch]:
    """Cut a batch into `count` equal parts whose mean loss is the loss of the whole."""
    if count == 1:
        yield batch
        return
    size = len(batch.weight_B) // count
    for start in range(0, size * count, size):
        part: dict[str, Any] = {
            name: value[start : start + size] if isinstance(value, torch.Tensor) else value / count
            for name, value in vars(batch).items()
        }
        yield Batch(**part)


def whole_batch(windows: arrays.Windows, device: torch.device) -> Batch:
    """All of some windows as one batch."""
    table = TensorTable(windows, device)
    rows = torch.arange(len(table), device=device)
    return table.batch(rows, torch.ones(len(table), device=device), float(len(table)))
