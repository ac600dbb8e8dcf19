"""`itrec export`: a trained model as a folder that serves without this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from itrec_dist.config import Parser
from itrec_dist.errors import ConfigError
from itrec_dist.runs.directory import BEST
from itrec_dist.storage.uri import Uri

if TYPE_CHECKING:
    from itrec_dist.inference.export.folder import Card
    from itrec_dist.inference.load import Restored


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec export",
        "Write a trained ranking model as a folder that serves without itrec: the model as a "
        "torch.export program or as ONNX, signature.json, items.parquet and a model card. "
        "It takes the indices of each user's items and returns the scores of all items, in "
        "float32.",
    )
    options.add_argument(
        "run", type=Uri | Path, help="Run directory that `itrec train` wrote, or its URI."
    )
    options.add_argument(
        "--format",
        type=Literal["torch", "onnx"],
        default="torch",
        help="torch: model.pt2, which torch alone loads; onnx: model.onnx, for ONNX Runtime and "
        "others (needs itrec-dist[export]).",
    )
    options.add_argument(
        "--checkpoint",
        type=str,
        default=BEST,
        help="Checkpoint to export: best, last, or an older one such as last-00001200.",
    )
    options.add_argument(
        "-k",
        "--k",
        type=int | None,
        default=None,
        help="Let the model return the k best items too, without those that its input left_out "
        "names; null returns scores alone.",
    )
    options.add_argument(
        "--license",
        type=str | None,
        default=None,
        help="Licence of the model for its card, such as apache-2.0; null states none.",
    )
    options.add_argument("--out", type=Path | None, default=None, help="Folder to write.")
    options.add_argument(
        "--overwrite", action="store_true", help="Replace the folder if it exists."
    )
    return options


def run(parsed: Any) -> int:
    """Load, trace and write."""
    if parsed.out is None:
        raise ConfigError("--out is missing: give the folder to write")
    from itrec_dist.inference.export import folder
    from itrec_dist.inference.load import restore
    from itrec_dist.runs.fetched import local_run

    folder.check_installed(parsed.format)
    place = local_run(parsed.run, parsed.checkpoint)
    restored = restore(place, parsed.checkpoint)
    request = folder.Request(parsed.format, parsed.k)
    card = _card(place, restored, parsed)
    written = folder.export(restored, request, card, parsed.out, overwrite=parsed.overwrite)
    print(f"model: {written} ({written.stat().st_size / 2**20:,.1f} MiB)")
    print(f"model card: {parsed.out / folder.CARD_FILE}")
    return 0


def _card(place: Path, restored: Restored, parsed: Any) -> Card:
    from itrec_dist.reports.model_card import Exported, model_card
    from itrec_dist.reports.runs import read

    trained = read(place)

    def card(signature: dict[str, Any]) -> str:
        epoch = restored.record.epoch
        return model_card(trained, Exported(signature, parsed.checkpoint, epoch, parsed.license))

    return card
