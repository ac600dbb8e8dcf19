"""The data contract: shard columns, split names and the batch that models see.

The letter legend, used as suffixes of tensor names in the whole package:

    B windows in a batch        L input positions          K targets of a window
    D model width               H attention heads          E width per head
    C catalogue without padding V catalogue with padding   (V = C + 1)
    N entries of a top-N list   F features

Item ids are dense: 0 is padding, 1 .. C are items, so column c of a `_BC` tensor is item c + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PAD = 0
"""Item id of an empty position; also the feature code of an unknown value."""

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)

MANIFEST_FILE = "manifest.json"
ITEMS_FILE = "items.parquet"
USERS_FILE = "users.parquet"
HISTORIES_FILE = "histories.parquet"

# One row per window, in every shard. The lists are of fixed width.
WINDOW_ID = "window_id"  # int64: position in the canonical order, unique over all splits
USER_ID = "user_id"  # int32: dense, 1-based
USER_FEATURES = "user_features"  # int32[F]: one code per user feature, 0 = unknown
ITEM_IDS = "item_ids"  # int32[L]: oldest first, left-padded with 0
RATINGS = "ratings"  # float32[L]: 0 where padded or where the source has no ratings
TARGET_IDS = "target_ids"  # int32[K]: the items that follow, in order
TARGET_RATINGS = "target_ratings"  # float32[K]
TARGET_TIME = "target_time"  # int64: timestamp of the first target, in the source's unit


@dataclass(frozen=True)
class Batch:
    """Windows of one batch, as tensors on one device.

    `weight_B` is 1 for a real window and 0 for a filler row (fillers keep shapes equal on all
    workers and are never counted). `denominator` is what a sum over this worker's windows is
    divided by so that the mean over workers is the mean over the global batch: the number of
    real windows in the global batch divided by the number of workers.
    """

    window_ids_B: torch.Tensor
    user_ids_B: torch.Tensor
    user_features_BF: torch.Tensor
    item_ids_BL: torch.Tensor
    ratings_BL: torch.Tensor
    target_ids_BK: torch.Tensor
    target_ratings_BK: torch.Tensor
    weight_B: torch.Tensor
    denominator: float
