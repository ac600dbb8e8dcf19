"""What a model of histories needs for a step over a catalogue of any size: no shards are read."""

import torch

from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.distributed.row_sharding import RowSharding


def spec_of(num_items: int, length: int, item_rows: RowSharding | None = None) -> DataSpec:
    """Data of so many items without features, whose histories have `length` events."""
    return DataSpec(
        input_length=length, target_length=1, num_items=num_items, num_users=1,
        num_train_windows=num_items, user_cardinalities=(), rating_mean=0.0, rating_std=1.0,
        rating_min=0.0, rating_max=1.0, has_times=False,
        item_features_VF=torch.zeros(num_items + 1, 0),
        target_counts_C=torch.ones(num_items, dtype=torch.int64), item_rows=item_rows,
    )  # fmt: skip


def drawn(B: int, num_items: int, length: int) -> Batch:
    """Full histories of items drawn at random, with a target at every position."""
    none_B = torch.zeros(B, dtype=torch.int64)
    ids_BL = torch.randint(1, num_items + 1, (B, length + 1))
    return Batch(
        window_ids_B=none_B, user_ids_B=none_B, user_features_BF=none_B.unsqueeze(1)[:, :0],
        item_ids_BL=ids_BL[:, :-1], ratings_BL=torch.ones(B, length),
        target_ids_BK=ids_BL[:, -1:], target_ratings_BK=torch.ones(B, 1), weight_B=torch.ones(B),
        denominator=float(B * length), step_target_ids_BL=ids_BL[:, 1:],
    )  # fmt: skip
