"""A run in MLflow's own model format, which `mlflow.pyfunc` loads and MLflow registers and serves.

    MODEL/MLmodel              flavour and signature
    MODEL/data/run/            a run directory with the best checkpoint alone, for every verb
    MODEL/requirements.txt     what to install; conda.yaml and python_env.yaml say the same
    MODEL/input_example.json   two histories; serving_input_example.json for a server

No code is in it and nothing is pickled: MLflow calls the loader that `LOADER` names. Columns take
values of any type, as `Run.recommend` does: ids are text or numbers, times numbers or dates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from itrec_dist import __version__
from itrec_dist.data import manifest as manifests
from itrec_dist.data.event_features import EventFeature
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import reader
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.directory import BEST, RunDirectory

NAME = "model"
"""Of the artifact, as in runs:/ID/model."""

LOADER = "itrec_dist.api.mlflow_pyfunc"

_HISTORIES = (3, 2)  # events of each user of the example


def save(run: RunDirectory, folder: Path) -> None:
    """Write the best checkpoint of a run whose model recommends as a model of MLflow."""
    from mlflow import pyfunc

    checkpoint = run.checkpoints / BEST
    manifest = manifests.read(checkpoint)
    columns = _columns(manifest)
    item_ids = reader.read_items(checkpoint, manifest).source_ids
    with tempfile.TemporaryDirectory() as scratch:
        slim = Path(scratch) / "run"
        _link(run, slim)
        pyfunc.save_model(
            str(folder), loader_module=LOADER, data_path=str(slim),
            signature=_signature(columns, manifest),
            input_example=_example(columns, manifest, item_ids),
            pip_requirements=[f"itrec-dist[mlflow]=={__version__}"],
        )  # fmt: skip


def _link(run: RunDirectory, slim: Path) -> None:
    """Make a run directory of links to the best checkpoint and the small files; MLflow copies."""
    best = slim / "checkpoints" / BEST
    best.mkdir(parents=True)
    for file in (run.config, run.manifest, run.environment, run.evaluation, run.log):
        if file.is_file():
            (slim / file.name).symlink_to(file.absolute())
    for file in (run.checkpoints / BEST).iterdir():
        if file.name != checkpoint_format.STATE_FOLDER:
            (best / file.name).symlink_to(file.absolute())


def _columns(manifest: Manifest) -> dict[str, str]:
    """What a table of histories must have -> the column's name, as windowing was given it."""
    from itrec_dist.data import new_events  # which imports DuckDB, and training needs none

    named = vars(new_events.columns_of(manifest))
    roles = ("user", "item", "timestamp", "order", "session", "rating")
    return {role: named[role] for role in roles if named[role] is not None}


def _signature(columns: dict[str, str], manifest: Manifest) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    told = [feature.name for feature in manifest.event_features]
    anything: Any = AnyType  # whose constructor has no types
    inputs: list[Any] = [
        *(ColSpec(anything(), name) for name in columns.values()),
        *(ColSpec(anything(), name, required=False) for name in told),
    ]
    outputs: list[Any] = [
        ColSpec(DataType.string, "user"), ColSpec(DataType.integer, "rank"),
        ColSpec(DataType.string, "item"), ColSpec(DataType.string, "title"),
        ColSpec(DataType.float, "score"),
    ]  # fmt: skip
    params = [
        ParamSpec("k", DataType.long, 5),
        ParamSpec("among", DataType.string, [], shape=(-1,)),
        ParamSpec("without", DataType.string, [], shape=(-1,)),
        ParamSpec("shards", DataType.string, ""),
    ]
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema(params))


def _example(columns: dict[str, str], manifest: Manifest, item_ids: Sequence[str]) -> Any:
    """Two users' events of the most frequent items, one row each, as a pandas data frame."""
    rows = []
    for number, events in enumerate(_HISTORIES, 1):
        for place in range(min(events, len(item_ids))):
            values: dict[str, Any] = {
                "user": str(number), "item": item_ids[place], "timestamp": place + 1,
                "order": place + 1, "session": str(number), "rating": manifest.rating_mean,
            }  # fmt: skip
            row = {name: values[role] for role, name in columns.items()}
            rows.append(row | {f.name: _value(f) for f in manifest.event_features})
    return pa.Table.from_pylist(rows).to_pandas()


def _value(feature: EventFeature) -> str | float | None:
    """A value that training has."""
    known: tuple[str | float, ...] = feature.values or feature.edges
    return known[0] if known else None
