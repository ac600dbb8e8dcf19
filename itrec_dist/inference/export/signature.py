"""What an exported model takes and returns: names, types, shapes and meanings.

`signature.json` holds all that its caller must know of the data: the longest history, the values
behind the codes of features, the unit of the times. The letters are those of data/schema.py.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from itrec_dist.data.event_features import FIRST_VALUE, MISSING, UNKNOWN, EventFeature
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import PAD

FORMAT_VERSION = 1

ITEM_IDS, RATINGS, TIMES = "item_ids", "ratings", "times"
USER_FEATURES, USER_IDS, LEFT_OUT = "user_features", "user_ids", "left_out"
SCORES, TOP_ITEMS, TOP_SCORES = "scores", "top_items", "top_scores"

BATCH, HISTORY = "batch", "history"
"""Names of the sizes that may change from call to call."""


@dataclass(frozen=True)
class Port:
    """One tensor that goes in or comes out."""

    name: str
    dtype: Literal["int64", "float32", "float64"]
    shape: tuple[str | int, ...]
    """Numbers, and the names of sizes that may change."""
    meaning: str


@dataclass(frozen=True)
class Signature:
    """All inputs and outputs of a model."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def without(self, unused: set[str]) -> "Signature":
        """The same, less some inputs."""
        return Signature(tuple(p for p in self.inputs if p.name not in unused), self.outputs)

    def to_json(self, manifest: Manifest, k: int | None) -> dict[str, Any]:
        """The content of `signature.json`, but for what the folder adds."""
        names = {port.name for port in self.inputs}
        content: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "inputs": [vars(port) for port in self.inputs],
            "outputs": [vars(port) for port in self.outputs],
            "num_items": manifest.num_items,
            "max_history": manifest.input_length,
            "padding": {"value": PAD, "side": "left"},
            "k": k,
        }
        if TIMES in names:
            content["time_unit"] = manifest.time_unit or "unknown"
        if USER_FEATURES in names:
            content["user_features"] = [
                {"name": feature.name, "values": list(feature.values)}
                for feature in manifest.user_features
            ]
        columns = event_inputs(manifest.event_features)
        if told := [(name, feature) for name, feature in columns.items() if name in names]:
            content["event_features"] = [
                {
                    "name": feature.name, "input": name, "kind": feature.kind,
                    **({"values": list(feature.values)} if feature.kind == "category" else {}),
                }
                for name, feature in told
            ]  # fmt: skip
        return content


def event_inputs(features: Sequence[EventFeature]) -> dict[str, EventFeature]:
    """Columns of the events by the names of their inputs, identifiers, in the order given."""
    named: dict[str, EventFeature] = {}
    for feature in features:
        name = "event_" + re.sub(r"\W", "_", feature.name, flags=re.ASCII)
        while name in named:
            name += "_"
        named[name] = feature
    return named


def signature(manifest: Manifest, k: int | None, told: Sequence[str] = ()) -> Signature:
    """Everything that a model of this data may be fed with; with `k`, it also ranks.

    `told` are the columns of events that its settings name.
    """
    events = (BATCH, HISTORY)
    columns = event_inputs(manifest.event_features)
    inputs = [
        Port(
            ITEM_IDS, "int64", events,
            "indices of the items of each user's events, oldest first, padded on the left with 0; "
            f"the newest {manifest.input_length} count",
        ),
        Port(RATINGS, "float32", events, "the rating of each event, 0 where padded"),
        Port(
            TIMES, "int64", events,
            f"the time of each event in {_unit(manifest)}, 0 where padded",
        ),
        Port(
            USER_FEATURES, "int64", (BATCH, len(manifest.user_features)),
            "a code for each feature: 0 is unknown, n is the n-th value listed",
        ),
        Port(USER_IDS, "int64", (BATCH,), "the users' own numbers"),
        *(_of_column(name, f) for name, f in columns.items() if f.name in told),
    ]  # fmt: skip
    width = manifest.num_items + 1
    outputs = [
        Port(
            SCORES, "float32", (BATCH, width),
            "the score of every item at its index, higher is better and comparable within a row "
            "only; -inf at 0. A row without events has the items' frequencies in training",
        ),
    ]  # fmt: skip
    if k is not None:
        inputs.append(
            Port(
                LEFT_OUT, "int64", (BATCH, LEFT_OUT),
                "indices of items not to be ranked, such as those that the user has seen, padded "
                "with 0; at least one column",
            )
        )  # fmt: skip
        outputs += [
            Port(TOP_ITEMS, "int64", (BATCH, k), "indices of the best items, 0 where none is left"),
            Port(TOP_SCORES, "float32", (BATCH, k), "their scores, -inf where none is left"),
        ]
    return Signature(tuple(inputs), tuple(outputs))


def _of_column(name: str, feature: EventFeature) -> Port:
    what = f"of the column {feature.name!r}"
    if feature.kind == "number":
        return Port(
            name, "float64", (BATCH, HISTORY),
            f"the number {what} of each event, NaN where it is missing, 0 where padded",
        )  # fmt: skip
    return Port(
        name, "int64", (BATCH, HISTORY),
        f"the code of the value {what} of each event: {MISSING} is missing or padded, {UNKNOWN} is "
        f"none of the values listed, {FIRST_VALUE} the first of them, and so on",
    )  # fmt: skip


def _unit(manifest: Manifest) -> str:
    if manifest.has_order_alone:
        return "places: the events have an order alone"
    return manifest.time_unit or "the unit of the training data"
