"""The folder that an export writes.

model.pt2 or model.onnx   the model (with weights above 1 GiB, model.onnx.data beside it)
signature.json            inputs, outputs, and the values behind codes
items.parquet             index (int32), id (string, the source's), title (string)
README.md                 the model card
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from itrec_dist import __version__
from itrec_dist.data.schema import ITEMS_FILE
from itrec_dist.errors import ConfigError
from itrec_dist.inference.export import onnx, program
from itrec_dist.inference.export import torch as torch_program
from itrec_dist.inference.export.scorer import Scorer
from itrec_dist.inference.export.signature import USER_IDS, signature
from itrec_dist.inference.load import Restored, whole
from itrec_dist.models.item_table import RankingModel
from itrec_dist.storage import atomic, outputs
from itrec_dist.storage.uri import Uri

SIGNATURE_FILE = "signature.json"
CARD_FILE = "README.md"

Format = Literal["torch", "onnx"]
_FORMATS: dict[Format, ModuleType] = {"torch": torch_program, "onnx": onnx}

Card = Callable[[dict[str, Any]], str]
"""Makes the model card of the content of `signature.json`."""


@dataclass(frozen=True)
class Request:
    """What to write."""

    format: Format
    k: int | None = None
    """Length of a ranking that the model returns too; None for scores alone."""


def check_installed(format_: Format) -> None:
    """Check that the packages of a format are installed.

    Raises:
        EnvironmentProblem: one is not.
    """
    _FORMATS[format_].check_installed()


def export(
    restored: Restored, request: Request, card: Card, out: Uri | Path, *, overwrite: bool = False
) -> Uri | Path:
    """Write a model as a folder; returns the model's file.

    Raises:
        ConfigError: the model cannot be exported, or k is not between 1 and the number of items.
        EnvironmentProblem: a package that the format needs is missing.
        OutputError: `out` is taken, or cannot be written.
    """
    check_installed(request.format)
    _refuse(restored, request.k)
    outputs.refuse_taken(out, marker=SIGNATURE_FILE, overwrite=overwrite)
    restored = whole(restored)
    manifest, format_ = restored.manifest, _FORMATS[request.format]
    scorer = Scorer(
        restored.task.model, restored.items, manifest.input_length, request.k,
        manifest.event_features,
    ).eval()  # fmt: skip
    ports = signature(manifest, request.k, restored.run.model.event_features)
    ports = ports.without(program.unused(scorer, ports))
    if any(port.name == USER_IDS for port in ports.inputs):
        raise ConfigError(
            f"model.kind={restored.run.model.kind} looks its users up, and an exported model knows "
            "users by their events alone: recommend from its checkpoint with `itrec recommend`"
        )
    traced = program.program(scorer, ports)
    described = {
        "model": restored.run.label,
        "format": request.format,
        "file": format_.FILE,
        **ports.to_json(manifest, request.k),
        "fingerprint": manifest.fingerprint,
        "itrec_dist": __version__,
    }
    with outputs.new_directory(out, marker=SIGNATURE_FILE, overwrite=overwrite) as folder:
        format_.write(traced, ports, folder)
        _write_items(restored, folder / ITEMS_FILE)
        atomic.write_text(folder / CARD_FILE, card(described))
        atomic.write_json(folder / SIGNATURE_FILE, described)
    return outputs.below(out, format_.FILE)


def _refuse(restored: Restored, k: int | None) -> None:
    model = restored.run.model
    if not isinstance(restored.task.model, RankingModel):
        raise ConfigError(
            f"model.kind={model.kind} is trained for the task {model.task} and does not rank the "
            "items that follow a history, which is what itrec export writes: give a run of "
            "another model"
        )
    if model.uses_time_of_query:
        raise ConfigError(
            "the model was trained with model.time_of_query=true, or with time_of_query in "
            "model.event_context, for which an exported model has no input: serve it by itrec "
            "recommend --at, or train one without"
        )
    num_items = restored.manifest.num_items
    if k is not None and not 1 <= k <= num_items:
        raise ConfigError(f"-k {k} is not between 1 and the catalogue's {num_items} items")


def _write_items(restored: Restored, path: Path) -> None:
    items = restored.items
    table = pa.table(
        {
            "index": pa.array(range(1, len(items) + 1), pa.int32()),
            "id": pa.array(items.source_ids, pa.string()),
            "title": pa.array(items.titles, pa.string()),
        }
    )
    pq.write_table(table, path)
