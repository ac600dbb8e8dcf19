"""The training ratings of a shards folder as three columns, for statistics of rating models.

A training rating is a target of a training window. In shards of `itrec window --task ratings` each
is a target exactly once; windows cut with a wider stride do not contain all of them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import TRAIN
from itrec_dist.data.shards.splits import BlockReader, WindowReader, split_files


@dataclass(frozen=True)
class TrainingRatings:
    """R ratings, in the canonical order of their windows; tensors are on the CPU."""

    user_ids_R: torch.Tensor  # int64, from 1
    item_ids_R: torch.Tensor  # int64, from 1
    ratings_R: torch.Tensor  # float32

    def __len__(self) -> int:
        return len(self.ratings_R)


def read(shards: Path, manifest: Manifest, blocks: BlockReader) -> TrainingRatings:
    """Read the training ratings block by block; only the three columns are kept.

    Raises:
        ShardsError: the training split is missing or damaged.
    """
    files = split_files(shards, manifest, TRAIN)
    ids, users, items, ratings = [], [], [], []
    for windows in WindowReader(manifest, blocks).read(files):
        ids.append(windows.window_ids)
        users.append(windows.user_ids)
        items.append(windows.target_ids)
        ratings.append(windows.target_ratings)
    order = np.argsort(np.concatenate(ids), kind="stable")
    targets = manifest.target_length
    return TrainingRatings(
        torch.from_numpy(np.repeat(np.concatenate(users)[order], targets).astype(np.int64)),
        torch.from_numpy(np.concatenate(items)[order].reshape(-1).astype(np.int64)),
        torch.from_numpy(np.concatenate(ratings)[order].reshape(-1).astype(np.float32)),
    )
