"""The data contract: names of splits and files, and the batch that models see.

The columns of the files are declared in data/shards/arrays.py.

The letter legend, used as suffixes of tensor names in the whole package:

    B windows in a batch        L input positions          K targets of a window
    D model width               H attention heads          E width per head
    C catalogue without padding V catalogue with padding   (V = C + 1)
    N entries of a top-N list   F features              S seen items of a row
    G features of an event

Item ids are dense: 0 is padding, 1 .. C are items, so column c of a `_BC` tensor is item c + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

PAD = 0
"""Item id of an empty position; also the code of an unknown feature value."""

Seen = Literal["history", "input", "none"]
"""What a ranking leaves out: all items before the targets, those of the input, or nothing."""

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)

MANIFEST_FILE = "manifest.json"
ITEMS_FILE = "items.parquet"
USERS_FILE = "users.parquet"
HISTORIES_FILE = "histories.parquet"


@dataclass(frozen=True)
class Batch:
    """The windows of a batch, as tensors on one device.

    `weight_B` is 1 for a real window and 0 for a filler row (fillers keep shapes equal on all
    workers and are never counted). A sum over this worker's windows is divided by `denominator`,
    the number of real windows in the global batch divided by the number of workers, so that the
    mean over workers is the mean over the global batch.

    The times are set for models whose settings say `uses_times`: `times_BL` is the time of each
    input, 0 where padded; `target_time_B` the time of the first target. Both are int64 in the
    source's unit (seconds in MovieLens).

    Histories are as wide as the longest of the batch. In training `step_target_ids_BL` holds the
    item to predict at each position, PAD where there is none; losses and the denominator are then
    of targets, and `target_ids_BK` is the last of them. `further_target_ids_BLK` are the events
    after that one, where a position has several targets. Judged histories have `seen_ids_BS`: all
    items before the targets, padded with PAD.

    `event_features_BLG` are the codes of the columns of events that the data has, each describing
    its own event; 0 where padded. `target_features_BG` are those of the last target of a training
    row, for models that also learn from that event as an input.
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
    times_BL: torch.Tensor | None = None
    target_time_B: torch.Tensor | None = None
    step_target_ids_BL: torch.Tensor | None = None
    further_target_ids_BLK: torch.Tensor | None = None
    seen_ids_BS: torch.Tensor | None = None
    event_features_BLG: torch.Tensor | None = None
    target_features_BG: torch.Tensor | None = None
