"""`model.pt2`: a program that torch alone loads, with `torch.export.load`."""

from pathlib import Path

import torch
from torch.export import ExportedProgram

from itrec_dist.inference.export.signature import Signature

FILE = "model.pt2"


def check_installed() -> None:
    """Check that its packages are installed, as they are where this package is."""


def write(program: ExportedProgram, signature: Signature, folder: Path) -> None:  # noqa: ARG001
    """Write the model into a folder."""
    torch.export.save(program, folder / FILE)
