"""What a ranking model promises of its export: a program that scores as it does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from itrec_dist.data.event_features import FIRST_VALUE, MISSING, UNKNOWN, EventFeature
from itrec_dist.data.manifest import Feature, Manifest
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards.arrays import Int64
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.inference.export import onnx, program
from itrec_dist.inference.export.scorer import Scorer
from itrec_dist.inference.export.signature import USER_IDS, Signature, event_inputs, signature
from itrec_dist.models.item_table import RankingModel
from itrec_dist.testing.claims import require, same
from itrec_dist.testing.subject import ROWS, Subject, rows, scores

_ONNX = ("onnx", "onnxscript", "onnxruntime")

_Call = Callable[[dict[str, torch.Tensor]], torch.Tensor]


def check_export(subject: Subject) -> None:
    """Check that the model can be exported, and that what is exported scores as it does.

    The program of torch.export is called with other numbers of rows than it was made with; where
    onnx, onnxscript and onnxruntime are installed, so is the model in ONNX.

    Raises:
        AssertionError: it cannot be exported, or the scores differ.
    """
    task, data = subject.task().eval(), subject.data
    require(isinstance(task.model, RankingModel), "the model has no encode and item_table")
    counts = _Counts(data.target_counts_C.numpy())
    length, features = data.input_length, data.event_features
    scorer = Scorer(task.model, counts, length, event_features=features).eval()
    ports = signature(_manifest(data), None, subject.settings.event_features)
    try:
        ports = ports.without(program.unused(scorer, ports))
        traced = program.program(scorer, ports)
    except ConfigError as error:
        raise AssertionError(str(error)) from error
    names = {port.name for port in ports.inputs}
    words = "the scores depend on user_ids_B: an exported model knows users by their events alone"
    require(USER_IDS not in names, words)
    calls = {"the program of torch.export": _torch(traced)}
    with tempfile.TemporaryDirectory() as folder:
        if all(find_spec(name) for name in _ONNX):
            calls["the model in ONNX"] = _onnx(traced, ports, Path(folder))
        batch = subject.batch(is_padded=subject.settings.samples == "histories")
        batch = _without_unknown_numbers(batch, features)
        for some in (batch, rows(batch, torch.arange(ROWS) == 1)):
            given = {n: value for n, value in _inputs(some, features).items() if n in names}
            for name, call in calls.items():
                words = f"{name} scores otherwise than the model"
                same(scores(task, some), call(given)[:, 1:], words)


@dataclass(frozen=True)
class _Counts:
    num_train_targets: Int64


def _torch(traced: ExportedProgram) -> _Call:
    module = traced.module()

    @torch.no_grad()
    def call(given: dict[str, torch.Tensor]) -> torch.Tensor:
        found: torch.Tensor = module(**given)[0]
        return found

    return call


def _onnx(traced: ExportedProgram, ports: Signature, folder: Path) -> _Call:
    import onnxruntime

    try:
        onnx.write(traced, ports, folder)
    except ConfigError as error:
        raise AssertionError(str(error)) from error
    session = onnxruntime.InferenceSession(folder / onnx.FILE)

    def call(given: dict[str, torch.Tensor]) -> torch.Tensor:
        found = session.run(None, {name: value.numpy() for name, value in given.items()})
        return torch.from_numpy(found[0])

    return call


def _manifest(data: DataSpec) -> Manifest:
    """A manifest of the data, as far as a signature needs one."""
    users = (
        Feature(f"feature {place}", "single", tuple(map(str, range(count))))
        for place, count in enumerate(data.user_cardinalities)
    )
    return Manifest(
        input_length=data.input_length, target_length=data.target_length,
        num_items=data.num_items, num_users=data.num_users, protocol="", fingerprint="",
        catalogue_from="training data", has_ratings=True, rating_mean=data.rating_mean,
        rating_std=data.rating_std, user_features=tuple(users), item_features=(), splits={},
        event_features=data.event_features,
    )  # fmt: skip


def _without_unknown_numbers(batch: Batch, features: tuple[EventFeature, ...]) -> Batch:
    """The same with those missing: every number has a range, so that none has the code."""
    if batch.event_features_BLG is None:
        return batch
    is_number_G = torch.tensor([feature.kind == "number" for feature in features])
    is_unknown_BLG = (batch.event_features_BLG == UNKNOWN) & is_number_G
    codes_BLG = batch.event_features_BLG.masked_fill(is_unknown_BLG, MISSING)
    return replace(batch, event_features_BLG=codes_BLG)


def _inputs(batch: Batch, features: tuple[EventFeature, ...]) -> dict[str, torch.Tensor]:
    """Everything that an exported model may be fed with."""
    assert batch.times_BL is not None
    given = {
        "item_ids": batch.item_ids_BL, "ratings": batch.ratings_BL, "times": batch.times_BL,
        "user_features": batch.user_features_BF,
    }  # fmt: skip
    for place, (name, feature) in enumerate(event_inputs(features).items()):
        assert batch.event_features_BLG is not None
        given[name] = _values(batch.event_features_BLG[:, :, place], feature)
    return given


def _values(codes_BL: torch.Tensor, feature: EventFeature) -> torch.Tensor:
    """What is fed for the codes of a column: themselves, or of a range of numbers its upper end."""
    if feature.kind == "category":
        return codes_BL
    last = feature.edges[-1] + 1 if feature.edges else 0.0
    ends: Any = torch.tensor([*feature.edges, last], dtype=torch.float64)
    numbers_BL: torch.Tensor = ends[(codes_BL - FIRST_VALUE).clamp(min=0)]
    return numbers_BL.masked_fill(codes_BL == MISSING, torch.nan)
