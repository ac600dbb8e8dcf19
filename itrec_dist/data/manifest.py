"""The manifest of a shards folder: its source, settings, files and statistics.

    SHARDS/
      manifest.json
      items.parquet      one row per item of the catalogue, ordered by item_id:
                         item_id int32 (1 .. C, by decreasing popularity), source_id string,
                         title string, year int32 | null, genres list<string>,
                         feature_codes list<int32> (which columns of the one-hot vector over all
                         item features are 1; the features follow one another in the
                         manifest's order), num_events int64 (in the data that the catalogue was
                         counted on), num_train_targets int64 (in the training windows); and
                         vector, item_vector_width float32 (zeros where an item has none), if
                         the source gives vectors
      users.parquet      one row per kept user, ordered by user_id: user_id (1 ..),
                         source_id, num_events, user_features
      histories.parquet  one row per kept user, ordered by user_id: user_id, user_features, the
                         latest events, and all items of the user
      train/part-00000.parquet ...       windows or histories, ordered by window_id
      validation/part-00000.parquet ...  absent splits have no folder
      test/part-00000.parquet ...

The columns, with their types and widths, are those of Users, Histories and Windows (or HistoryRows
where `samples` is histories) in data/shards/arrays.py.

`fingerprint` covers settings and the contents of every file, not paths, times or SQL: the same
input and settings give the same fingerprint on every machine and any number of threads.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from itrec_dist.data import schema
from itrec_dist.data.event_features import EventFeature
from itrec_dist.errors import ShardsError

FORMAT_VERSION = 1

SampleKind = Literal["windows", "histories"]
"""Whether a row of a split is a window of fixed length or a history of any length."""


@dataclass(frozen=True)
class Feature:
    """A categorical feature: code 0 means unknown, code i + 1 means `values[i]`.

    `single` features have one value per row, `multi` features any number (genres). User features
    are stored as codes; item features as columns of one long one-hot vector, in which a feature
    takes `len(values)` columns (an unknown value sets none).
    """

    name: str
    kind: Literal["single", "multi"]
    values: tuple[str, ...]


@dataclass(frozen=True)
class ShardFile:
    """One Parquet file of a split; `name` is relative to the shards folder."""

    name: str
    rows: int
    bytes: int
    sha256: str


_SECONDS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}

ORDER = "order"
"""Stands in place of the unit of the times where events have an order alone."""

ANY_SPLIT = "any"
"""The value of `Coverage.split` for all splits together."""


@dataclass(frozen=True)
class Coverage:
    """Users and events of one split, or of all together, and how many have no window there.

    A split counts the users that its protocol evaluates or trains on: with leave_last and
    last_ratings every kept user, with the other protocols those with events in the split.
    """

    split: str
    num_users: int
    num_users_without: int
    num_events: int
    num_events_without: int
    """Events that are in no window of the split, neither as input nor as target."""


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`; see the module's docstring for the files it describes."""

    input_length: int
    target_length: int
    num_items: int
    num_users: int
    protocol: str
    catalogue_from: Literal["all data", "training data"]
    has_ratings: bool
    rating_mean: float
    rating_std: float
    user_features: tuple[Feature, ...]
    item_features: tuple[Feature, ...]
    splits: dict[str, tuple[ShardFile, ...]]
    fingerprint: str
    source: dict[str, Any] = field(default_factory=dict)
    """format, path, and per file: name, bytes, sha256."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The resolved settings of `itrec window`, without paths."""
    sql: dict[str, str] = field(default_factory=dict)
    """SHA-256 per SQL file that was run."""
    steps: tuple[dict[str, Any], ...] = ()
    """In order, per filter: name, ratings, users, items left after it."""
    coverage: tuple[Coverage, ...] = ()
    """Of all splits together, then of each; empty in manifests of versions without it."""
    audit: dict[str, Any] = field(default_factory=dict)
    """The leakage audit: see sql/checks."""
    has_times: bool = False
    """Whether windows and histories hold the time of each input; they did not in old versions."""
    time_unit: str = ""
    """Unit of the times: seconds, milliseconds, microseconds, nanoseconds, such a unit / 1e6 where
    there were fractions, "order" if the events have an order alone, empty if nobody stated it."""
    rating_min: float = 0.0
    """Lower end of the rating scale; equal to the upper end if the scale is unknown."""
    rating_max: float = 0.0
    task: str = ""
    """The task that the windows were cut for; empty in manifests of versions without it, see
    `tasks.task_of`."""
    samples: SampleKind = "windows"
    """What the rows of the splits are; earlier versions had windows alone."""
    event_features: tuple[EventFeature, ...] = ()
    """Columns of the events, of histories alone; their values are learned from training."""
    item_vector_width: int = 0
    """Numbers of the vector that each item has; 0 if the source gives none."""
    max_length: int = 0
    """Most events that a history shows a model, which is `input_length` too; 0 with windows."""
    format_version: int = FORMAT_VERSION
    version: str = ""
    """The itrec_dist version that wrote it."""

    def num_windows(self, split: str) -> int:
        """Number of windows of a split; 0 if it is absent."""
        return sum(file.rows for file in self.splits.get(split, ()))

    @property
    def seconds_per_unit(self) -> float:
        """Seconds in a unit of the times; 0 if it is not known."""
        name, _, divisor = self.time_unit.partition(" / ")
        return _SECONDS.get(name, 0.0) / float(divisor or 1)

    @property
    def has_order_alone(self) -> bool:
        """Whether the events have an order and no times."""
        return self.time_unit == ORDER

    @property
    def item_feature_width(self) -> int:
        """Columns of the one-hot vector over all item features."""
        return sum(len(f.values) for f in self.item_features)

    @property
    def user_cardinalities(self) -> tuple[int, ...]:
        """Number of values of each user feature, without the unknown one."""
        return tuple(len(f.values) for f in self.user_features)

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any], where: str) -> "Manifest":
        """Build from the plain values of `to_json`; `where` names the file in error messages.

        Raises:
            ShardsError: it was written by a newer version, or is incomplete.
        """
        if not isinstance(content, dict):
            raise ShardsError(f"{where} is not a manifest: it holds no names and values")
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise ShardsError(
                f"{where} has format version {version!r}, this version reads {FORMAT_VERSION}: "
                "window the data again with this version"
            )
        features = {
            name: tuple(
                Feature(f["name"], f["kind"], tuple(f["values"])) for f in content.get(name, ())
            )
            for name in ("user_features", "item_features")
        }
        try:
            return cls(
                **{
                    **content,
                    **features,
                    "event_features": tuple(
                        map(EventFeature.from_json, content.get("event_features", ()))
                    ),
                    "steps": tuple(content.get("steps", ())),
                    "coverage": tuple(Coverage(**c) for c in content.get("coverage", ())),
                    "splits": {
                        split: tuple(ShardFile(**f) for f in files)
                        for split, files in content["splits"].items()
                    },
                }
            )
        except (TypeError, KeyError) as error:
            raise ShardsError(f"{where} is not a manifest of this version: {error}") from error


def read(shards: Path) -> Manifest:
    """Read the manifest of a shards folder.

    Raises:
        ShardsError: there is none, it is damaged, or of another version.
    """
    path = shards / schema.MANIFEST_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ShardsError(
            f"{shards} holds no {schema.MANIFEST_FILE}: give a folder that `itrec window` wrote"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ShardsError(f"{path} cannot be read: {reason}") from error
    return Manifest.from_json(content, str(path))
