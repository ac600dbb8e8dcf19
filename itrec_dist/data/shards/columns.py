"""The Arrow types of every file of a shards folder."""

from dataclasses import dataclass

import pyarrow as pa

from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest


@dataclass(frozen=True)
class Widths:
    """The fixed widths of the list columns."""

    inputs: int
    targets: int
    user_features: int

    def window_schema(self) -> pa.Schema:
        """The columns of a shard."""
        return pa.schema(
            [
                (schema.WINDOW_ID, pa.int64()),
                (schema.USER_ID, pa.int32()),
                (schema.USER_FEATURES, fixed(pa.int32(), self.user_features)),
                (schema.ITEM_IDS, fixed(pa.int32(), self.inputs)),
                (schema.RATINGS, fixed(pa.float32(), self.inputs)),
                (schema.TARGET_IDS, fixed(pa.int32(), self.targets)),
                (schema.TARGET_RATINGS, fixed(pa.float32(), self.targets)),
                (schema.TARGET_TIME, pa.int64()),
            ]
        )

    def history_schema(self) -> pa.Schema:
        """The columns of histories.parquet."""
        return pa.schema(
            [
                (schema.USER_ID, pa.int32()),
                (schema.USER_FEATURES, fixed(pa.int32(), self.user_features)),
                (schema.ITEM_IDS, fixed(pa.int32(), self.inputs)),
                (schema.RATINGS, fixed(pa.float32(), self.inputs)),
                ("seen_ids", pa.list_(pa.int32())),
            ]
        )

    def user_schema(self) -> pa.Schema:
        """The columns of users.parquet."""
        return pa.schema(
            [
                (schema.USER_ID, pa.int32()),
                ("source_id", pa.string()),
                ("num_events", pa.int64()),
                (schema.USER_FEATURES, fixed(pa.int32(), self.user_features)),
            ]
        )


ITEM_SCHEMA = pa.schema(
    [
        ("item_id", pa.int32()),
        ("source_id", pa.string()),
        ("title", pa.string()),
        ("year", pa.int32()),
        ("genres", pa.list_(pa.string())),
        ("feature_codes", pa.list_(pa.int32())),
        ("num_events", pa.int64()),
        ("num_train_targets", pa.int64()),
    ]
)


def fixed(values: pa.DataType, width: int) -> pa.DataType:
    """A list type of fixed width; at width 0, which Parquet cannot hold, an ordinary list."""
    return pa.list_(values, width) if width else pa.list_(values)


def columns(manifest: Manifest) -> pa.Schema:
    """The Arrow schema of every shard of this manifest."""
    length, targets = manifest.input_length, manifest.target_length
    return pa.schema(
        [
            (schema.WINDOW_ID, pa.int64()),
            (schema.USER_ID, pa.int32()),
            (schema.USER_FEATURES, pa.list_(pa.int32(), len(manifest.user_features))),
            (schema.ITEM_IDS, pa.list_(pa.int32(), length)),
            (schema.RATINGS, pa.list_(pa.float32(), length)),
            (schema.TARGET_IDS, pa.list_(pa.int32(), targets)),
            (schema.TARGET_RATINGS, pa.list_(pa.float32(), targets)),
            (schema.TARGET_TIME, pa.int64()),
        ]
    )
