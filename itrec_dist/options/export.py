"""The options of `itrec export`."""

from pathlib import Path
from typing import Literal

from itrec_dist.config import Parser
from itrec_dist.runs.directory import BEST
from itrec_dist.storage.uri import Uri


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
    options.add_argument(
        "--out", type=Uri | Path | None, default=None, help="Folder to write, or its URI."
    )
    options.add_argument(
        "--overwrite", action="store_true", help="Replace the folder if it exists."
    )
    return options
