"""What a model must know about the data to be built: sizes, features, scales, counts.

Built from a manifest and an item table, so that a shards folder and a checkpoint (which holds both)
give the same model.
"""

from dataclasses import dataclass

import numpy as np
import torch

from itrec_dist.data.event_features import EventFeature
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import arrays
from itrec_dist.distributed.row_sharding import RowSharding, ShardedTables


@dataclass(frozen=True)
class DataSpec:
    """Sizes and tables; tensors are on the CPU.

    `item_features_VF` is the one-hot vector of each item's features (float32, row 0 is padding
    and all zero; sparse, since words of titles may be many), `target_counts_C` how often each item
    is a target of a training window.
    `num_train_windows` counts training windows, or the targets of training histories.
    `item_vectors_VT` are the vectors that items come with, if they do: each number with mean 0 and
    variance 1 over the items that have any, and 0 for the others.
    `event_features` are the columns of the events, in the order of `Batch.event_features_BLG`.
    Without `has_times`, `Batch.times_BL` is all zeros; `seconds_per_unit` is that of the times, 0
    if their unit is not known.
    `item_rows` is where the item vectors are that a model does not hold in one place: sharded over
    workers, or in the files of a checkpoint; None for a model that holds them itself.
    """

    input_length: int
    target_length: int
    num_items: int
    num_users: int
    num_train_windows: int
    user_cardinalities: tuple[int, ...]
    rating_mean: float
    rating_std: float
    rating_min: float
    rating_max: float
    has_times: bool
    item_features_VF: torch.Tensor
    target_counts_C: torch.Tensor
    seconds_per_unit: float = 0.0
    item_vectors_VT: torch.Tensor | None = None
    event_features: tuple[EventFeature, ...] = ()
    item_rows: RowSharding | ShardedTables | None = None


def build(manifest: Manifest, items: arrays.Items) -> DataSpec:
    """Build the specification of a shards folder's data."""
    queries = manifest.num_windows("train")
    if manifest.samples == "histories":  # each of their targets is predicted by itself
        queries = int(items.num_train_targets.sum())
    return DataSpec(
        input_length=manifest.input_length,
        target_length=manifest.target_length,
        num_items=manifest.num_items,
        num_users=manifest.num_users,
        num_train_windows=queries,
        user_cardinalities=manifest.user_cardinalities,
        rating_mean=manifest.rating_mean,
        rating_std=manifest.rating_std,
        rating_min=manifest.rating_min,
        rating_max=manifest.rating_max,
        has_times=manifest.has_times,
        item_features_VF=_features(items),
        target_counts_C=torch.from_numpy(items.num_train_targets.copy()),
        seconds_per_unit=manifest.seconds_per_unit,
        item_vectors_VT=_standardised(items.vectors) if items.vectors.size else None,
        event_features=manifest.event_features,
    )


def _features(items: arrays.Items) -> torch.Tensor:
    rows, columns = items.feature_places()
    return torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([rows, columns]).astype(np.int64)),
        torch.ones(len(rows)),
        (len(items) + 1, items.feature_width),
        check_invariants=False,
        is_coalesced=True,
    )


def _standardised(vectors_CT: arrays.Float32) -> torch.Tensor:
    vectors = torch.from_numpy(vectors_CT.copy())
    has_one_C1 = (vectors != 0).any(dim=1, keepdim=True)
    given = vectors[has_one_C1.squeeze(1)]
    spread_T = given.std(dim=0, correction=0)
    centred = (vectors - given.mean(dim=0)) / torch.where(spread_T > 0, spread_T, 1.0)
    return torch.nn.functional.pad(torch.where(has_one_C1, centred, 0.0), (0, 0, 1, 0))
